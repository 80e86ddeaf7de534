//! The timestamp of a message, such as `2026-02-19T10:00:00.123Z`.

use std::cell::Cell;

use chrono::{DateTime, Datelike, Timelike};

/// The length of the text in bytes: RFC 3339 in UTC with milliseconds.
const TEXT: usize = 24;
/// The key before the text, at the end of a message.
const KEY: &[u8] = b",\"timestamp\":\"";
/// The length of the end of a message in bytes: key, text, quote and brace.
pub(super) const TAIL: usize = KEY.len() + TEXT + 2;
/// The first moment that RFC 3339 can represent: 0000-01-01T00:00:00.000Z, in Unix milliseconds.
const MIN_MS: i64 = -62_167_219_200_000;
/// The last moment that RFC 3339 can represent: 9999-12-31T23:59:59.999Z, in Unix milliseconds.
const MAX_MS: i64 = 253_402_300_799_999;

/// A formatted moment.
///
/// It holds the complete end of a message, `,"timestamp":"…"}`. Ending a message is then one copy
/// of constant size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    tail: [u8; TAIL],
}

thread_local! {
    /// The timestamp that this thread formatted last. Messages of the same millisecond share it.
    static LAST: Cell<Option<(i64, Timestamp)>> = const { Cell::new(None) };
}

impl Timestamp {
    /// Formats a moment in milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// A moment that RFC 3339 cannot represent becomes the nearest that it can. A wrong clock thus
    /// gives a wrong timestamp, but no panic.
    pub fn from_unix_millis(millis: i64) -> Self {
        LAST.with(|last| match last.get() {
            Some((at, timestamp)) if at == millis => timestamp,
            _ => {
                let timestamp = Self::format(millis);
                last.set(Some((millis, timestamp)));
                timestamp
            }
        })
    }

    fn format(millis: i64) -> Self {
        let time = DateTime::from_timestamp_millis(millis.clamp(MIN_MS, MAX_MS))
            .expect("chrono's range holds the years 0 to 9999");
        let mut tail = [0; TAIL];
        tail[..KEY.len()].copy_from_slice(KEY);
        let text = &mut tail[KEY.len()..];
        text.copy_from_slice(b"0000-00-00T00:00:00.000Z\"}");
        digits(&mut text[..4], time.year().unsigned_abs());
        digits(&mut text[5..7], time.month());
        digits(&mut text[8..10], time.day());
        digits(&mut text[11..13], time.hour());
        digits(&mut text[14..16], time.minute());
        digits(&mut text[17..19], time.second());
        digits(&mut text[20..23], time.timestamp_subsec_millis());
        Self { tail }
    }

    /// Returns the 24 bytes of text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.tail[KEY.len()..KEY.len() + TEXT]).expect("digits and punctuation")
    }

    /// Returns the moment in milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_millis(&self) -> i64 {
        let time = DateTime::parse_from_rfc3339(self.as_str());
        time.expect("the text is RFC 3339").timestamp_millis()
    }

    /// Returns the end of a message: `,"timestamp":"…"}`.
    #[inline]
    pub(super) fn tail(&self) -> &[u8; TAIL] {
        &self.tail
    }
}

fn digits(place: &mut [u8], mut value: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

impl std::fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::SecondsFormat;
    use proptest::prelude::*;

    #[test]
    fn absurd_clocks_give_the_nearest_year_that_can_be_written() {
        assert_eq!(
            Timestamp::from_unix_millis(i64::MIN).as_str(),
            "0000-01-01T00:00:00.000Z"
        );
        assert_eq!(
            Timestamp::from_unix_millis(i64::MAX).as_str(),
            "9999-12-31T23:59:59.999Z"
        );
        assert_eq!(
            Timestamp::from_unix_millis(-1).as_str(),
            "1969-12-31T23:59:59.999Z"
        );
        assert_eq!(
            Timestamp::from_unix_millis(1_771_495_200_123).as_str(),
            "2026-02-19T10:00:00.123Z"
        );
    }

    #[test]
    fn the_tail_closes_a_message() {
        assert_eq!(
            Timestamp::from_unix_millis(0).tail(),
            br#","timestamp":"1970-01-01T00:00:00.000Z"}"#
        );
    }

    proptest! {
        #[test]
        fn it_writes_what_chrono_writes(millis in MIN_MS..=MAX_MS) {
            let time = DateTime::from_timestamp_millis(millis).unwrap();
            let expected = time.to_rfc3339_opts(SecondsFormat::Millis, true);
            let timestamp = Timestamp::from_unix_millis(millis);
            prop_assert_eq!(timestamp.as_str(), &expected);
            prop_assert_eq!(Timestamp::from_unix_millis(millis), timestamp);
        }
    }
}
