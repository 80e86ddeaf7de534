//! `outrace tail`: files that other programs write, each on a channel of its own.

mod begin;
mod followed;
mod names;
mod patterns;

use std::collections::HashMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use outrace::ChannelName;
use outrace::process::Tail;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::console::notice;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{LosslessOption, ServerOptions};
use crate::server::{Announcement, Server, unchanged};
use crate::signals::Signals;

use begin::Begin;
use followed::Following;
use names::Names;
use patterns::Matches;

/// How often folders are searched for new files that match a pattern.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// The path of standard input.
const STDIN: &str = "/dev/stdin";

/// Follows files by name, as tail -F does: through rotation and truncation, and from before they
/// exist.
#[derive(Args)]
#[command(name = "tail")]
pub(crate) struct TailFiles {
    /// The files. A pattern in quotes, such as '/var/log/app/*.log', also stands for files that
    /// come later. FIFOs, devices and <(…) are read as streams; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The channel of the first file is file:ID; repeat it for further files: 1 to 128 of
    /// A-Z a-z 0-9 _ . - [default: the base name of the file]
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,

    /// Begin with up to this many of the last lines of each file, or with line NUM of each by +NUM
    #[arg(
        long,
        short = 'n',
        value_name = "[+]NUM",
        default_value = "10",
        allow_negative_numbers = true
    )]
    lines: Begin,

    /// Begin at the beginning of each file
    #[arg(long, conflicts_with = "lines")]
    from_start: bool,

    /// Keep serving when all files are streams that have ended, until a signal
    #[arg(long)]
    stay: bool,

    /// Do not print the address, or what happens to the files
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    lossless: LosslessOption,

    #[command(flatten)]
    server: ServerOptions,
}

impl TailFiles {
    /// Follows until a signal, or until all files are streams that have ended. A second signal ends
    /// the program at once, by that signal.
    pub(crate) async fn start(self) -> Result<Exit, Failure> {
        let mut names = Names::default();
        let targets = Targets::new(&self.files, &self.ids, &mut names)?;
        let mut signals = Signals::listen()?;
        let channels: Vec<_> = targets.files.iter().map(|(_, it)| it.clone()).collect();
        let announcement = Announcement {
            channels: &channels,
            quiet: self.quiet,
        };
        let server = Server::start(&self.server, None, announcement, unchanged).await?;
        signals.hangup_reloads(server.reloads())?;
        let (ended, mut ends) = mpsc::unbounded_channel();
        let following = Following {
            hub: server.hub.clone(),
            lossless: self.lossless.limit,
            quiet: self.quiet,
            ended,
            has_said_polled: Arc::default(),
        };
        let begin = if self.from_start {
            Begin::Line(1)
        } else {
            self.lines
        };
        let mut tails = Vec::with_capacity(targets.files.len());
        for (file, channel) in &targets.files {
            tails.push(following.start(file, channel, begin)?);
        }
        let mut matched = Matched {
            following,
            patterns: Arc::new(targets.patterns),
            names,
            matches: Matches::default(),
            tails: HashMap::new(),
        };
        let mut is_stopped = tokio::select! {
            _ = signals.next() => true,
            searched = matched.search(begin) => searched.map(|()| false)?,
        };
        let mut running = tails.len();
        let mut searches = interval(SEARCH_INTERVAL);
        searches.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let has_patterns = !matched.patterns.is_empty();
        while !is_stopped && (running > 0 || has_patterns || self.stay) {
            tokio::select! {
                _ = signals.next() => is_stopped = true,
                Some(()) = ends.recv() => running -= 1,
                // A file that comes later is read from its beginning.
                _ = searches.tick(), if has_patterns => tokio::select! {
                    _ = signals.next() => is_stopped = true,
                    searched = matched.search(Begin::Line(1)) => searched?,
                },
            }
        }
        tails.extend(matched.tails.into_values());
        // A second signal does not wait for a file that is slow to read.
        tokio::select! {
            _ = join_all(tails.into_iter().map(Tail::stop)) => {}
            signal = signals.next() => return Ok(signal.into()),
        }
        Ok(server
            .shut_down(&mut signals)
            .await
            .map_or(Exit::Code(0), Exit::from))
    }
}

/// What the command line names.
struct Targets {
    files: Vec<(PathBuf, ChannelName)>,
    patterns: Vec<String>,
}

impl Targets {
    fn new(arguments: &[PathBuf], ids: &[String], names: &mut Names) -> Result<Self, Failure> {
        if ids.len() > arguments.len() {
            return Err(Failure::usage(format!(
                "there are {} --id for {} files",
                ids.len(),
                arguments.len()
            )));
        }
        if arguments.iter().filter(|it| *it == Path::new("-")).count() > 1 {
            return Err(Failure::usage(
                "- is given twice: standard input is read once",
            ));
        }
        let mut targets = Self {
            files: Vec::new(),
            patterns: Vec::new(),
        };
        let mut unnamed = Vec::new();
        for (at, argument) in arguments.iter().enumerate() {
            let path = match argument.to_str() {
                Some("-") => PathBuf::from(STDIN),
                _ => argument.clone(),
            };
            match ids.get(at) {
                Some(id) if patterns::is_pattern(&path) => {
                    return Err(Failure::usage(format!(
                        "--id {id} names one file, and {} is a pattern",
                        path.display()
                    )));
                }
                Some(id) => {
                    let channel = names.take(&path, id)?;
                    targets.files.push((path, channel));
                }
                None if patterns::is_pattern(&path) => {
                    targets.patterns.push(patterns::parse(&path)?);
                }
                None => unnamed.push(path),
            }
        }
        for path in unnamed {
            let channel = names.choose(&path);
            targets.files.push((path, channel));
        }
        for (path, _) in &targets.files {
            check(path)?;
        }
        Ok(targets)
    }
}

/// Refuses what cannot be read, however long it is waited for.
fn check(path: &Path) -> Result<(), Failure> {
    let Ok(metadata) = path.metadata() else {
        return Ok(());
    };
    let name = path.display();
    if metadata.is_dir() {
        return Err(Failure::new(
            1,
            format!("{name} is a folder; name the files in it, or '{name}/*' in quotes"),
        ));
    }
    if metadata.file_type().is_socket() {
        return Err(Failure::new(
            1,
            format!("{name} is a socket, which has no lines; name a file, or use outrace pipe"),
        ));
    }
    Ok(())
}

/// The files that match patterns.
struct Matched {
    following: Following,
    patterns: Arc<Vec<String>>,
    names: Names,
    matches: Matches,
    tails: HashMap<PathBuf, Tail>,
}

impl Matched {
    /// Searches for the files that match, and follows those that are new.
    async fn search(&mut self, begin: Begin) -> Result<(), Failure> {
        let patterns = Arc::clone(&self.patterns);
        // Reads folders, which may block.
        let found = tokio::task::spawn_blocking(move || patterns::find(&patterns));
        let Ok(found) = found.await else {
            return Ok(());
        };
        let changes = self.matches.update(&found, Instant::now());
        for file in changes.begin {
            let channel = self.names.of(&file);
            if !self.following.quiet {
                notice!("{} is followed, channel {channel}", file.display());
            }
            let tail = self.following.start(&file, &channel, begin)?;
            self.tails.insert(file, tail);
        }
        for file in changes.end {
            if let Some(tail) = self.tails.remove(&file) {
                tail.stop().await;
            }
        }
        Ok(())
    }
}
