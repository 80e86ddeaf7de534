//! The records of the crate `log` as lines of a channel.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = outrace::Hub::new();
//! let logger = outrace::log::logger(hub.publisher("logs")?);
//! // Nothing is installed until the program does so.
//! log::set_boxed_logger(Box::new(logger))?;
//! log::set_max_level(log::LevelFilter::Info);
//! log::info!("listening on {}", 3000);
//! # Ok(()) }
//! ```

use crate::channel::Publisher;
use crate::own;
use crate::record::{self, Fields, Form, Record};

/// Publishes each record as one line. Returned by [`logger`].
///
/// The line is a JSON object with `level`, `target` and `message`, or a text after
/// [`text`](Self::text). Records of this crate are left out, and so is what its connections make
/// other crates log: publishing them would not end. While the channel has no subscriber and no
/// history, a record costs a check.
#[derive(Clone, Debug)]
pub struct Logger {
    publisher: Publisher,
    form: Form,
}

/// Returns a logger that publishes to a channel. It installs nothing.
pub fn logger(publisher: Publisher) -> Logger {
    Logger {
        publisher,
        form: Form::Json,
    }
}

impl Logger {
    /// Publishes texts such as `WARN app::db: the pool is empty` instead of JSON.
    #[must_use]
    pub fn text(mut self) -> Self {
        self.form = Form::Text;
        self
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        !own::is_own_target(metadata.target())
    }

    fn log(&self, record: &log::Record<'_>) {
        record::publish(&self.publisher, record.target(), || {
            let args = record.args();
            let formatted;
            let message = match args.as_str() {
                Some(text) => text,
                None => {
                    formatted = args.to_string();
                    &formatted
                }
            };
            let line = Record {
                level: record.level().as_str(),
                target: record.target(),
                message,
                fields: Fields::default(),
                spans: Vec::new(),
            };
            line.line(self.form)
        });
    }

    /// Does nothing: a record is published when it is logged.
    fn flush(&self) {}
}
