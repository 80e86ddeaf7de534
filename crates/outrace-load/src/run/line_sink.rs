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
            LineSink::Framed(_) => (format!("{id}\t"), "\n"),
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
