//! Messages that were published here to channels whose home is another node.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::broker::Topic;
use super::message::{Asker, ClusterMessage, Forwarded, PublishRefusal};
use super::names::NodeId;
use super::wire::Wire;
use crate::backplane::LocalRuns;
use crate::message::ChannelName;

/// The most bytes of one channel that are sent and not acknowledged.
const MAX_SENT_BYTES: usize = 1024 * 1024;
/// The bytes of messages that are taken at once.
pub(super) const TAKEN_BYTES: usize = 128 * 1024;
/// How long an acknowledgement is waited for before all is sent again.
const ACCEPTED_TIMEOUT: Duration = Duration::from_secs(2);
/// How often all is sent again before another home is looked for.
const MAX_ATTEMPTS: u32 = 2;
/// How long a channel without room is left alone.
const FULL_PAUSE: Duration = Duration::from_millis(200);
/// How long a run that was missed may still be on its way.
const ORDER_PAUSE: Duration = Duration::from_millis(50);

/// The channels with messages on their way to their home.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    channels: HashMap<ChannelName, Forwards>,
}

/// The messages of one channel that are on their way to its home.
#[derive(Debug)]
struct Forwards {
    home: Option<NodeId>,
    /// The number of the next run. It never begins anew, so that no home takes a run twice.
    next_run: u64,
    sent: VecDeque<Sent>,
    sent_bytes: usize,
    /// Whether messages are being taken from the engine.
    is_taking: bool,
    /// Whether the engine may have more.
    has_more: bool,
    /// When all is sent again.
    due: Instant,
    /// How often all was sent again without an acknowledgement.
    attempts: u32,
    /// Since when no home is known.
    homeless_since: Instant,
}

/// A run that is not acknowledged.
#[derive(Debug)]
struct Sent {
    run: u64,
    /// The messages. They are encoded for each sending: the oldest unacknowledged run, which every
    /// message names, changes.
    runs: crate::backplane::Runs,
    bytes: usize,
    /// What the engine gave, with the last of the runs that were made of it.
    local: Option<LocalRuns>,
}

/// What the owner has to do for a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forward {
    /// Take messages from the engine, then call [`Forwarding::taken`].
    Take,
    /// Find out who is home.
    FindHome,
    Nothing,
}

impl Forwarding {
    /// Takes notice that the engine has messages of a channel whose home is not here.
    pub(super) fn pending(&mut self, channel: &ChannelName) -> Forward {
        let forwards = self
            .channels
            .entry(channel.clone())
            .or_insert_with(|| Forwards {
                home: None,
                next_run: 1,
                sent: VecDeque::new(),
                sent_bytes: 0,
                is_taking: false,
                has_more: false,
                due: Instant::now(),
                attempts: 0,
                homeless_since: Instant::now(),
            });
        forwards.has_more = true;
        forwards.take()
    }

    /// Takes notice of the home of a channel. Sends it what an earlier one did not acknowledge.
    pub(super) fn set_home(
        &mut self,
        channel: &ChannelName,
        home: &NodeId,
        wire: &Wire,
    ) -> Forward {
        let Some(forwards) = self.channels.get_mut(channel) else {
            return Forward::Nothing;
        };
        if forwards.home.as_ref() != Some(home) {
            forwards.home = Some(home.clone());
            forwards.attempts = 0;
            forwards.send_all(channel, wire);
        }
        forwards.take()
    }

    /// Sends messages that the engine gave, `None` if it had none.
    pub(super) fn taken(
        &mut self,
        channel: &ChannelName,
        local: Option<LocalRuns>,
        wire: &Wire,
    ) -> Forward {
        let Some(forwards) = self.channels.get_mut(channel) else {
            return Forward::Nothing;
        };
        forwards.is_taking = false;
        let Some(local) = local else {
            forwards.has_more = false;
            return Forward::Nothing;
        };
        let begins = forwards.sent.len();
        let mut parts = Forwarded::split(local.parts());
        let mut local = Some(local);
        while !parts.is_empty() {
            let runs = parts.remove(0);
            let bytes = runs.bytes();
            forwards.sent.push_back(Sent {
                run: forwards.next_run,
                runs,
                bytes,
                local: if parts.is_empty() { local.take() } else { None },
            });
            forwards.next_run += 1;
            forwards.sent_bytes += bytes;
        }
        if begins == 0 {
            forwards.due = Instant::now() + ACCEPTED_TIMEOUT;
        }
        forwards.send_from(begins, channel, wire);
        forwards.take()
    }

    /// Takes notice that the home has accepted the runs up to this one.
    pub(super) fn accepted(
        &mut self,
        channel: &ChannelName,
        from: &NodeId,
        run: u64,
        wire: &Wire,
    ) -> Forward {
        let Some(forwards) = self.channels.get_mut(channel) else {
            return Forward::Nothing;
        };
        if forwards.home.as_ref() != Some(from) {
            return Forward::Nothing;
        }
        while forwards.sent.front().is_some_and(|sent| sent.run <= run)
            && let Some(sent) = forwards.sent.pop_front()
        {
            forwards.sent_bytes -= sent.bytes;
            wire.counters.forwarded.add(sent.runs.messages() as u64);
        }
        forwards.due = Instant::now() + ACCEPTED_TIMEOUT;
        forwards.attempts = 0;
        forwards.take()
    }

    /// Takes notice that the home refused a run. It is sent again later.
    pub(super) fn refused(&mut self, channel: &ChannelName, from: &NodeId, reason: PublishRefusal) {
        if let Some(forwards) = self.channels.get_mut(channel)
            && forwards.home.as_ref() == Some(from)
        {
            // It is there.
            forwards.attempts = 0;
            let pause = match reason {
                PublishRefusal::OutOfOrder => ORDER_PAUSE,
                _ => FULL_PAUSE,
            };
            forwards.due = forwards.due.min(Instant::now() + pause);
        }
    }

    /// Takes notice that a node is not the home of a channel.
    pub(super) fn not_home(&mut self, channel: &ChannelName, node: &NodeId) -> Forward {
        match self.channels.get_mut(channel) {
            Some(forwards) if forwards.home.as_ref() == Some(node) => {
                forwards.lose_home();
                Forward::FindHome
            }
            _ => Forward::Nothing,
        }
    }

    /// Takes notice that a node is gone. Returns its channels, each with whether it has messages
    /// here and so needs another home.
    pub(super) fn node_gone(&mut self, node: &NodeId) -> Vec<(ChannelName, bool)> {
        let mut homeless = Vec::new();
        for (channel, forwards) in &mut self.channels {
            if forwards.home.as_ref() == Some(node) {
                forwards.lose_home();
                homeless.push((channel.clone(), forwards.has_messages()));
            }
        }
        homeless
    }

    /// Returns the channels with messages and without a home, and since when that is so.
    pub(super) fn homeless(&self) -> Vec<(ChannelName, Instant)> {
        let homeless = self
            .channels
            .iter()
            .filter(|(_, forwards)| forwards.home.is_none() && forwards.has_messages());
        homeless
            .map(|(channel, forwards)| (channel.clone(), forwards.homeless_since))
            .collect()
    }

    /// Returns whether messages of a channel are on their way.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        self.channels.contains_key(channel)
    }

    /// Returns whether messages of a channel are being taken from the engine.
    pub(super) fn is_taking(&self, channel: &ChannelName) -> bool {
        let forwards = self.channels.get(channel);
        forwards.is_some_and(|forwards| forwards.is_taking)
    }

    /// Ends the forwarding of a channel, whose home is here now. Returns what was not acknowledged,
    /// the oldest first.
    pub(super) fn end(&mut self, channel: &ChannelName) -> Vec<LocalRuns> {
        let forwards = self.channels.remove(channel);
        let sent = forwards.into_iter().flat_map(|forwards| forwards.sent);
        sent.filter_map(|sent| sent.local).collect()
    }

    /// Sends again what was not acknowledged in time. Returns the channels whose home does not
    /// acknowledge anything.
    pub(super) fn keep_deadlines(&mut self, now: Instant, wire: &Wire) -> Vec<ChannelName> {
        let (mut waiting, mut silent) = (0, Vec::new());
        for (channel, forwards) in &mut self.channels {
            waiting += forwards.sent_bytes;
            if forwards.due > now || forwards.sent.is_empty() || forwards.home.is_none() {
                continue;
            }
            if forwards.attempts < MAX_ATTEMPTS {
                forwards.attempts += 1;
                forwards.send_all(channel, wire);
            } else {
                forwards.lose_home();
                silent.push(channel.clone());
            }
        }
        wire.counters.unacknowledged_bytes.set(waiting);
        silent
    }

    /// Sends everything again at the next deadline, because the connection was lost meanwhile.
    pub(super) fn reconnected(&mut self) {
        for forwards in self.channels.values_mut() {
            forwards.due = Instant::now();
        }
    }
}

impl Forwards {
    /// Returns whether messages wait here for a home or its acknowledgement.
    fn has_messages(&self) -> bool {
        self.has_more || !self.sent.is_empty()
    }

    fn lose_home(&mut self) {
        self.home = None;
        self.homeless_since = Instant::now();
    }

    fn take(&mut self) -> Forward {
        if self.home.is_none() {
            return Forward::FindHome;
        }
        if self.is_taking || !self.has_more || self.sent_bytes >= MAX_SENT_BYTES {
            return Forward::Nothing;
        }
        self.is_taking = true;
        Forward::Take
    }

    fn send_all(&mut self, channel: &ChannelName, wire: &Wire) {
        self.due = Instant::now() + ACCEPTED_TIMEOUT;
        self.send_from(0, channel, wire);
    }

    /// Sends the runs from this place on.
    fn send_from(&self, begins: usize, channel: &ChannelName, wire: &Wire) {
        let (Some(home), Some(oldest)) = (&self.home, self.sent.front()) else {
            return;
        };
        for sent in self.sent.iter().skip(begins) {
            let forwarded = Forwarded {
                channel: channel.clone(),
                run: sent.run,
                oldest: oldest.run,
                asker: Asker::default(),
                runs: sent.runs.clone(),
            };
            let payload: Bytes = ClusterMessage::Publish(forwarded).encode(&wire.me);
            wire.outgoing.send(Topic::Publishes(home.clone()), payload);
        }
    }
}
