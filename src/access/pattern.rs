//! Patterns of channel names, and grants made of them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::message::ChannelName;

/// The maximum length of a pattern: that of a channel name.
const MAX_BYTES: usize = 256;

/// The word that grants messages to all clients, in a list of publish patterns. It is not a valid
/// channel name.
const EVERYONE: &str = "@everyone";

/// A pattern of channel names: 1 to 256 bytes of `[A-Za-z0-9_.:-]` and `*`.
///
/// A `*` matches any number of characters, including none. Any other character matches itself. The
/// pattern `*` matches every channel.
///
/// ```
/// use outrace::access::Pattern;
///
/// let web: Pattern = "process:web-*".parse()?;
/// assert!(web.matches("process:web-1") && !web.matches("process:db-1"));
/// # Ok::<(), outrace::access::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

/// The error for a text that is not a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a channel pattern; a pattern is 1 to 256 of A-Z a-z 0-9 _ . : - and *")]
pub struct PatternError(String);

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let is_part = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-' | b'*')
        };
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(is_part) {
            return Err(PatternError(text.chars().take(MAX_BYTES).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl Pattern {
    /// Whether the pattern matches the name. The worst-case time is the product of both lengths.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // The position of the last star, and the end of the characters that it matches so far.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            if pattern.get(p) == Some(&b'*') {
                star = Some((p, n));
                p += 1;
            } else if pattern.get(p) == Some(&name[n]) {
                p += 1;
                n += 1;
            } else if let Some((at, taken)) = star {
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|&byte| byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The target of a publication, or the process to control. The argument of
/// [`Grants::may_publish`] and of the hub's publish callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishTarget<'a> {
    /// The subscribers of a channel.
    Channel(&'a ChannelName),
    /// Every client, subscribed or not.
    Everyone,
    /// The process with this channel, to be started, stopped or restarted. Nothing is published.
    Process(&'a ChannelName),
}

/// The channels that a user may subscribe and publish to, and the processes that they may control.
///
/// By default a user may subscribe to every channel, publish to none, and control no process.
///
/// ```
/// use outrace::access::Grants;
///
/// let grants = Grants::default()
///     .subscribe(["process:*"])?
///     .publish(["process:ci-*", "@everyone"])?;
/// assert!(grants.may_subscribe(&outrace::ChannelName::parse("process:web")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// `None` grants all channels.
    subscribe: Option<Arc<[Pattern]>>,
    publish: Arc<[Pattern]>,
    everyone: bool,
    control: Arc<[Pattern]>,
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            subscribe: None,
            publish: Arc::new([]),
            everyone: false,
            control: Arc::new([]),
        }
    }
}

impl Grants {
    /// Sets the channels to subscribe to. An empty list grants none.
    ///
    /// # Errors
    /// Returns a [`PatternError`] for the first text that is not a pattern.
    pub fn subscribe<S: AsRef<str>>(
        mut self,
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, PatternError> {
        self.subscribe = Some(
            patterns
                .into_iter()
                .map(|pattern| pattern.as_ref().parse())
                .collect::<Result<_, _>>()?,
        );
        Ok(self)
    }

    /// Sets the channels to publish to. The word `@everyone` grants messages to all clients, which
    /// no pattern does.
    ///
    /// # Errors
    /// Returns a [`PatternError`] for the first text that is neither a pattern nor `@everyone`.
    pub fn publish<S: AsRef<str>>(
        mut self,
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, PatternError> {
        self.everyone = false;
        let mut publish = Vec::new();
        for pattern in patterns {
            match pattern.as_ref() {
                EVERYONE => self.everyone = true,
                pattern => publish.push(pattern.parse()?),
            }
        }
        self.publish = publish.into();
        Ok(self)
    }

    /// Sets the channels whose processes may be started, stopped and restarted.
    ///
    /// # Errors
    /// Returns a [`PatternError`] for the first text that is not a pattern.
    pub fn control<S: AsRef<str>>(
        mut self,
        patterns: impl IntoIterator<Item = S>,
    ) -> Result<Self, PatternError> {
        self.control = patterns
            .into_iter()
            .map(|pattern| pattern.as_ref().parse())
            .collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Whether the user may subscribe to the channel.
    pub fn may_subscribe(&self, channel: &ChannelName) -> bool {
        self.subscribe
            .as_ref()
            .is_none_or(|patterns| any(patterns, channel))
    }

    /// Whether the user may publish to the target, or control its process.
    pub fn may_publish(&self, target: PublishTarget<'_>) -> bool {
        match target {
            PublishTarget::Channel(channel) => any(&self.publish, channel),
            PublishTarget::Everyone => self.everyone,
            PublishTarget::Process(channel) => any(&self.control, channel),
        }
    }
}

fn any(patterns: &[Pattern], channel: &ChannelName) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern.matches(channel.as_str()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of a match, in exponential time.
    fn model(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                model(rest, name) || (!name.is_empty() && model(pattern, &name[1..]))
            }
            ([a, pattern @ ..], [b, name @ ..]) => a == b && model(pattern, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_what_their_definition_says(
            pattern in "[ab*]{1,10}",
            name in "[ab]{0,12}",
        ) {
            let parsed: Pattern = pattern.parse().unwrap();
            prop_assert_eq!(parsed.matches(&name), model(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn a_pattern_without_a_star_is_a_name(
            name in "[A-Za-z0-9_.:-]{1,256}",
            other in "[a-c]{1,3}",
        ) {
            let pattern: Pattern = name.parse().unwrap();
            prop_assert!(pattern.matches(&name));
            prop_assert_eq!(pattern.matches(&other), name == other);
        }

        #[test]
        fn what_is_no_pattern_is_refused(text in "\\PC*") {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:-*".contains(c);
            let expected = !text.is_empty() && text.len() <= 256 && text.chars().all(allowed);
            prop_assert_eq!(text.parse::<Pattern>().is_ok(), expected);
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_the_product_of_the_lengths() {
        let pattern: Pattern = "*a".repeat(128).parse().unwrap();
        assert!(
            !pattern.matches(&format!("{}b", "a".repeat(255))),
            "the match ends in time"
        );
    }

    #[test]
    fn all_clients_are_no_channel_that_a_pattern_covers() {
        let all = Grants::default().publish(["*"]).unwrap();
        let channel = ChannelName::parse("everyone").unwrap();
        assert!(all.may_publish(PublishTarget::Channel(&channel)));
        assert!(!all.may_publish(PublishTarget::Everyone));
        let process = ChannelName::parse("process:web").unwrap();
        assert!(
            !all.may_publish(PublishTarget::Process(&process)),
            "publishing does not include control"
        );
        let control = Grants::default().control(["process:w*"]).unwrap();
        assert!(control.may_publish(PublishTarget::Process(&process)));
        assert!(!control.may_publish(PublishTarget::Channel(&process)));
        let everyone = Grants::default().publish(["@everyone"]).unwrap();
        assert!(everyone.may_publish(PublishTarget::Everyone));
        assert!(!everyone.may_publish(PublishTarget::Channel(&channel)));
    }

    #[test]
    fn nothing_said_is_to_subscribe_to_all_and_to_publish_to_none() {
        let channel = ChannelName::parse("a").unwrap();
        let grants = Grants::default();
        assert!(
            grants.may_subscribe(&channel) && !grants.may_publish(PublishTarget::Channel(&channel))
        );
        let none: [&str; 0] = [];
        assert!(!grants.subscribe(none).unwrap().may_subscribe(&channel));
    }
}
