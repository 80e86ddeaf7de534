//! The last row of a terminal: the line that a process is still writing. It is replaced as the line
//! grows, and gives way to whatever is printed.

use std::collections::BTreeMap;
use std::io::{self, Write};

use outrace::ChannelName;

/// Erases the row that the cursor is in.
const ERASE: &[u8] = b"\r\x1b[K";

/// The unfinished lines of all channels, of which the one that changed last is shown.
#[derive(Debug, Default)]
pub(super) struct LiveRow {
    texts: BTreeMap<ChannelName, String>,
    /// The channel whose text changed last.
    latest: Option<ChannelName>,
    /// Whether the row on the terminal shows a text.
    is_drawn: bool,
}

impl LiveRow {
    /// Sets the unfinished line of a channel. An empty text says that there is none.
    pub(super) fn set(&mut self, channel: ChannelName, text: String) {
        if text.is_empty() {
            self.texts.remove(&channel);
        } else {
            self.texts.insert(channel.clone(), text);
            self.latest = Some(channel);
        }
    }

    /// Removes the unfinished line of a channel that has come whole as `line`. The server says so
    /// too, but up to a tenth of a second later.
    pub(super) fn complete(&mut self, channel: &ChannelName, line: &str) {
        if let Some(text) = self.texts.get(channel) {
            let shown = line.trim_end_matches('\r');
            let shown = shown.rsplit('\r').next().unwrap_or(shown);
            if shown.starts_with(text) || line.starts_with(text) {
                self.texts.remove(channel);
            }
        }
    }

    /// Removes all unfinished lines.
    pub(super) fn clear(&mut self) {
        self.texts.clear();
    }

    /// Erases the row, so that something else can be printed there.
    pub(super) fn erase(&mut self, out: &mut impl Write) -> io::Result<()> {
        if std::mem::take(&mut self.is_drawn) {
            out.write_all(ERASE)?;
        }
        Ok(())
    }

    /// Draws the row in a terminal of `columns` columns. The cursor must be at the start of a row,
    /// or in the row that was drawn before.
    pub(super) fn draw(
        &mut self,
        out: &mut impl Write,
        columns: usize,
        has_prefix: bool,
    ) -> io::Result<()> {
        self.erase(out)?;
        let shown = self
            .latest
            .as_ref()
            .and_then(|latest| self.texts.get_key_value(latest))
            .or_else(|| self.texts.first_key_value());
        let Some((channel, text)) = shown else {
            return Ok(());
        };
        let row = if has_prefix {
            format!("{channel}: {text}")
        } else {
            text.clone()
        };
        // A row that fills the last column would begin the next row.
        out.write_all(fitting(&row, columns.saturating_sub(1)).as_bytes())?;
        self.is_drawn = true;
        Ok(())
    }
}

/// Returns as much of a text as fits, without control characters and escape sequences: they could
/// move the cursor out of the row.
fn fitting(text: &str, columns: usize) -> String {
    let (mut shown, mut used) = (String::new(), 0);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\x1b' {
            // `ESC [ … final byte`, or ESC and one character.
            if characters.next() == Some('[') {
                characters.find(|next| ('\x40'..='\x7e').contains(next));
            }
            continue;
        }
        if character.is_control() {
            continue;
        }
        // From here on most characters of Unicode are two columns wide. Too many columns only cut
        // the text sooner.
        let width = if character < '\u{1100}' { 1 } else { 2 };
        if used + width > columns {
            break;
        }
        used += width;
        shown.push(character);
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // as in tests
mod tests {
    use super::*;

    fn web() -> ChannelName {
        ChannelName::parse("process:web").unwrap()
    }

    fn drawn(row: &mut LiveRow, columns: usize, has_prefix: bool) -> String {
        let mut out = Vec::new();
        row.draw(&mut out, columns, has_prefix).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_text_replaces_the_one_before_and_an_empty_one_leaves_nothing() {
        let mut row = LiveRow::default();
        assert_eq!(drawn(&mut row, 80, false), "");
        row.set(web(), "10%".into());
        assert_eq!(drawn(&mut row, 80, false), "10%");
        row.set(web(), "20%".into());
        assert_eq!(drawn(&mut row, 80, true), "\r\x1b[Kprocess:web: 20%");
        row.set(web(), String::new());
        assert_eq!(drawn(&mut row, 80, false), "\r\x1b[K");
        assert_eq!(drawn(&mut row, 80, false), "");
    }

    #[test]
    fn the_text_that_changed_last_is_shown_and_then_another() {
        let mut row = LiveRow::default();
        let db = ChannelName::parse("process:db").unwrap();
        row.set(db.clone(), "loading".into());
        row.set(web(), "50%".into());
        assert_eq!(drawn(&mut row, 80, false), "50%");
        row.complete(&web(), "10%\r50%, done");
        assert_eq!(drawn(&mut row, 80, false), "\r\x1b[Kloading");
        row.complete(&db, "another line");
        assert_eq!(drawn(&mut row, 80, false), "\r\x1b[Kloading");
        row.complete(&db, "loading, done\r");
        assert_eq!(drawn(&mut row, 80, false), "\r\x1b[K");
    }

    #[test]
    fn a_text_never_leaves_its_row() {
        for (text, shown) in [
            ("abcdef", "abcd"),
            ("a\x1b[31mb\x1b[2Jc\nd\te", "abcd"),
            ("\x1b", ""),
            ("\x1bcab\x1b[", "ab"),
            ("漢字漢字", "漢字"),
            ("é漢字", "é漢"),
        ] {
            assert_eq!(fitting(text, 4), shown, "{text:?}");
        }
        let mut row = LiveRow::default();
        row.set(web(), "abcdef".into());
        assert_eq!(drawn(&mut row, 5, false), "abcd");
        assert_eq!(drawn(&mut row, 0, false), "\r\x1b[K");
    }
}
