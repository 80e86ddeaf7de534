//! The subjects and streams of a cluster.

use crate::backplane::cluster::broker::{Key, Topic};
use crate::backplane::cluster::names::{Prefix, Token};

/// The names of one prefix. All begin with it, but for those that NATS begins itself.
#[derive(Debug)]
pub(super) struct Names {
    prefix: Prefix,
}

/// A stream that keeps what the cluster needs kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    Sessions,
    Homes,
    Blocks,
}

impl Names {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix }
    }

    /// Returns the subject to publish to.
    ///
    /// Blocks have two: a stream takes all that is published to its subjects, and partial lines
    /// and the blocks of a cluster that stores none must not get into one.
    pub(super) fn subject(&self, topic: &Topic) -> String {
        let prefix = &self.prefix;
        match topic {
            Topic::Blocks(token) => format!("{prefix}.1.b.{token}.live"),
            Topic::Interest => format!("{prefix}.1.i"),
            Topic::Directory => format!("{prefix}.1.d"),
            Topic::Node(node) => format!("{prefix}.1.n.{node}"),
            Topic::Publishes(node) => format!("{prefix}.1.p.{node}"),
            Topic::Everyone => format!("{prefix}.1.a"),
        }
    }

    /// Returns the subject to subscribe to. One subscription has both subjects of a channel's
    /// blocks, because the messages of two have no common order.
    pub(super) fn subscribed(&self, topic: &Topic) -> String {
        match topic {
            Topic::Blocks(token) => format!("{}.1.b.{token}.*", self.prefix),
            other => self.subject(other),
        }
    }

    /// Returns the subject of the stored blocks of a channel.
    pub(super) fn stored(&self, token: &Token) -> String {
        format!("{}.1.b.{token}.stored", self.prefix)
    }

    /// Returns the subject of a record, and the stream that keeps it.
    pub(super) fn record(&self, key: &Key) -> (Store, String) {
        let prefix = &self.prefix;
        match key {
            Key::Session(node) => {
                let subject = format!("$KV.{prefix}_sessions.{node}");
                (Store::Sessions, subject)
            }
            Key::Home(token) => (Store::Homes, format!("$KV.{prefix}_homes.{token}")),
        }
    }

    /// Returns a subject that nobody subscribes to.
    pub(super) fn nobody(&self) -> String {
        format!("{}.1.nobody", self.prefix)
    }

    /// Returns the name of a stream. Those of records are key-value buckets for NATS's tools.
    pub(super) fn stream(&self, store: Store) -> String {
        let prefix = &self.prefix;
        match store {
            Store::Sessions => format!("KV_{prefix}_sessions"),
            Store::Homes => format!("KV_{prefix}_homes"),
            Store::Blocks => format!("{prefix}_blocks"),
        }
    }

    /// Returns the subjects that a stream keeps.
    pub(super) fn kept(&self, store: Store) -> String {
        let prefix = &self.prefix;
        match store {
            Store::Sessions => format!("$KV.{prefix}_sessions.>"),
            Store::Homes => format!("$KV.{prefix}_homes.>"),
            Store::Blocks => format!("{prefix}.1.b.*.stored"),
        }
    }
}
