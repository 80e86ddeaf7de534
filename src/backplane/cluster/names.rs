//! Names of channels and nodes as the broker takes them, and the prefix of a cluster.
//!
//! A name becomes one token: the part of a NATS subject between two dots, or of a Redis channel
//! between two colons. KV keys of NATS refuse colons, and a subject with an empty part is accepted
//! and reaches no subscriber. So every byte but `A-Z a-z 0-9 _ -` is escaped as `=` and two
//! uppercase hexadecimal digits.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use crate::message::ChannelName;

/// The maximum length of a token in bytes: a channel name of 256 bytes that are all escaped.
pub(crate) const MAX_TOKEN_BYTES: usize = 768;
/// The maximum length of a node's name in bytes.
pub(crate) const MAX_NODE_NAME_BYTES: usize = 64;
/// The maximum length of a prefix in bytes.
pub(crate) const MAX_PREFIX_BYTES: usize = 64;
/// The hexadecimal digits of an incarnation.
const INCARNATION_DIGITS: usize = 16;

/// The error for a text that is not a name of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClusterNameError {
    /// The text is empty.
    #[error("a name in a cluster is not empty")]
    Empty,
    /// The text is longer than `max_bytes`, escapes included.
    #[error("a name in a cluster has at most {max_bytes} bytes")]
    TooLong {
        /// The bound.
        max_bytes: usize,
    },
    /// The text contains a byte that is not allowed, or an escape that is not valid.
    #[error("a name in a cluster consists of A-Z a-z 0-9 _ - and, for a node, dots")]
    Invalid,
}

/// A name that is escaped into one token. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Token(Arc<str>);

impl Token {
    /// Escapes the name of a channel.
    pub(crate) fn of_channel(channel: &ChannelName) -> Self {
        Self::escape(channel.as_str().as_bytes())
            .expect("a channel name has 1 to 256 bytes, which is a third of a token's")
    }

    /// Escapes any bytes.
    ///
    /// # Errors
    /// When there are no bytes, or the token would be longer than 768 bytes.
    pub(crate) fn escape(name: &[u8]) -> Result<Self, ClusterNameError> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        if name.len() > MAX_TOKEN_BYTES {
            return Err(too_long(MAX_TOKEN_BYTES));
        }
        let mut text = String::with_capacity(name.len() + 8);
        for &byte in name {
            if is_plain(byte) {
                text.push(char::from(byte));
            } else {
                text.push('=');
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
        bounded(&text, MAX_TOKEN_BYTES)?;
        Ok(Self(text.into()))
    }

    /// Takes a text that was escaped already, such as a part of a subject.
    ///
    /// # Errors
    /// When [`Token::escape`] returns this text for no name.
    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self, ClusterNameError> {
        bounded(text, MAX_TOKEN_BYTES)?;
        unescape(text).ok_or(ClusterNameError::Invalid)?;
        Ok(Self(text.into()))
    }

    /// Returns the name before it was escaped.
    pub(crate) fn unescaped(&self) -> Vec<u8> {
        unescape(&self.0).expect("a token holds valid escapes alone")
    }

    /// Returns the channel whose name this is. `None` when it is not the name of a channel.
    pub(crate) fn channel(&self) -> Option<ChannelName> {
        ChannelName::parse(&String::from_utf8(self.unescaped()).ok()?).ok()
    }

    /// Returns the escaped text.
    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One run of one node: the name that its user gave it, and a random incarnation.
///
/// A node that is started again is another node, so what was meant for the earlier one never
/// reaches it. The text is a valid [`Token`]. Clones share it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(Arc<str>);

impl NodeId {
    /// Creates the id of a node that starts now.
    ///
    /// # Errors
    /// When the name is not 1 to 64 bytes of `[A-Za-z0-9_.-]`.
    pub(crate) fn start(name: &str) -> Result<Self, ClusterNameError> {
        Self::new(name, RandomState::new().hash_one(SystemTime::now()))
    }

    /// Creates the id of a node with a known incarnation.
    ///
    /// # Errors
    /// When the name is not 1 to 64 bytes of `[A-Za-z0-9_.-]`.
    pub(crate) fn new(name: &str, incarnation: u64) -> Result<Self, ClusterNameError> {
        bounded(name, MAX_NODE_NAME_BYTES)?;
        if !name.bytes().all(|byte| is_plain(byte) || byte == b'.') {
            return Err(ClusterNameError::Invalid);
        }
        let name = Token::escape(name.as_bytes())?;
        Ok(Self(format!("{}-{incarnation:016x}", name.0).into()))
    }

    /// Takes the text of an id.
    ///
    /// # Errors
    /// When [`NodeId::new`] creates no id with this text.
    pub(crate) fn parse(text: &str) -> Result<Self, ClusterNameError> {
        let (name, incarnation) = text.rsplit_once('-').ok_or(ClusterNameError::Invalid)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if incarnation.len() != INCARNATION_DIGITS || !incarnation.bytes().all(is_digit) {
            return Err(ClusterNameError::Invalid);
        }
        bounded(name, MAX_TOKEN_BYTES)?;
        let name = unescape(name)
            .and_then(|name| String::from_utf8(name).ok())
            .ok_or(ClusterNameError::Invalid)?;
        let incarnation =
            u64::from_str_radix(incarnation, 16).map_err(|_| ClusterNameError::Invalid)?;
        Self::new(&name, incarnation)
    }

    /// Returns the name that the user gave the node.
    pub(crate) fn name(&self) -> String {
        let escaped = self.0.rsplit_once('-').map_or(&*self.0, |(name, _)| name);
        let name = unescape(escaped).and_then(|name| String::from_utf8(name).ok());
        name.expect("an id begins with an escaped name of ASCII characters")
    }

    /// Returns the id as one token.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The prefix of everything that a cluster keeps at the broker: 1 to 64 bytes of `[A-Za-z0-9_-]`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Prefix(Arc<str>);

impl Prefix {
    /// Validates a prefix.
    ///
    /// # Errors
    /// For a text of another length or with another byte.
    pub(crate) fn parse(text: &str) -> Result<Self, ClusterNameError> {
        bounded(text, MAX_PREFIX_BYTES)?;
        if !text.bytes().all(is_plain) {
            return Err(ClusterNameError::Invalid);
        }
        Ok(Self(text.into()))
    }

    /// Returns the prefix as text.
    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("outrace".into())
    }
}

macro_rules! shown_as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

shown_as_text!(Token);
shown_as_text!(NodeId);
shown_as_text!(Prefix);

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn bounded(text: &str, max_bytes: usize) -> Result<(), ClusterNameError> {
    if text.is_empty() {
        Err(ClusterNameError::Empty)
    } else if text.len() > max_bytes {
        Err(too_long(max_bytes))
    } else {
        Ok(())
    }
}

fn too_long(max_bytes: usize) -> ClusterNameError {
    ClusterNameError::TooLong { max_bytes }
}

/// Returns `None` for a text that no name escapes to: each name has one token.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if is_plain(byte) {
            name.push(byte);
            continue;
        }
        let escaped = match (byte, bytes.next(), bytes.next()) {
            (b'=', Some(high), Some(low)) => digit(high)? << 4 | digit(low)?,
            _ => return None,
        };
        if is_plain(escaped) {
            return None;
        }
        name.push(escaped);
    }
    Some(name)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_channel_becomes_the_token_that_the_scheme_says() {
        let token = |name: &str| Token::of_channel(&ChannelName::parse(name).unwrap()).to_string();
        assert_eq!(token("process:web-1"), "process=3Aweb-1");
        assert_eq!(token("a..B"), "a=2E=2EB");
        assert_eq!(token(&":".repeat(256)).len(), MAX_TOKEN_BYTES);
        assert_eq!(
            Token::escape(b"a=b *>\n\xff").unwrap().as_str(),
            "a=3Db=20=2A=3E=0A=FF"
        );
    }

    #[test]
    fn what_is_empty_or_too_long_is_refused() {
        assert_eq!(Token::escape(b""), Err(ClusterNameError::Empty));
        assert_eq!(Token::parse(""), Err(ClusterNameError::Empty));
        let bound = ClusterNameError::TooLong { max_bytes: 768 };
        assert_eq!(Token::escape(&[b'.'; 257]), Err(bound));
        assert_eq!(Token::escape(&[b'a'; 769]), Err(bound));
        assert!(Token::escape(&[b'a'; 768]).is_ok());
        for text in ["a.b", "a=", "a=2", "a=2e", "a=41", "=zz", "é"] {
            assert_eq!(Token::parse(text), Err(ClusterNameError::Invalid), "{text}");
        }
    }

    #[test]
    fn a_node_that_starts_again_has_another_id_with_the_same_name() {
        let first = NodeId::start("web.eu-1").unwrap();
        let again = NodeId::start("web.eu-1").unwrap();
        assert_ne!(first, again);
        assert_eq!(
            (first.name(), again.name()),
            ("web.eu-1".into(), "web.eu-1".into())
        );
        for name in ["", "a b", "a:b", "é", &"x".repeat(65)] {
            assert!(NodeId::new(name, 0).is_err(), "{name}");
        }
        for text in [
            "a",
            "a-0",
            "-0123456789abcdef",
            "a-0123456789ABCDEF",
            "a.b-0123456789abcdef",
        ] {
            assert!(NodeId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_one_token_without_escapes() {
        assert_eq!(Prefix::default().as_str(), "outrace");
        assert!(Prefix::parse("staging_2-a").is_ok());
        for text in ["", "a.b", "a:b", "a*", "a=", &"x".repeat(65)] {
            assert!(Prefix::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_one_token_for_both_brokers_and_reads_back(
            name in prop::collection::vec(any::<u8>(), 1..256),
        ) {
            let token = Token::escape(&name).unwrap();
            prop_assert!((1..=MAX_TOKEN_BYTES).contains(&token.as_str().len()));
            prop_assert!(token.as_str().bytes().all(|byte| is_plain(byte) || byte == b'='));
            prop_assert_eq!(token.unescaped(), name);
            prop_assert_eq!(Token::parse(token.as_str()), Ok(token));
        }

        #[test]
        fn a_channel_and_its_token_are_one_to_one(
            one in "[a-zA-Z:._-]{1,6}", other in "[a-zA-Z:._-]{1,6}",
        ) {
            if let (Ok(one), Ok(other)) = (ChannelName::parse(&one), ChannelName::parse(&other)) {
                let (first, second) = (Token::of_channel(&one), Token::of_channel(&other));
                prop_assert_eq!(first == second, one == other);
                prop_assert_eq!(first.channel(), Some(one));
            }
        }

        #[test]
        fn only_a_token_parses_as_one(text in "[aF0=23.]{0,8}") {
            if let Ok(token) = Token::parse(&text) {
                prop_assert_eq!(Token::escape(&token.unescaped()), Ok(token));
            }
        }

        #[test]
        fn the_id_of_a_node_is_a_token_and_reads_back(
            name in "[A-Za-z0-9_.-]{1,64}", incarnation: u64,
        ) {
            let node = NodeId::new(&name, incarnation).unwrap();
            prop_assert_eq!(node.name(), name);
            prop_assert!(Token::parse(node.as_str()).is_ok());
            prop_assert_eq!(NodeId::parse(node.as_str()), Ok(node));
        }
    }
}
