//! Records of a program's log, as lines of a channel.
//!
//! | file | job |
//! |---|---|
//! | `mod` | [`Record`]: one record, and its line |
//! | `fields` | the fields of a record or a span |

mod fields;

use serde::Serialize;

use crate::channel::Publisher;
use crate::own;

pub(crate) use fields::Fields;

/// The form of a record's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// A JSON object.
    #[default]
    Json,
    /// Words.
    Text,
}

/// One record of a log.
#[derive(Serialize)]
pub(crate) struct Record<'a> {
    /// In capitals, such as `WARN`.
    pub(crate) level: &'a str,
    pub(crate) target: &'a str,
    pub(crate) message: &'a str,
    #[serde(skip_serializing_if = "Fields::is_empty")]
    pub(crate) fields: Fields,
    /// The spans that the record stands in, the outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) spans: Vec<SpanRecord>,
}

/// A span that a record stands in.
#[derive(Serialize)]
#[cfg_attr(
    not(feature = "tracing"),
    allow(dead_code, reason = "only tracing has spans")
)]
pub(crate) struct SpanRecord {
    pub(crate) name: &'static str,
    #[serde(skip_serializing_if = "Fields::is_empty")]
    pub(crate) fields: Fields,
}

impl Record<'_> {
    /// Returns the line of the record.
    pub(crate) fn line(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Json => {
                serde_json::to_vec(self).expect("texts and JSON values serialize to JSON")
            }
            Form::Text => self.text().into_bytes(),
        }
    }

    /// Returns the record in words, on one line.
    fn text(&self) -> String {
        let mut line = format!("{:>5} ", self.level);
        for span in &self.spans {
            line.push_str(span.name);
            if !span.fields.is_empty() {
                line.push('{');
                span.fields.push_text(&mut line);
                line.push('}');
            }
            line.push(':');
        }
        if !self.spans.is_empty() {
            line.push(' ');
        }
        line.push_str(self.target);
        line.push_str(": ");
        line.push_str(self.message);
        if !self.fields.is_empty() {
            line.push(' ');
            self.fields.push_text(&mut line);
        }
        if line.contains(['\n', '\r']) {
            line = line.replace('\r', "\\r").replace('\n', "\\n");
        }
        line
    }
}

/// Publishes a record, which `make` makes, unless it is the engine's own. While nobody watches, the
/// record is only counted.
///
/// A record that is logged while another one is made is not published: making one would make the
/// other, without end.
pub(crate) fn publish(publisher: &Publisher, target: &str, make: impl FnOnce() -> Vec<u8>) {
    if !publisher.is_watched() {
        if !own::is_own() && !own::is_own_target(target) {
            publisher.count_unwatched(1);
        }
        return;
    }
    if own::is_own() || own::is_own_target(target) {
        return;
    }
    let _own = own::begin();
    publisher.send_line(make());
}
