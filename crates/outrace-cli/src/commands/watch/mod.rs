//! `outrace watch`: prints the lines of channels as they come.

mod catch_up;
mod live_row;
mod printer;
mod screen;

use std::collections::VecDeque;
use std::io::{self, BufWriter, ErrorKind};
use std::path::PathBuf;
use std::pin::pin;

use clap::Args;
use outrace::client::{DisconnectReason, Event, WatchError, Watcher};
use signal_hook::consts::SIGINT;

use self::catch_up::{CatchUp, Step};
use self::printer::Printer;
use self::screen::Screen;
use crate::address::{DEFAULT_URL, is_address, websocket_url};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files::read;
use crate::output::{Output, OutputWriter};

/// Lines go to standard output, status changes to standard error. Reconnects when the connection is
/// lost, also after a failed first attempt, and resumes where it stopped. Ends when the first
/// attempt shows that the address is not that of a server. Where the server skipped
/// lines, one line says how many. On a terminal, a line that is still being written is shown in the
/// last row, and a line of standard error begins with !.
#[derive(Args)]
pub(crate) struct Watch {
    /// The address of the server, or of the page that shows its channels. Without one, the server
    /// on this machine at its usual port is meant: ws://127.0.0.1:7223/ws
    #[arg(value_name = "URL")]
    url: Option<String>,

    /// The channels, such as process:web. 'process:*' is all channels of that kind, now and later,
    /// and without any channel everything is watched
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,

    /// Send this token to the server. Other users of this machine can see a command line: prefer
    /// the environment or a file
    #[arg(
        long,
        value_name = "TOKEN",
        env = "OUTRACE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,

    /// Send the token that this file contains
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// For wss://, trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Begin with up to this many of the last lines that the server keeps
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u64>,

    /// Fetch skipped lines again, as far as the server keeps them, and print them in their place
    #[arg(long, conflicts_with = "json")]
    catch_up: bool,

    /// Print each message as received: one JSON object a line
    #[arg(long)]
    json: bool,

    /// End when the connection is lost: with 0 if the server closed it in good order, else with 1
    #[arg(long)]
    no_retry: bool,

    /// End after this many failed attempts in a row to connect
    #[arg(long, value_name = "ATTEMPTS", conflicts_with = "no_retry")]
    retry_limit: Option<u32>,
}

impl Watch {
    pub(crate) async fn start(mut self) -> Result<u8, Failure> {
        let url = match self.url.take() {
            Some(url) if is_address(&url) => websocket_url(&url),
            first_channel => {
                self.channels.splice(..0, first_channel);
                DEFAULT_URL.to_owned()
            }
        };
        if self.channels.is_empty() {
            self.channels.push("*".to_owned());
        }
        let mut builder = Watcher::builder(&url)
            .raw(self.json)
            .batch(!self.json)
            .detail(!self.json)
            .partial(!self.json && Screen::of_stdout().is_some())
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
        for channel in &self.channels {
            builder = if channel.contains('*') {
                builder.pattern(channel)
            } else {
                builder.channel(channel)
            };
        }
        let watcher = builder
            .build()
            .map_err(|error: WatchError| Failure::usage(error))?;
        // A task of its own, since a slow reader of our output may block the one that prints.
        tokio::spawn(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                Exit::Signal(SIGINT).end();
            }
        });
        // The query may hold a token.
        let shown_url = url.split(['?', '#']).next().unwrap_or_default();
        match self.print(watcher, shown_url).await {
            Ok(None) => Ok(0),
            Ok(Some(lost)) if lost.is_orderly() => Ok(0),
            Ok(Some(lost)) => Err(Failure::new(1, format!("{shown_url}: {lost}"))),
            // The reader of our output has had enough, as `head` has. The job is done.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                Output::stdout().excuse();
                Ok(0)
            }
            Err(error) => Err(Failure::new(
                1,
                format!("cannot write to standard output: {error}"),
            )),
        }
    }

    /// Prints until the watcher ends. Returns why the connection was lost for good.
    async fn print(&self, mut watcher: Watcher, url: &str) -> io::Result<Option<DisconnectReason>> {
        let mut printer = Printer {
            out: BufWriter::with_capacity(64 * 1024, OutputWriter),
            url,
            screen: Screen::of_stdout().filter(|_| !self.json),
            open: None,
            prefix: watcher.channels().len() > 1
                || self.channels.iter().any(|channel| channel.contains('*')),
            json: self.json,
            is_away: false,
            is_full: false,
        };
        let mut catch_up = self.catch_up.then(CatchUp::default);
        let mut steps = VecDeque::new();
        let mut reader_gone = pin!(Output::stdout().reader_gone());
        loop {
            // Flushes when no event is ready: a flood takes large writes, and a lone line is
            // printed at once.
            let event = match watcher.try_next() {
                Some(event) => event,
                None => {
                    printer.flush()?;
                    tokio::select! {
                        () = &mut reader_gone => return Err(ErrorKind::BrokenPipe.into()),
                        event = watcher.next() => match event {
                            Some(event) => event,
                            None => {
                                printer.finish()?;
                                return Ok(None);
                            }
                        }
                    }
                }
            };
            match &mut catch_up {
                Some(catch_up) => catch_up.take(event, &mut steps),
                None => steps.push_back(Step::Show(event)),
            }
            while let Some(step) = steps.pop_front() {
                match step {
                    Step::Show(Event::Disconnected {
                        reason,
                        retry_in: None,
                    }) => {
                        printer.finish()?;
                        return Ok(Some(reason));
                    }
                    Step::Show(event) => printer.show(event)?,
                    Step::Skipped { channel, count } => printer.skipped(&channel, count)?,
                    Step::Fetch { channel, from, to } => {
                        if !watcher.refetch(&channel, from, to)
                            && let Some(catch_up) = &mut catch_up
                        {
                            let mut rest = VecDeque::new();
                            catch_up.give_up(&channel, &mut rest);
                            // These steps come before what followed the lines that could not be
                            // fetched.
                            rest.append(&mut steps);
                            steps = rest;
                        }
                    }
                }
            }
        }
    }
}
