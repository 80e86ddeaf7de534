//! The events of the crate `tracing` as lines of a channel.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tracing_subscriber::prelude::*;
//!
//! let hub = outrace::Hub::new();
//! let subscriber =
//!     tracing_subscriber::registry().with(outrace::tracing::layer(hub.publisher("logs")?));
//! // Or `init()`, which installs it for the whole program.
//! tracing::subscriber::with_default(subscriber, || {
//!     let _request = tracing::info_span!("request", id = 7).entered();
//!     // {"level":"WARN","target":"app","message":"slow","fields":{"ms":812},
//!     //  "spans":[{"name":"request","fields":{"id":7}}]}
//!     tracing::warn!(ms = 812, "slow");
//! });
//! # Ok(()) }
//! ```
//!
//! [`LineWriter`] is a `MakeWriter`, for those who want the lines of
//! `tracing_subscriber::fmt`.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanChange};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::channel::Publisher;
use crate::hub::LineWriter;
use crate::record::{self, Fields, Form, Record, SpanRecord};

/// Publishes each event as one line. Returned by [`layer`].
///
/// The line is a JSON object with `level`, `target` and `message`, and with `fields` and `spans`
/// where there are any. After [`text`](Self::text) it is a text. The viewer colors such lines by
/// their level, and filters them.
///
/// Events of this crate are left out, and so is what its connections make other crates report:
/// publishing them would not end. While the channel has no subscriber and no history, an event
/// costs a check. The fields of a span that is created meanwhile are not kept.
#[derive(Clone, Debug)]
pub struct PublishLayer {
    publisher: Publisher,
    form: Form,
}

/// Returns a layer that publishes to a channel. It installs nothing.
pub fn layer(publisher: Publisher) -> PublishLayer {
    PublishLayer {
        publisher,
        form: Form::Json,
    }
}

impl PublishLayer {
    /// Publishes texts such as `WARN request{id=7}: app: slow ms=812` instead of JSON.
    #[must_use]
    pub fn text(mut self) -> Self {
        self.form = Form::Text;
        self
    }
}

/// The fields of a span, in its extensions. All layers of this type share them.
struct SpanFields(Fields);

impl<S> Layer<S> for PublishLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !self.publisher.is_watched() || attributes.is_empty() {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut Collect(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, change: &SpanChange<'_>, context: Context<'_, S>) {
        if !self.publisher.is_watched() {
            return;
        }
        // Formatted before the extensions are locked: a value's `Debug` may use the span.
        let mut changed = Fields::default();
        change.record(&mut Collect(&mut changed));
        let Some(span) = context.span(id) else {
            return;
        };
        let mut extensions = span.extensions_mut();
        match extensions.get_mut::<SpanFields>() {
            Some(SpanFields(fields)) => fields.extend(changed),
            None => extensions.insert(SpanFields(changed)),
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        record::publish(&self.publisher, metadata.target(), || {
            let mut fields = Fields::default();
            event.record(&mut Collect(&mut fields));
            let message = fields.take_text("message").unwrap_or_default();
            let spans = context.event_scope(event).map(|scope| {
                let spans = scope.from_root().map(|span| SpanRecord {
                    name: span.name(),
                    fields: match span.extensions().get() {
                        Some(SpanFields(fields)) => fields.clone(),
                        None => Fields::default(),
                    },
                });
                spans.collect()
            });
            let record = Record {
                level: metadata.level().as_str(),
                target: metadata.target(),
                message: &message,
                fields,
                spans: spans.unwrap_or_default(),
            };
            record.line(self.form)
        });
    }
}

/// Collects the values that are recorded.
struct Collect<'a>(&'a mut Fields);

impl Visit for Collect<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.set(field.name(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.set(field.name(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.set(field.name(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.set(field.name(), Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.set(field.name(), Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.set(field.name(), Value::from(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.set(field.name(), Value::from(format!("{value:?}")));
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
