//! The query of a stream's address.

use std::borrow::Cow;
use std::num::NonZeroU16;
use std::time::Duration;

use percent_encoding::percent_decode_str;

/// The query of a stream's address. Other parameters, such as `token`, are not read here.
#[derive(Debug, Default, PartialEq)]
pub(super) struct StreamQuery {
    /// The maximum number of earlier lines to send first.
    pub(super) tail: Option<u64>,
    /// The interval in seconds at which a silent stream sends something. By default 15 for events,
    /// and none for text, in which every byte is a part of a line.
    keep_alive: Option<NonZeroU16>,
}

/// A parameter has an invalid value, or is given twice.
#[derive(Debug, PartialEq)]
pub(super) struct InvalidQuery;

impl InvalidQuery {
    pub(super) const TEXT: &str = "The query takes tail, a number of lines, and keep_alive, a \
         number of seconds from 1 to 65535, each at most once, such as ?tail=100&keep_alive=30.";
}

impl StreamQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, InvalidQuery> {
        let mut parsed = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match &*decoded(name) {
                "tail" => set(&mut parsed.tail, &value)?,
                "keep_alive" => set(&mut parsed.keep_alive, &value)?,
                _ => {}
            }
        }
        Ok(parsed)
    }

    pub(super) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
            .map(|seconds| Duration::from_secs(seconds.get().into()))
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

fn set<T: std::str::FromStr>(slot: &mut Option<T>, value: &str) -> Result<(), InvalidQuery> {
    let value = value.parse().map_err(|_| InvalidQuery)?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(InvalidQuery),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_a_number_and_stands_at_most_once_among_others() {
        for (query, expected) in [
            (None, Some((None, None))),
            (Some(""), Some((None, None))),
            (Some("token=tail&x&tail=0"), Some((Some(0), None))),
            (
                Some("t%61il=1%30&keep_alive=30"),
                Some((Some(10), Some(30))),
            ),
            (Some("tail=1&tail=1"), None),
            (Some("tail="), None),
            (Some("tail"), None),
            (Some("tail=-1"), None),
            (Some("keep_alive=0"), None),
            (Some("keep_alive=65536"), None),
        ] {
            let parsed = StreamQuery::parse(query).ok();
            let parsed = parsed.map(|query| {
                let seconds = query.keep_alive().map(|interval| interval.as_secs());
                (query.tail, seconds)
            });
            assert_eq!(parsed, expected, "{query:?}");
        }
    }
}
