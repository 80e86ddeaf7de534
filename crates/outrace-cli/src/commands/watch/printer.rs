//! The output of `outrace watch`: lines on standard output, status changes on standard error.

use std::io::{self, BufWriter, StdoutLock, Write};

use outrace::client::Event;

use crate::console::notice;

/// Prints the events of a watcher.
pub(super) struct Printer<'a> {
    pub(super) out: BufWriter<StdoutLock<'static>>,
    pub(super) url: &'a str,
    /// Whether each line begins with the name of its channel.
    pub(super) prefix: bool,
    pub(super) json: bool,
    /// Whether the loss of the connection was reported.
    pub(super) is_away: bool,
}

impl Printer<'_> {
    pub(super) fn show(&mut self, event: Event) -> io::Result<()> {
        match event {
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
                        notice!("{channel} {status} with code {exit_code}");
                    }
                    status => notice!("{channel} {status}"),
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
                    notice!(
                        "{channel} began anew, as after a restart of the server; lines may be missing"
                    );
                }
                self.skipped(channel.as_str(), lost)?;
            }
            Event::Subscribed { channel, lost, .. } => self.skipped(channel.as_str(), lost)?,
            Event::ListFailed { reason } => notice!("cannot list the channels: {reason}"),
            Event::Error { message } => notice!("the server says: {message}"),
            Event::Connected if self.is_away => {
                self.is_away = false;
                notice!("{}: connected", self.url);
            }
            Event::Disconnected {
                reason,
                retry_in: Some(pause),
            } => {
                self.is_away = true;
                self.out.flush()?;
                notice!(
                    "{}: {reason}; trying again in {:.1} s",
                    self.url,
                    pause.as_secs_f32()
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Prints, among the lines, how many are missing.
    pub(super) fn skipped(&mut self, channel: &str, count: u64) -> io::Result<()> {
        let lines = if count == 1 { "line" } else { "lines" };
        match count {
            0 => Ok(()),
            _ if self.prefix => writeln!(self.out, "{channel}: … {count} {lines} skipped …"),
            _ => writeln!(self.out, "… {count} {lines} skipped …"),
        }
    }
}
