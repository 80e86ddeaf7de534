//! The unfinished line of a process, shown while it grows.

use std::time::Duration;

use tokio::time::Instant;

use crate::Publisher;

/// The maximum length in bytes of the text of an unfinished line.
pub(super) const MAX_PARTIAL_BYTES: usize = 16 * 1024;

/// How long a line stays unfinished before it is shown. Output that is written in parts, or read in
/// the middle of a line, is not shown in between.
const MIN_STANDING: Duration = Duration::from_millis(20);

/// The shortest time between two texts of one line. The hub shows ten a second, the empty ones
/// included, so more would be made in vain.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Returns the text of an unfinished line as a terminal shows it: the part after the last `\r` that
/// is followed by anything. Drops a character that is not complete yet.
pub(super) fn partial_text(unfinished: &[u8]) -> &[u8] {
    let end = unfinished
        .iter()
        .rposition(|&byte| byte != b'\r')
        .map_or(0, |last| last + 1);
    let start = memchr::memrchr(b'\r', &unfinished[..end]).map_or(0, |at| at + 1);
    let text = &unfinished[start..end];
    let text = &text[..text.len().min(MAX_PARTIAL_BYTES)];
    // The bytes of an incomplete character are its first byte and up to two of those after it.
    for back in 1..=text.len().min(3) {
        let byte = text[text.len() - back];
        let length = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if back < length {
            &text[..text.len() - back]
        } else {
            text
        };
    }
    text
}

/// Decides when the unfinished line of a process is shown, and shows it.
///
/// A line that stays unfinished for 20 ms is shown, and again when it has grown, at most ten times
/// a second. When it has ended, an empty text is shown at once.
#[derive(Debug, Default)]
pub(crate) struct PartialLine {
    /// The instant since which a line is unfinished, while its text is not shown.
    since: Option<Instant>,
    /// The text that was shown last. Empty if none is.
    shown: Vec<u8>,
    /// The instant at which a text was shown last.
    last: Option<Instant>,
}

impl PartialLine {
    /// Takes note of new input. `has_ended` says that a line ended in it, `is_unfinished` that a
    /// line is unfinished after it. Clears the text of a line that has ended.
    pub(crate) fn update(
        &mut self,
        has_ended: bool,
        is_unfinished: bool,
        now: Instant,
        publisher: &Publisher,
    ) {
        if has_ended {
            self.clear(publisher);
        }
        if is_unfinished {
            self.since.get_or_insert(now);
        }
    }

    /// Returns when [`show`](Self::show) is to be called, or `None` if there is nothing to show.
    pub(crate) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        let stands = if self.shown.is_empty() {
            since + MIN_STANDING
        } else {
            since
        };
        Some(
            self.last
                .map_or(stands, |last| stands.max(last + MIN_INTERVAL)),
        )
    }

    /// Shows the text of the unfinished line if it is due and has changed.
    pub(crate) fn show(&mut self, text: &[u8], now: Instant, publisher: &Publisher) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        self.since = None;
        if self.shown != text {
            self.shown.clear();
            self.shown.extend_from_slice(text);
            self.last = Some(now);
            publisher.show_partial(text);
        }
    }

    /// Shows that there is no unfinished line any more.
    pub(crate) fn clear(&mut self, publisher: &Publisher) {
        self.since = None;
        if !self.shown.is_empty() {
            self.shown.clear();
            publisher.show_partial(b"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carriage_return_begins_the_text_anew() {
        for (unfinished, text) in [
            (&b""[..], &b""[..]),
            (b"Password: ", b"Password: "),
            (b"10%\r20%", b"20%"),
            (b"\r10%\r20%\r", b"20%"),
            (b"10%\r\r", b"10%"),
            (b"\r\r", b""),
            (b"\r\x1b[K\x1b[32m20%\x1b[0m", b"\x1b[K\x1b[32m20%\x1b[0m"),
            ("a \u{20ac}".as_bytes(), "a \u{20ac}".as_bytes()),
            (b"a \xe2\x82", b"a "),
            (b"a \xf0\x9f\x98", b"a "),
            (b"a \xc3", b"a "),
            (b"a \xff", b"a \xff"),
            (b"a \x82\x82\x82\x82", b"a \x82\x82\x82\x82"),
        ] {
            assert_eq!(partial_text(unfinished), text, "{unfinished:?}");
        }
        assert_eq!(partial_text(&[b'x'; 70_000]).len(), MAX_PARTIAL_BYTES);
    }

    #[test]
    fn texts_are_shown_ten_times_a_second_and_none_between_the_lines_of_a_flood() {
        let hub = crate::Hub::new();
        let publisher = hub.publisher("process:it").unwrap();
        // A read each so many milliseconds, of which each so many ends a line.
        for (read_ms, ends_every, fewest) in [(1, 1, 0), (10, 1, 0), (3, 10, 20), (10, 1000, 90)] {
            let begin = Instant::now();
            let mut partial = PartialLine::default();
            let mut shown = Vec::new();
            for read in 1..10_000 / read_ms {
                let now = begin + Duration::from_millis(read * read_ms);
                if let Some(due) = partial.due().filter(|&due| due <= now) {
                    partial.show(read.to_string().as_bytes(), now, &publisher);
                    shown.push(due);
                }
                partial.update(read % ends_every == 0, true, now, &publisher);
            }
            let between = shown.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(between.min().is_none_or(|least| least >= MIN_INTERVAL));
            assert!(
                (fewest..=100).contains(&shown.len()),
                "{read_ms}: {}",
                shown.len()
            );
            assert_eq!(shown.is_empty(), fewest == 0);
        }
    }

    #[test]
    fn a_line_is_shown_once_it_stands_and_cleared_when_it_ends() {
        let hub = crate::Hub::new();
        let publisher = hub.publisher("process:it").unwrap();
        let begin = Instant::now();
        let mut partial = PartialLine::default();
        partial.update(true, false, begin, &publisher);
        assert_eq!(partial.due(), None, "no line is unfinished");
        partial.update(false, true, begin, &publisher);
        let later = begin + MIN_STANDING / 2;
        partial.update(false, true, later, &publisher);
        let due = begin + MIN_STANDING;
        assert_eq!(partial.due(), Some(due), "growing does not defer it");
        partial.show(b"10%", due, &publisher);
        assert_eq!((&partial.shown[..], partial.due()), (&b"10%"[..], None));
        partial.update(false, true, due, &publisher);
        assert_eq!(partial.due(), Some(due + MIN_INTERVAL));
        partial.update(true, false, due, &publisher);
        assert!(partial.shown.is_empty() && partial.due().is_none());
    }
}
