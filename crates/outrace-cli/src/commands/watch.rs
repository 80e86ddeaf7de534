//! `outrace watch`: the lines of channels, as they come.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use std::path::{Path, PathBuf};

use clap::Args;
use outrace::access::Pattern;
use outrace::client::{DisconnectReason, Event, WatchError, Watcher};

use crate::catch_up::{CatchUp, Step};
use crate::discover::{Discovery, is_pattern};
use crate::failure::{Failure, plain};

/// Lines go to standard output, changes of status to standard error. Connects again whenever the connection is
/// lost, and also when the first attempt fails, and goes on where it left off. Lines that the server had to skip
/// leave a line in their place that says how many.
#[derive(Args)]
pub(crate) struct Watch {
    /// The server's address, such as ws://127.0.0.1:8080/ws
    url: String,

    /// The channels, such as process:web; 'process:*' is all there are of that kind, and those that come later
    #[arg(required = true, value_name = "CHANNEL")]
    channels: Vec<String>,

    /// Show this token to the server. Others on this machine may see a command line: the environment or a file are
    /// better
    #[arg(
        long,
        value_name = "TOKEN",
        env = "OUTRACE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,

    /// Show the token that is all this file holds
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Trust the certificate authorities in this PEM file, for wss://, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Begin with up to so many of the last lines that the server has kept
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u64>,

    /// Fetch skipped lines again, as far as the server has kept them, and print them in their place
    #[arg(long, conflicts_with = "json")]
    catch_up: bool,

    /// Print all messages as the JSON that came, a line each
    #[arg(long)]
    json: bool,

    /// End when there is no connection: with 0 if the server ended it in good order, else with 1
    #[arg(long)]
    no_retry: bool,

    /// End when so many attempts in a row to connect have failed
    #[arg(long, value_name = "ATTEMPTS", conflicts_with = "no_retry")]
    retry_limit: Option<u32>,
}

impl Watch {
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let mut builder = Watcher::builder(&self.url)
            .raw(self.json)
            .batch(!self.json)
            .retry(!self.no_retry);
        let token = match &self.token_file {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim().to_owned()),
            None => self.token.clone().filter(|token| !token.is_empty()),
        };
        if let Some(token) = token {
            builder = builder.token(token);
        }
        if let Some(path) = &self.ca {
            builder = builder.root_certificates(read(path)?);
        }
        if let Some(lines) = self.tail {
            builder = builder.tail(lines);
        }
        if let Some(failures) = self.retry_limit {
            builder = builder.retry_limit(failures);
        }
        let (patterns, channels): (Vec<_>, Vec<_>) = self
            .channels
            .iter()
            .cloned()
            .partition(|channel| is_pattern(channel));
        for channel in channels {
            builder = builder.channel(channel);
        }
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()
            .map_err(Failure::usage)?;
        let lister = builder.lister().map_err(Failure::usage)?;
        let watcher = builder
            .build()
            .map_err(|error: WatchError| Failure::usage(error))?;
        // In a task of its own: the one that prints may be held up by whoever reads our output.
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
        let discovery = (!patterns.is_empty()).then(|| Discovery::start(lister, patterns));
        match self.print(watcher, discovery).await {
            Ok(None) => Ok(0),
            Ok(Some(lost)) if lost.is_orderly() => Ok(0),
            Ok(Some(lost)) => Err(Failure::new(1, format!("{}: {lost}", self.shown_url()))),
            // Whoever read our output has enough, as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
            Err(error) => Err(Failure::new(
                1,
                format!("cannot write to standard output: {error}"),
            )),
        }
    }

    /// The address as it may be shown: without its query, in which a token may be.
    fn shown_url(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// Until the last item; the value says how the connection was lost for good.
    async fn print(
        &self,
        mut watcher: Watcher,
        mut discovery: Option<Discovery>,
    ) -> io::Result<Option<DisconnectReason>> {
        let mut printer = Printer {
            out: BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
            url: self.shown_url(),
            prefix: watcher.channels().len() > 1 || discovery.is_some(),
            json: self.json,
            away: false,
        };
        let mut catch_up = self.catch_up.then(CatchUp::default);
        let mut steps = VecDeque::new();
        loop {
            // Flushed when there is nothing more to read at once: a flood in large writes, a lone line at once.
            let item = match watcher.try_next() {
                Some(item) => item,
                None => {
                    printer.out.flush()?;
                    let found = async {
                        match &mut discovery {
                            Some(discovery) => discovery.next().await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        item = watcher.next() => match item {
                            Some(item) => item,
                            None => return Ok(None),
                        },
                        channel = found => {
                            // A server that lists what is no channel's name is not one of ours.
                            let _ = watcher.watch(&channel);
                            continue;
                        }
                    }
                }
            };
            match &mut catch_up {
                Some(catch_up) => catch_up.take(item, &mut steps),
                None => steps.push_back(Step::Show(item)),
            }
            while let Some(step) = steps.pop_front() {
                match step {
                    Step::Show(Event::Disconnected {
                        reason,
                        retry_in: None,
                    }) => {
                        printer.out.flush()?;
                        return Ok(Some(reason));
                    }
                    Step::Show(item) => printer.show(item)?,
                    Step::Skipped { channel, count } => printer.skipped(&channel, count)?,
                    Step::Fetch { channel, from, to } => {
                        if !watcher.refetch(&channel, from, to)
                            && let Some(catch_up) = &mut catch_up
                        {
                            let mut rest = VecDeque::new();
                            catch_up.give_up(&channel, &mut rest);
                            // In the place of what could not be fetched, before what came after it.
                            rest.append(&mut steps);
                            steps = rest;
                        }
                    }
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        Failure::new(
            1,
            format!("cannot read {}: {}", path.display(), plain(&error)),
        )
    })
}

/// Where items go.
struct Printer<'a> {
    out: BufWriter<StdoutLock<'static>>,
    url: &'a str,
    /// Whether to say which channel a line is of.
    prefix: bool,
    json: bool,
    away: bool,
}

impl Printer<'_> {
    fn show(&mut self, item: Event) -> io::Result<()> {
        match item {
            Event::Line { channel, text, .. } if self.prefix => {
                writeln!(self.out, "{channel}: {text}")?
            }
            Event::Line { text, .. } => writeln!(self.out, "{text}")?,
            Event::Gap { channel, count, .. } => self.skipped(channel.as_str(), count)?,
            Event::Other { json } if self.json => writeln!(self.out, "{json}")?,
            Event::Status {
                channel,
                status,
                exit_code,
                ..
            } => {
                self.out.flush()?;
                match status {
                    outrace::Status::Exited | outrace::Status::Crashed => {
                        eprintln!("outrace: {channel} {status} with code {exit_code}");
                    }
                    status => eprintln!("outrace: {channel} {status}"),
                }
            }
            Event::Reconnected {
                channel,
                epoch_changed,
                lost,
                ..
            } => {
                if epoch_changed {
                    self.out.flush()?;
                    eprintln!(
                        "outrace: {channel} began anew, as after a restart of the server; lines may be missing"
                    );
                }
                self.skipped(channel.as_str(), lost)?;
            }
            Event::Error { message } => eprintln!("outrace: the server says: {message}"),
            Event::Connected if self.away => {
                self.away = false;
                eprintln!("outrace: {}: connected", self.url);
            }
            Event::Disconnected {
                reason,
                retry_in: Some(pause),
            } => {
                self.away = true;
                self.out.flush()?;
                eprintln!(
                    "outrace: {}: {reason}; trying again in {:.1} s",
                    self.url,
                    pause.as_secs_f32()
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Says where lines are missing, among the lines.
    fn skipped(&mut self, channel: &str, count: u64) -> io::Result<()> {
        let lines = if count == 1 { "line" } else { "lines" };
        match count {
            0 => Ok(()),
            _ if self.prefix => writeln!(self.out, "{channel}: … {count} {lines} skipped …"),
            _ => writeln!(self.out, "… {count} {lines} skipped …"),
        }
    }
}
