//! The names of the Redis channels.

use crate::message::{ChannelName, NameError};

/// The names of the Redis channels of one prefix.
#[derive(Debug)]
pub(super) struct Names {
    broadcast: String,
    /// The name of a channel begins with this.
    channel: String,
    patterns: [String; 2],
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        let literal = escape_pattern(prefix);
        Self {
            broadcast: format!("{prefix}:broadcast"),
            channel: format!("{prefix}:channel:"),
            patterns: [
                format!("{literal}:broadcast"),
                format!("{literal}:channel:*"),
            ],
        }
    }

    /// Returns the patterns to subscribe to.
    pub(super) fn patterns(&self) -> &[String; 2] {
        &self.patterns
    }

    /// Returns the Redis channel of a channel, or with `None` that of messages to all clients.
    pub(super) fn redis_channel(&self, channel: Option<&ChannelName>) -> String {
        match channel {
            Some(name) => format!("{}{name}", self.channel),
            None => self.broadcast.clone(),
        }
    }

    /// Returns the channel of a Redis channel, and `None` for messages to all clients.
    ///
    /// # Errors
    /// Returns an error for a channel that is not valid.
    pub(super) fn channel(&self, redis_channel: &str) -> Result<Option<ChannelName>, NameError> {
        if redis_channel == self.broadcast {
            return Ok(None);
        }
        // A name without the prefix came from no subscription, and is not valid either.
        let name = redis_channel.strip_prefix(&self.channel).unwrap_or("");
        ChannelName::parse(name).map(Some)
    }
}

/// Escapes what has a meaning in the patterns of Redis.
fn escape_pattern(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '^' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_redis_channel_of_go_ws_and_back() {
        let names = Names::new("ws");
        let web = ChannelName::parse("process:web").unwrap();
        assert_eq!(names.redis_channel(Some(&web)), "ws:channel:process:web");
        assert_eq!(names.redis_channel(None), "ws:broadcast");
        assert_eq!(names.channel("ws:channel:process:web"), Ok(Some(web)));
        assert_eq!(names.channel("ws:broadcast"), Ok(None));
        for invalid in [
            "ws:channel:",
            "ws:channel:a b",
            "ws:channel:process:a:b",
            "x",
        ] {
            assert!(names.channel(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_prefix_matches_itself_alone() {
        let names = Names::new(r"a*[b]?\^");
        assert_eq!(names.patterns()[0], r"a\*\[b\]\?\\\^:broadcast");
        assert_eq!(names.redis_channel(None), r"a*[b]?\^:broadcast");
    }
}
