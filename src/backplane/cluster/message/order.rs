//! Orders for processes of other nodes.

use super::super::fields::{Fields, Malformed, put_bytes, put_number};
use super::Kind;
use crate::message::{ProcessId, ProcessOrder};

/// The most bytes of the name of an asker.
const MAX_ASKER_BYTES: usize = 1024;
/// The most bytes of the text of a refusal.
const MAX_REFUSAL_BYTES: usize = 1024;

/// The client for which a node asks, as its access rules know it. Empty when they know no clients.
///
/// The node that the client is connected to has checked its rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asker(String);

impl Asker {
    /// Creates the asker with this name, of which at most 1,024 bytes are kept.
    pub(crate) fn new(name: &str) -> Self {
        Self(start(name, MAX_ASKER_BYTES).to_owned())
    }

    /// Returns the name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.0.as_bytes());
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let name = fields.text()?;
        if name.len() > MAX_ASKER_BYTES {
            return Err(Malformed);
        }
        Ok(Self(name.to_owned()))
    }
}

/// An order for a supervised process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// The number that the reply names.
    pub(crate) id: u64,
    /// The process.
    pub(crate) process_id: ProcessId,
    /// What it is to do.
    pub(crate) order: ProcessOrder,
    /// For whom the sender asks.
    pub(crate) asker: Asker,
}

/// The reply to an [`Order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// The order.
    pub(crate) id: u64,
    /// The reason why it was refused, if it was.
    pub(crate) refusal: Option<String>,
}

impl Order {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        put_number(out, self.id);
        put_bytes(out, self.process_id.as_str().as_bytes());
        out.push(match self.order {
            ProcessOrder::Start => 0,
            ProcessOrder::Stop => 1,
            ProcessOrder::Restart => 2,
        });
        self.asker.put(out);
        Kind::Order
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: fields.number()?,
            process_id: ProcessId::parse(fields.text()?).map_err(|_| Malformed)?,
            order: match fields.byte()? {
                0 => ProcessOrder::Start,
                1 => ProcessOrder::Stop,
                2 => ProcessOrder::Restart,
                _ => return Err(Malformed),
            },
            asker: Asker::read(fields)?,
        })
    }
}

impl Ordered {
    pub(super) fn put(&self, out: &mut Vec<u8>) -> Kind {
        put_number(out, self.id);
        out.push(u8::from(self.refusal.is_some()));
        if let Some(reason) = &self.refusal {
            put_bytes(out, start(reason, MAX_REFUSAL_BYTES).as_bytes());
        }
        Kind::Ordered
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: fields.number()?,
            refusal: if fields.flag()? {
                Some(fields.text()?.to_owned())
            } else {
                None
            },
        })
    }
}

/// Returns the start of a text: the whole characters within `max_bytes`.
fn start(text: &str, max_bytes: usize) -> &str {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
