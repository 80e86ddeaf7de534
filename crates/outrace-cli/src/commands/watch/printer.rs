//! The output of `outrace watch`: lines on standard output, status changes on standard error.

use std::io::{self, BufWriter, Write};

use outrace::ChannelName;
use outrace::client::{Event, LineDetail};

use super::screen::Screen;
use crate::console::notice;

/// What a server answers to a subscription beyond its limit.
const LIMIT: &str = "subscription limit exceeded";

/// Prints the events of a watcher.
pub(super) struct Printer<'a, W: Write> {
    pub(super) out: BufWriter<W>,
    pub(super) url: &'a str,
    /// What standard output shows if it is a terminal.
    pub(super) screen: Option<Screen>,
    /// The line of which only pieces were printed, so that its row is not ended.
    pub(super) open: Option<OpenLine>,
    /// Whether each line begins with the name of its channel.
    pub(super) prefix: bool,
    pub(super) json: bool,
    /// Whether the loss of the connection was reported.
    pub(super) is_away: bool,
    /// Whether it was reported that the server takes no more subscriptions.
    pub(super) is_full: bool,
}

/// A line of which the last piece is still to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpenLine {
    channel: ChannelName,
    is_stderr: bool,
}

impl<W: Write> Printer<'_, W> {
    pub(super) fn show(&mut self, event: Event) -> io::Result<()> {
        match &event {
            Event::Line { .. } | Event::Partial { .. } | Event::Subscribed { .. } => {}
            _ => self.begin_row()?,
        }
        match event {
            Event::Line {
                channel,
                text,
                detail,
                ..
            } => self.line(channel, &text, detail)?,
            Event::Partial { channel, text } => {
                if let Some(screen) = &mut self.screen {
                    screen.row.set(channel, text);
                }
            }
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
            Event::PatternLimit { watched } => notice!(
                "more than {watched} channels fit, of which that many are watched; a narrower pattern \
                 chooses fewer"
            ),
            Event::ListFailed { reason } => notice!("cannot list the channels: {reason}"),
            // One refusal comes for each channel.
            Event::Error { message } if message == LIMIT && self.is_full => {}
            Event::Error { message } if message == LIMIT => {
                self.is_full = true;
                notice!(
                    "there are more channels than the server lets one client watch: some are not \
                     shown; a narrower pattern chooses fewer"
                );
            }
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
                if let Some(screen) = &mut self.screen {
                    screen.row.clear();
                }
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

    /// Prints a line, or a piece of one behind the piece before.
    fn line(&mut self, channel: ChannelName, text: &str, detail: LineDetail) -> io::Result<()> {
        let line = OpenLine {
            channel,
            is_stderr: detail.is_stderr,
        };
        if self.open.as_ref() != Some(&line) {
            self.begin_row()?;
            if let Some(screen) = &mut self.screen {
                screen.row.complete(&line.channel, text);
                if line.is_stderr {
                    self.out.write_all(screen.stderr_mark.as_bytes())?;
                }
            }
            if self.prefix {
                write!(self.out, "{}: ", line.channel)?;
            }
        }
        self.out.write_all(text.as_bytes())?;
        if detail.is_continued {
            self.open = Some(line);
            return Ok(());
        }
        self.open = None;
        self.out.write_all(b"\n")
    }

    /// Makes the cursor stand at the start of an empty row: ends a line whose last piece is still
    /// to come, and erases an unfinished line that is shown.
    fn begin_row(&mut self) -> io::Result<()> {
        if self.open.take().is_some() {
            self.out.write_all(b"\n")?;
        }
        match &mut self.screen {
            Some(screen) => screen.row.erase(&mut self.out),
            None => Ok(()),
        }
    }

    /// Shows the unfinished line if there is a terminal, and writes everything out.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(screen) = &mut self.screen
            && self.open.is_none()
        {
            let columns = screen.columns();
            screen.row.draw(&mut self.out, columns, self.prefix)?;
        }
        self.out.flush()
    }

    /// Ends the last row, and writes everything out.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.begin_row()?;
        self.out.flush()
    }

    /// Prints, among the lines, how many are missing.
    pub(super) fn skipped(&mut self, channel: &str, count: u64) -> io::Result<()> {
        if count > 0 {
            self.begin_row()?;
        }
        let lines = if count == 1 { "line" } else { "lines" };
        match count {
            0 => Ok(()),
            _ if self.prefix => writeln!(self.out, "{channel}: … {count} {lines} skipped …"),
            _ => writeln!(self.out, "… {count} {lines} skipped …"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // as in tests
mod tests {
    use super::*;

    fn printer(screen: Option<Screen>, prefix: bool) -> Printer<'static, Vec<u8>> {
        Printer {
            out: BufWriter::new(Vec::new()),
            url: "ws://localhost/ws",
            screen,
            open: None,
            prefix,
            json: false,
            is_away: false,
            is_full: false,
        }
    }

    fn line(channel: &str, text: &str, is_stderr: bool, is_continued: bool) -> Event {
        let mut detail = LineDetail::default();
        detail.is_stderr = is_stderr;
        detail.is_continued = is_continued;
        Event::Line {
            channel: ChannelName::parse(channel).unwrap(),
            text: text.to_owned(),
            seq: None,
            timestamp: String::new(),
            detail,
        }
    }

    fn partial(text: &str) -> Event {
        Event::Partial {
            channel: ChannelName::parse("a").unwrap(),
            text: text.to_owned(),
        }
    }

    fn printed(printer: &mut Printer<'_, Vec<u8>>, events: Vec<Event>) -> String {
        for event in events {
            printer.show(event).unwrap();
            printer.flush().unwrap();
        }
        String::from_utf8(std::mem::take(printer.out.get_mut())).unwrap()
    }

    #[test]
    fn the_pieces_of_a_line_are_joined_and_another_line_between_them_has_its_own_row() {
        let gap = Event::Gap {
            channel: ChannelName::parse("a").unwrap(),
            from: 4,
            to: 4,
            count: 1,
        };
        let events = || {
            vec![
                line("a", "one ", false, true),
                line("a", "line", false, false),
                line("a", "cut", false, true),
                line("a", "error", true, false),
                line("a", " off", false, true),
                gap.clone(),
                line("a", "end", false, false),
            ]
        };
        assert_eq!(
            printed(&mut printer(None, false), events()),
            "one line\ncut\nerror\n off\n… 1 line skipped …\nend\n"
        );
        assert_eq!(
            printed(&mut printer(None, true), events()),
            "a: one line\na: cut\na: error\na:  off\na: … 1 line skipped …\na: end\n"
        );
    }

    #[test]
    fn on_a_terminal_an_unfinished_line_is_replaced_and_standard_error_is_marked() {
        let events = || {
            vec![
                partial("10%"),
                partial("20%"),
                line("a", "warning", true, false),
                line("a", "10%\r20%, done", false, false),
                partial(""),
            ]
        };
        assert_eq!(
            printed(&mut printer(Some(Screen::new(false)), false), events()),
            "10%\r\u{1b}[K20%\r\u{1b}[K! warning\n20%\r\u{1b}[K10%\r20%, done\n"
        );
        assert_eq!(
            printed(&mut printer(None, false), events()),
            "warning\n10%\r20%, done\n",
            "not a terminal"
        );
        let colored = Some(Screen::new(true));
        assert_eq!(
            printed(
                &mut printer(colored, true),
                vec![line("a", "x", true, false)]
            ),
            "\u{1b}[31m!\u{1b}[0m a: x\n"
        );
    }
}
