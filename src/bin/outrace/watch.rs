//! `outrace watch`: the lines of channels, as they come.

use std::io::{self, BufWriter, ErrorKind, Write};

use clap::Args;
use outrace::client::{Item, Lost, WatchError, Watcher};

use crate::failure::Failure;

/// Lines go to standard output, changes of status to standard error. Connects again whenever the connection is
/// lost, and also when the first attempt fails.
#[derive(Args)]
pub(crate) struct Watch {
    /// The server's address, such as ws://127.0.0.1:8080/ws
    url: String,

    /// The channels, such as process:web
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,

    /// Print all messages as the JSON that came, a line each
    #[arg(long)]
    json: bool,

    /// End when there is no connection: with 0 if the server ended it in good order, else with 1
    #[arg(long)]
    no_retry: bool,
}

impl Watch {
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let mut builder = Watcher::builder(&self.url).raw(self.json).retry(!self.no_retry);
        for channel in &self.channels {
            builder = builder.channel(channel);
        }
        let watcher = builder.build().map_err(|error: WatchError| Failure::usage(error))?;
        // In a task of its own: the one that prints may be held up by whoever reads our output.
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
        match self.print(watcher).await {
            Ok(None) => Ok(0),
            Ok(Some(lost)) if lost.is_orderly() => Ok(0),
            Ok(Some(lost)) => Err(Failure::new(1, format!("{}: {lost}", self.url))),
            // Whoever read our output has enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
            Err(error) => Err(Failure::new(1, format!("cannot write to standard output: {error}"))),
        }
    }

    /// Until the last item; the value says how the connection was lost for good.
    async fn print(&self, mut watcher: Watcher) -> io::Result<Option<Lost>> {
        let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        let prefix = watcher.channels().len() > 1;
        let mut away = false;
        loop {
            // Flushed when there is nothing more to read at once: a flood in large writes, a lone line at once.
            let item = match watcher.next_now() {
                Some(item) => item,
                None => {
                    out.flush()?;
                    match watcher.next().await {
                        Some(item) => item,
                        None => return Ok(None),
                    }
                }
            };
            match item {
                Item::Line { channel, text } if prefix => writeln!(out, "{channel}: {text}")?,
                Item::Line { text, .. } => writeln!(out, "{text}")?,
                Item::Other { json } if self.json => writeln!(out, "{json}")?,
                Item::Other { .. } => {}
                Item::Status { channel, status, code } => {
                    out.flush()?;
                    match status {
                        outrace::Status::Exited | outrace::Status::Crashed => {
                            eprintln!("outrace: {channel} {status} with code {code}");
                        }
                        status => eprintln!("outrace: {channel} {status}"),
                    }
                }
                Item::Error { text } => eprintln!("outrace: the server says: {text}"),
                Item::Connected if away => {
                    away = false;
                    eprintln!("outrace: {}: connected", self.url);
                }
                Item::Disconnected { reason, retry_in: None } => {
                    out.flush()?;
                    return Ok(Some(reason));
                }
                Item::Disconnected { reason, retry_in: Some(pause) } => {
                    away = true;
                    out.flush()?;
                    eprintln!(
                        "outrace: {}: {reason}; trying again in {:.1} s",
                        self.url,
                        pause.as_secs_f32()
                    );
                }
                _ => {}
            }
        }
    }
}
