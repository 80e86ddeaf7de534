//! `outrace tail`: files that other programs write, each on a channel of its own.

mod names;

use std::path::PathBuf;

use clap::Args;
use outrace::process::{Tail, TailEvent};

use crate::console::notice;
use crate::failure::Failure;
use crate::flags::{LosslessOption, ServerOptions};
use crate::server::{Server, signal_exit_code};
use crate::signals::Signals;

/// Follows files by name, as tail -F does: through rotation and truncation, and from before they
/// exist.
#[derive(Args)]
#[command(name = "tail")]
pub(crate) struct TailFiles {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The channel of the first file is file:ID; repeat it for further files: 1 to 128 of
    /// A-Z a-z 0-9 _ . - [default: the base name of the file]
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,

    /// Begin with up to this many of the last lines of each file
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 10)]
    lines: u64,

    /// Begin at the beginning of each file
    #[arg(long, conflicts_with = "lines")]
    from_start: bool,

    /// Do not print the address, or what happens to the files
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    lossless: LosslessOption,

    #[command(flatten)]
    server: ServerOptions,
}

impl TailFiles {
    /// Follows until a signal. A second signal ends the program at once.
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let channels = names::channels(&self.files, &self.ids)?;
        if let Some(folder) = self.files.iter().find(|file| file.is_dir()) {
            return Err(Failure::new(
                1,
                format!("{} is a folder; name the files in it", folder.display()),
            ));
        }
        let mut signals = Signals::listen()?;
        let server = Server::start(&self.server, &channels, self.quiet).await?;
        let mut tails = Vec::with_capacity(self.files.len());
        for (file, channel) in self.files.iter().zip(&channels) {
            let mut tail = Tail::builder(file).lossless(self.lossless.limit);
            tail = if self.from_start {
                tail.from_start()
            } else {
                tail.lines(self.lines)
            };
            if !self.quiet {
                let name = file.display().to_string();
                tail = tail.on_event(move |event| {
                    if let Some(what) = sentence(event) {
                        notice!("{name} {what}");
                    }
                });
            }
            tails.push(
                tail.start(&server.hub, channel.as_str())
                    .map_err(Failure::usage)?,
            );
        }
        signals.next().await;
        // A second signal does not wait for a file that is slow to read.
        let stopping = async {
            for tail in tails {
                tail.stop().await;
            }
        };
        tokio::select! {
            () = stopping => {}
            signal = signals.next() => return Ok(signal_exit_code(signal)),
        }
        Ok(server
            .shut_down(&mut signals)
            .await
            .map_or(0, signal_exit_code))
    }
}

/// Returns the message about an event, if there is one.
fn sentence(event: TailEvent) -> Option<&'static str> {
    match event {
        TailEvent::Missing => Some("is not there or may not be read; waiting for it"),
        TailEvent::TooManyOpenFiles => {
            Some("cannot be opened: too many open files; waiting. Raise the limit with ulimit -n")
        }
        TailEvent::Rotated => Some("is another file now"),
        TailEvent::Truncated => Some("was truncated"),
        _ => None,
    }
}
