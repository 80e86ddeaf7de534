//! The names of channels and processes, and the rules for them.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The prefix of the names of process channels.
const PROCESS_PREFIX: &str = "process:";
const MAX_CHANNEL_BYTES: usize = 256;
const MAX_PROCESS_BYTES: usize = 128;
/// The maximum number of characters of an invalid name that an error shows, so that a hostile name
/// cannot fill a log.
const MAX_SHOWN_CHARS: usize = 64;

/// The name of a channel: 1 to 256 bytes of `[A-Za-z0-9_.:-]`.
///
/// In a name that begins with `process:`, a valid [`ProcessId`] follows. Clones share the text.
///
/// ```
/// use outrace::{ChannelName, ProcessId};
/// let channel = ChannelName::parse("process:web-1")?;
/// assert_eq!(channel.process_id(), Some("web-1"));
/// assert_eq!(ChannelName::process(&ProcessId::parse("web-1")?), channel);
/// assert!(ChannelName::parse("no spaces").is_err());
/// # Ok::<(), outrace::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

/// The id of a process: 1 to 128 bytes of `[A-Za-z0-9_.-]`. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(Arc<str>);

/// The error for a text that is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is not a channel name.
    #[error("{0:?} is not a channel name: 1 to 256 bytes of A-Z a-z 0-9 _ . : -")]
    Channel(String),
    /// The text, or the part of a channel name after `process:`, is not a process id.
    #[error("{0:?} is not a process id: 1 to 128 bytes of A-Z a-z 0-9 _ . -")]
    Process(String),
}

impl ChannelName {
    /// Validates a channel name.
    ///
    /// # Errors
    /// Returns [`NameError::Channel`] for a text of another length or with another byte. Returns
    /// [`NameError::Process`] if the name begins with `process:` and the rest is not a process id.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        if !within(name, MAX_CHANNEL_BYTES, |byte| {
            is_process_byte(byte) || byte == b':'
        }) {
            return Err(NameError::Channel(shown(name)));
        }
        match name.strip_prefix(PROCESS_PREFIX) {
            Some(id) if !is_process_id(id) => Err(NameError::Process(shown(id))),
            _ => Ok(Self(name.into())),
        }
    }

    /// Returns the name of a process's channel: `process:` and the id.
    pub fn process(id: &ProcessId) -> Self {
        Self([PROCESS_PREFIX, id.as_str()].concat().into())
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id of the process that the channel belongs to. `None` for any other channel.
    pub fn process_id(&self) -> Option<&str> {
        self.0.strip_prefix(PROCESS_PREFIX)
    }
}

/// The name of a process's channel, on the stack. A lookup by process id allocates nothing.
pub(crate) struct ProcessChannelName {
    bytes: [u8; PROCESS_PREFIX.len() + MAX_PROCESS_BYTES],
    len: usize,
}

impl ProcessChannelName {
    /// Joins `process:` and an id, which is not checked. Returns `None` for an id that is too long.
    pub(crate) fn new(process_id: &str) -> Option<Self> {
        let len = PROCESS_PREFIX.len() + process_id.len();
        let mut bytes = [0; PROCESS_PREFIX.len() + MAX_PROCESS_BYTES];
        let (prefix, id) = bytes.get_mut(..len)?.split_at_mut(PROCESS_PREFIX.len());
        prefix.copy_from_slice(PROCESS_PREFIX.as_bytes());
        id.copy_from_slice(process_id.as_bytes());
        Some(Self { bytes, len })
    }

    /// Returns the name as text.
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).expect("two texts in sequence are UTF-8")
    }
}

impl ProcessId {
    /// Validates a process id.
    ///
    /// # Errors
    /// Returns [`NameError::Process`] for an invalid id.
    pub fn parse(id: &str) -> Result<Self, NameError> {
        if is_process_id(id) {
            Ok(Self(id.into()))
        } else {
            Err(NameError::Process(shown(id)))
        }
    }

    /// Derives an id from a command: the program's base name, cut to 128 characters.
    ///
    /// Characters that an id cannot contain become `-`. An empty base name becomes `process`.
    ///
    /// ```
    /// use outrace::ProcessId;
    /// assert_eq!(ProcessId::from_command("/usr/bin/my tool".as_ref()).as_str(), "my-tool");
    /// ```
    pub fn from_command(program: &OsStr) -> Self {
        let base = Path::new(program).file_name().unwrap_or_default();
        Self::lossy(&base.to_string_lossy())
    }

    /// Makes an id of any text, cut to 128 characters.
    ///
    /// Characters that an id cannot contain become `-`. An empty text becomes `process`. Different
    /// texts may thus have the same id.
    ///
    /// ```
    /// use outrace::ProcessId;
    /// assert_eq!(ProcessId::lossy("web/1").as_str(), "web-1");
    /// assert_eq!(ProcessId::lossy("user@host").as_str(), "user-host");
    /// ```
    pub fn lossy(text: &str) -> Self {
        let id: String = text
            .chars()
            .take(MAX_PROCESS_BYTES)
            .map(|c| {
                if c.is_ascii() && is_process_byte(c as u8) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        Self(if id.is_empty() {
            "process".into()
        } else {
            id.into()
        })
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_process_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

fn is_process_id(id: &str) -> bool {
    within(id, MAX_PROCESS_BYTES, is_process_byte)
}

fn within(name: &str, max_bytes: usize, allowed: impl Fn(u8) -> bool) -> bool {
    (1..=max_bytes).contains(&name.len()) && name.bytes().all(allowed)
}

/// Returns the part of an invalid name that an error shows.
fn shown(name: &str) -> String {
    let mut chars = name.chars();
    let mut shown: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

macro_rules! name_traits {
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
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        // `Hash` and `Eq` are derived from the same `str`, as `Borrow` requires.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
        impl TryFrom<&str> for $name {
            type Error = NameError;
            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name_traits!(ChannelName);
name_traits!(ProcessId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn channel_names_keep_to_the_alphabet_and_the_length() {
        for good in [
            "a",
            "process:web-1",
            "a:b:c",
            ":",
            "process",
            "Process:a:b",
            &"x".repeat(256),
        ] {
            assert_eq!(
                ChannelName::parse(good).map(|name| name.as_str().to_owned()),
                Ok(good.to_owned())
            );
        }
        for bad in ["", " ", "a b", "é", "a/b", "a\n", &"x".repeat(257)] {
            assert!(
                matches!(ChannelName::parse(bad), Err(NameError::Channel(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_process_channel_needs_a_process_id() {
        for bad in [
            "process:",
            "process:a:b",
            &format!("process:{}", "x".repeat(129)),
        ] {
            assert!(
                matches!(ChannelName::parse(bad), Err(NameError::Process(_))),
                "{bad:?}"
            );
        }
        // These are no channel names in the first place.
        for bad in ["process:a b", "process:é", &"process:x".repeat(50)] {
            assert!(
                matches!(ChannelName::parse(bad), Err(NameError::Channel(_))),
                "{bad:?}"
            );
        }
        assert!(ChannelName::parse(&format!("process:{}", "x".repeat(128))).is_ok());
        assert_eq!(ChannelName::parse("processes").unwrap().process_id(), None);
    }

    #[test]
    fn an_error_shows_the_rule_and_no_more_than_a_piece_of_the_name() {
        let text = ChannelName::parse(&"é".repeat(5000))
            .unwrap_err()
            .to_string();
        assert!(text.contains("1 to 256 bytes"), "{text}");
        assert!(text.len() < 300, "{}", text.len());
    }

    #[test]
    fn a_command_without_a_usable_base_name_still_has_an_id() {
        for command in ["", "/", ".."] {
            assert_eq!(
                ProcessId::from_command(command.as_ref()).as_str(),
                "process"
            );
        }
        assert_eq!(
            ProcessId::from_command("./ümlaut".as_ref()).as_str(),
            "-mlaut"
        );
    }

    #[test]
    fn the_name_on_the_stack_is_that_of_the_channel() {
        for id in ["w", "web-1", &"x".repeat(128)] {
            let channel = ChannelName::process(&ProcessId::parse(id).unwrap());
            let name = ProcessChannelName::new(id).unwrap();
            assert_eq!(name.as_str(), channel.as_str());
        }
        assert!(ProcessChannelName::new(&"x".repeat(129)).is_none());
        assert_eq!(ProcessChannelName::new("").unwrap().as_str(), "process:");
    }

    proptest! {
        #[test]
        fn every_command_makes_a_valid_id(command in ".{0,300}") {
            let lossy = ProcessId::lossy(&command);
            prop_assert_eq!(ProcessId::parse(lossy.as_str()), Ok(lossy));
            let id = ProcessId::from_command(command.as_ref());
            prop_assert_eq!(ProcessId::parse(id.as_str()), Ok(id.clone()));
            let channel = ChannelName::process(&id);
            prop_assert_eq!(ChannelName::parse(channel.as_str()), Ok(channel.clone()));
        }

        #[test]
        fn a_channel_is_taken_exactly_when_the_rule_says_so(
            name in "(process:)?[a-c:_. é-]{0,12}",
        ) {
            let letters = |text: &str, colon: bool| {
                let is_letter = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                !text.is_empty() && text.chars().all(|c| is_letter(c) || (colon && c == ':'))
            };
            let expected = match name.strip_prefix("process:") {
                Some(id) => letters(id, false),
                None => letters(&name, true),
            };
            prop_assert_eq!(ChannelName::parse(&name).is_ok(), expected);
        }
    }
}
