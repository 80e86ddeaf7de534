//! The destination of the feeder's lines.

use super::error::FeederError;
use crate::wire::http::HttpConnection;
use crate::wire::target::Target;
use std::io::Write;
use std::process::ChildStdin;

/// The destination of lines.
pub(crate) enum LineSink {
    /// The standard input of a server with one channel. Lines are written as they are.
    Lines(ChildStdin),
    /// The standard input of a server with several channels. Lines are `processId<TAB>line`.
    Framed(ChildStdin),
    /// The standard inputs of several homes, each with the lines of its own channels.
    Spread(SpreadSink),
    /// `POST /api/actions` of a server that is not a child.
    Actions(HttpConnection),
}

impl LineSink {
    /// Connects to a server that is not a child.
    pub(super) fn connect(target: &Target) -> Result<LineSink, FeederError> {
        Ok(LineSink::Actions(HttpConnection::connect(target)?))
    }

    /// Returns the text before and the text after a line of the process `id`.
    pub(super) fn frame(&self, id: &str) -> (String, &'static str) {
        match self {
            LineSink::Lines(_) => (String::new(), "\n"),
            LineSink::Framed(_) | LineSink::Spread(_) => (format!("{id}\t"), "\n"),
            LineSink::Actions(_) => (
                format!(
                    "{{\"action\":\"ws.send_process_output\",\"process_id\":\"{id}\",\"output\":\""
                ),
                "\"},",
            ),
        }
    }

    /// Writes framed lines.
    pub(super) fn send(&mut self, lines: &[u8]) -> Result<(), FeederError> {
        match self {
            LineSink::Lines(pipe) | LineSink::Framed(pipe) => {
                pipe.write_all(lines).map_err(FeederError::Pipe)
            }
            LineSink::Spread(homes) => homes.send(lines),
            LineSink::Actions(http) => {
                let mut body = Vec::with_capacity(lines.len() + 2);
                body.push(b'[');
                // Without the comma after the last action.
                body.extend_from_slice(&lines[..lines.len() - 1]);
                body.push(b']');
                http.expect("POST", "/api/actions", &body, 200)?;
                Ok(())
            }
        }
    }
}

/// The standard inputs of several homes. Channel `i` belongs to home `i % homes`.
pub(crate) struct SpreadSink {
    pipes: Vec<(ChildStdin, Vec<u8>)>,
}

impl SpreadSink {
    pub(super) fn new(pipes: Vec<ChildStdin>) -> SpreadSink {
        SpreadSink {
            pipes: pipes.into_iter().map(|pipe| (pipe, Vec::new())).collect(),
        }
    }

    /// Writes each line of `load-CHANNEL<TAB>line` to the home of its channel.
    fn send(&mut self, lines: &[u8]) -> Result<(), FeederError> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let home = channel_of(line) % self.pipes.len();
            self.pipes[home].1.extend_from_slice(line);
        }
        for (pipe, lines) in &mut self.pipes {
            pipe.write_all(lines).map_err(FeederError::Pipe)?;
            lines.clear();
        }
        Ok(())
    }
}

/// Returns the channel of a framed line, and 0 if there is only one.
fn channel_of(line: &[u8]) -> usize {
    let id = line.split(|byte| *byte == b'\t').next().unwrap_or_default();
    let digits = id.rsplit(|byte| *byte == b'-').next().unwrap_or_default();
    digits
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framed_line_belongs_to_the_channel_that_it_names() {
        assert_eq!(channel_of(b"load-12\tsome text-99\n"), 12);
        assert_eq!(channel_of(b"load-0\t\n"), 0);
        assert_eq!(channel_of(b"load\tline 7\n"), 0);
    }
}
