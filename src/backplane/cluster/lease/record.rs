//! The values of the keys at the broker.

use bytes::Bytes;

use super::super::block::epoch;
use super::super::fields::{Fields, Malformed, put_bytes, put_number};
use super::super::names::NodeId;

const VERSION: u8 = 1;

/// The value of a node's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    /// The number of the session among those of the node.
    pub(crate) generation: u64,
    /// The number of the write among those of the node.
    pub(crate) write: u64,
}

impl SessionRecord {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        put_number(&mut out, self.generation);
        put_number(&mut out, self.write);
        out.into()
    }

    /// Reads a value. A later version may have more at its end.
    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(value);
        fields.byte()?;
        Ok(Self {
            generation: fields.number()?,
            write: fields.number()?,
        })
    }
}

/// The value of a channel's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HomeRecord {
    /// The home.
    pub(crate) node: NodeId,
    /// The generation of the home's session, or [`HomeRecord::GIVEN_UP`].
    pub(crate) generation: u64,
    /// The least term that the home may have. The record's revision may be greater, and is not
    /// known before it is written.
    pub(crate) least_term: u64,
    /// The numbering that the home goes on with. Empty when it begins one.
    pub(crate) epoch: String,
}

impl HomeRecord {
    /// The generation of no session. The record then only keeps the term: a record that was removed
    /// would let the next home, whose clock is late, begin in a lower term.
    pub(crate) const GIVEN_UP: u64 = 0;

    /// Returns the term of the home that wrote this with a revision.
    pub(crate) fn term(&self, revision: u64) -> u64 {
        self.least_term.max(revision)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        put_bytes(&mut out, self.node.as_str().as_bytes());
        put_number(&mut out, self.generation);
        put_number(&mut out, self.least_term);
        put_bytes(&mut out, self.epoch.as_bytes());
        out.into()
    }

    /// Reads a value. A later version may have more at its end.
    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(value);
        fields.byte()?;
        Ok(Self {
            node: NodeId::parse(fields.text()?).map_err(|_| Malformed)?,
            generation: fields.number()?,
            least_term: fields.number()?,
            epoch: epoch(&mut fields)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_with_or_without_more_at_their_end() {
        let session = SessionRecord {
            generation: 3,
            write: 700,
        };
        let home = HomeRecord {
            node: NodeId::new("web.1", 5).unwrap(),
            generation: 3,
            least_term: 1 << 40,
            epoch: "e".into(),
        };
        let longer = |value: Bytes| [&value[..], b"more"].concat();
        assert_eq!(
            SessionRecord::decode(&session.encode()),
            Ok(session.clone())
        );
        assert_eq!(
            SessionRecord::decode(&longer(session.encode())),
            Ok(session)
        );
        assert_eq!(HomeRecord::decode(&home.encode()), Ok(home.clone()));
        assert_eq!(HomeRecord::decode(&longer(home.encode())), Ok(home.clone()));
        assert_eq!((home.term(7), home.term(1 << 41)), (1 << 40, 1 << 41));
        assert_eq!(HomeRecord::decode(b"\x01\x05abc"), Err(Malformed));
    }
}
