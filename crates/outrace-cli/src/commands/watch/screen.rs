//! What the terminal shows beside whole lines.

use std::io::IsTerminal;

use super::live_row::LiveRow;

/// The columns of a terminal that does not tell its size.
const USUAL_COLUMNS: usize = 80;

/// A terminal that shows unfinished lines and marks standard error.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) row: LiveRow,
    /// What stands before a line of standard error.
    pub(super) stderr_mark: &'static str,
}

impl Screen {
    /// Returns the terminal that standard output is. `None` if it is none, or one that can only
    /// append.
    pub(super) fn of_stdout() -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_dumb || !std::io::stdout().is_terminal() {
            return None;
        }
        // https://no-color.org
        let is_colored = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Some(Self::new(is_colored))
    }

    pub(super) fn new(is_colored: bool) -> Self {
        Self {
            row: LiveRow::default(),
            stderr_mark: if is_colored {
                "\x1b[31m!\x1b[0m "
            } else {
                "! "
            },
        }
    }

    /// Returns the columns of the terminal now.
    pub(super) fn columns(&self) -> usize {
        match rustix::termios::tcgetwinsize(rustix::stdio::stdout()) {
            Ok(size) if size.ws_col > 0 => size.ws_col.into(),
            _ => USUAL_COLUMNS,
        }
    }
}
