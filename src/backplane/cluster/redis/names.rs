//! The channels and keys of a cluster in Redis.

use crate::backplane::cluster::broker::{Key, Topic};
use crate::backplane::cluster::names::{Prefix, Token};

/// The names of one prefix. All begin with it.
#[derive(Debug)]
pub(super) struct Names {
    prefix: Prefix,
}

impl Names {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix }
    }

    /// Returns the Redis channel of a topic.
    pub(super) fn channel(&self, topic: &Topic) -> String {
        let prefix = &self.prefix;
        match topic {
            Topic::Blocks(token) => self.blocks(token),
            Topic::Interest => format!("{prefix}:1:i"),
            Topic::Directory => format!("{prefix}:1:d"),
            Topic::Node(node) => format!("{prefix}:1:n:{node}"),
            Topic::Publishes(node) => format!("{prefix}:1:p:{node}"),
            Topic::Everyone => format!("{prefix}:1:a"),
        }
    }

    /// Returns the Redis channel of a channel's blocks.
    pub(super) fn blocks(&self, token: &Token) -> String {
        format!("{}:1:b:{token}", self.prefix)
    }

    /// Returns the key of a record. The braces are a hash tag: a Redis cluster keeps all records on
    /// one node, together with the counter of their revisions.
    pub(super) fn record(&self, key: &Key) -> String {
        let prefix = &self.prefix;
        match key {
            Key::Session(node) => format!("{prefix}:1:{{leases}}:s:{node}"),
            Key::Home(token) => format!("{prefix}:1:{{leases}}:h:{token}"),
        }
    }

    /// Returns the key of the last revision that a record got.
    pub(super) fn revision(&self) -> String {
        format!("{}:1:{{leases}}:revision", self.prefix)
    }

    /// Returns the key of the stored blocks of a channel.
    pub(super) fn stored(&self, token: &Token) -> String {
        format!("{}:1:stored:{{{token}}}", self.prefix)
    }
}
