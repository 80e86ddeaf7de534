//! `outrace tail`: files that others write, each its channel.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use outrace::process::{Tail, TailEvent};
use outrace::{ChannelName, ProcessId};

use crate::failure::Failure;
use crate::flags::{Patience, ServerOptions};
use crate::server::{Server, cut_short};
use crate::signals::Signals;

/// Follows files by their names, as tail -F does: through rotation and truncation, and also while they are not there.
#[derive(Args)]
#[command(name = "tail")]
pub(crate) struct TailFiles {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The name after file: of the first file's channel, and once more for each further file: 1 to 128 of
    /// A-Z a-z 0-9 _ . - [default: the file's base name]
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,

    /// Begin with up to so many of the last lines of each file
    #[arg(long, short = 'n', value_name = "LINES", default_value_t = 10)]
    lines: u64,

    /// Begin at the beginning of each file
    #[arg(long, conflicts_with = "lines")]
    from_start: bool,

    /// Do not say where it listens, or what happens to the files
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    patience: Patience,

    #[command(flatten)]
    server: ServerOptions,
}

impl TailFiles {
    /// Follows until a signal; a second one ends at once.
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let channels = channels(&self.files, &self.ids)?;
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
            let mut tail = Tail::builder(file).lossless(self.patience.lossless);
            tail = if self.from_start {
                tail.from_start()
            } else {
                tail.lines(self.lines)
            };
            if !self.quiet {
                let name = file.display().to_string();
                tail = tail.on_event(move |event| {
                    if let Some(what) = sentence(event) {
                        eprintln!("outrace: {name} {what}");
                    }
                });
            }
            tails.push(
                tail.start(&server.hub, channel.as_str())
                    .map_err(Failure::usage)?,
            );
        }
        signals.next().await;
        // One more signal ends it at once, whatever a file may take to be read.
        let stopping = async {
            for tail in tails {
                tail.stop().await;
            }
        };
        tokio::select! {
            () = stopping => {}
            signal = signals.next() => return Ok(cut_short(signal)),
        }
        Ok(server.shut_down(&mut signals).await.map_or(0, cut_short))
    }
}

/// What is said of an event, if anything.
fn sentence(event: TailEvent) -> Option<&'static str> {
    match event {
        TailEvent::Missing => Some("is not there or may not be read; waiting for it"),
        TailEvent::Rotated => Some("is another file now"),
        TailEvent::Truncated => Some("was truncated"),
        _ => None,
    }
}

/// A channel for each file, no two the same: by the ids given, then by the base names, with as many folders before them as it takes, and with a number if that
/// is not enough.
fn channels(files: &[PathBuf], ids: &[String]) -> Result<Vec<ChannelName>, Failure> {
    if ids.len() > files.len() {
        return Err(Failure::usage(format!(
            "there are {} --id for {} files",
            ids.len(),
            files.len()
        )));
    }
    let mut taken = HashSet::new();
    let mut names = Vec::with_capacity(files.len());
    for id in ids {
        let id = ProcessId::parse(id).map_err(Failure::usage)?;
        if !taken.insert(id.clone()) {
            return Err(Failure::usage(format!("--id {id} is given twice")));
        }
        names.push(id);
    }
    for file in &files[ids.len()..] {
        let id = candidates(file)
            .find(|id| !taken.contains(id))
            .expect("there is a number for each file");
        taken.insert(id.clone());
        names.push(id);
    }
    let channel = |id: ProcessId| {
        ChannelName::parse(&format!("file:{id}"))
            .expect("what a process id holds, a channel name does")
    };
    Ok(names.into_iter().map(channel).collect())
}

/// The names for a file, the best first: `access.log`, `nginx-access.log`, `log-nginx-access.log` ..., `access.log-2`, `access.log-3` ...
fn candidates(file: &Path) -> impl Iterator<Item = ProcessId> {
    let parts: Vec<_> = file
        .components()
        .filter_map(|part| match part {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let id = |text: String| ProcessId::from_command(text.replace('/', "-").as_ref());
    let base = parts.last().cloned().unwrap_or_else(|| "file".to_owned());
    let with_folders: Vec<_> = (0..parts.len())
        .rev()
        .map(|from| parts[from..].join("-"))
        .collect();
    // Cut, so that the number is still within an id's length.
    let short: String = base.chars().take(100).collect();
    let numbered = (2_u64..).map(move |number| format!("{short}-{number}"));
    with_folders.into_iter().chain(numbered).map(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(files: &[&str], ids: &[&str]) -> Result<Vec<String>, Failure> {
        let files: Vec<_> = files.iter().map(PathBuf::from).collect();
        let ids: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
        Ok(channels(&files, &ids)?
            .iter()
            .map(|channel| channel.as_str().to_owned())
            .collect())
    }

    #[test]
    fn channels_are_named_by_ids_base_names_and_folders_where_those_are_alike() {
        let files = [
            "/var/log/a/x.log",
            "/var/log/b/x.log",
            "x.log",
            "/var/log/b/x.log",
            "my log",
        ];
        assert_eq!(
            named(&files, &[]).unwrap(),
            [
                "file:x.log",
                "file:b-x.log",
                "file:x.log-2",
                "file:log-b-x.log",
                "file:my-log"
            ]
        );
        assert_eq!(
            named(&["a/x", "b/x"], &["x"]).unwrap(),
            ["file:x", "file:b-x"]
        );
        assert!(named(&["a"], &["x", "y"]).is_err());
        assert!(named(&["a", "b"], &["x", "x"]).is_err());
        assert!(named(&["a"], &["no id"]).is_err());
    }

    proptest! {
        #[test]
        fn no_two_files_share_a_channel(files in prop::collection::vec("(/?[aé.]{1,3}){1,3}|[a]{120,140}", 1..12)) {
            let files: Vec<_> = files.iter().map(PathBuf::from).collect();
            let names = channels(&files, &[]).unwrap();
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), files.len());
        }
    }
}
