//! The way of one channel to its home.

use super::super::names::NodeId;
use super::session::Session;
use super::{Effect, HomeRecord, HomeState, LeaseKey, Now, SessionRecord, StoreCall, StoreReply};
use crate::message::ChannelName;

/// What is to be called next.
#[derive(Clone, Debug)]
enum Step {
    /// Read the record.
    Read,
    /// Read the session of the home that the record names.
    Check {
        home: NodeId,
        generation: u64,
        term: u64,
        revision: u64,
    },
    /// Write a record where there is none.
    Create,
    /// Write a record in place of one that is no longer valid.
    Replace { revision: u64 },
}

/// A call that is under way.
#[derive(Clone, Debug)]
struct Call {
    id: u64,
    step: Step,
    /// The record that it writes.
    written: Option<HomeRecord>,
}

/// What comes after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    Call,
    Retry,
}

#[derive(Debug)]
pub(super) struct ChannelLease {
    pub(super) state: HomeState,
    /// Whether this node publishes to the channel.
    is_wanted: bool,
    epoch: String,
    /// The greatest term that is known.
    known_term: u64,
    /// The revision of the record while this node is home.
    revision: u64,
    step: Step,
    call: Option<Call>,
}

impl Default for ChannelLease {
    fn default() -> Self {
        Self {
            state: HomeState::Unknown,
            is_wanted: false,
            epoch: String::new(),
            known_term: 0,
            revision: 0,
            step: Step::Read,
            call: None,
        }
    }
}

impl ChannelLease {
    pub(super) fn want(&mut self, epoch: &str) {
        self.is_wanted = true;
        epoch.clone_into(&mut self.epoch);
        if self.state == HomeState::Unknown {
            self.state = HomeState::Claiming;
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Gives the channel up. Returns the record that takes the place of this node's, and the
    /// revision of that one, if this node was home.
    pub(super) fn release(&mut self, node: &NodeId) -> Option<(HomeRecord, u64)> {
        self.is_wanted = false;
        let given_up = match self.state {
            HomeState::Home { term } => Some(HomeRecord {
                node: node.clone(),
                generation: HomeRecord::GIVEN_UP,
                least_term: term,
                epoch: self.epoch.clone(),
            }),
            _ => None,
        };
        if !matches!(self.state, HomeState::Elsewhere { .. }) {
            self.state = HomeState::Unknown;
        }
        // The outcome of a claim that is under way is read when the channel is wanted again.
        self.call = None;
        self.step = Step::Read;
        given_up.map(|record| (record, self.revision))
    }

    /// Takes note of a node that numbers the channel. Returns whether the record has to be read
    /// again, because this node takes itself for the home in a lower term.
    pub(super) fn heard(&mut self, node: &NodeId, term: u64) -> bool {
        if term <= self.known_term {
            return false;
        }
        self.known_term = term;
        match self.state {
            HomeState::Home { .. } => true,
            HomeState::Unknown | HomeState::Elsewhere { .. } => {
                self.state = HomeState::Elsewhere {
                    node: node.clone(),
                    term,
                };
                false
            }
            HomeState::Claiming | HomeState::Stale => false,
        }
    }

    /// Takes note that the session is lost. Returns whether this node was home.
    pub(super) fn session_lost(&mut self) -> bool {
        let was_home = matches!(self.state, HomeState::Home { .. });
        if was_home {
            self.state = HomeState::Stale;
        }
        was_home
    }

    /// Returns the call that is next. `None` while one is under way.
    pub(super) fn call(
        &mut self,
        id: u64,
        channel: &ChannelName,
        session: &Session,
        now: Now,
    ) -> Option<(LeaseKey, StoreCall)> {
        if self.call.is_some() || !self.is_wanted {
            return None;
        }
        let step = std::mem::replace(&mut self.step, Step::Read);
        let home = LeaseKey::Home(channel.clone());
        let record = || HomeRecord {
            node: session.node().clone(),
            generation: session.generation(),
            least_term: now.unix_ms.max(self.known_term.saturating_add(1)),
            epoch: self.epoch.clone(),
        };
        let (key, call, written) = match &step {
            Step::Read => (home, StoreCall::Read, None),
            Step::Check { home, .. } => (LeaseKey::Session(home.clone()), StoreCall::Read, None),
            Step::Create => {
                let record = record();
                (home, StoreCall::Create(record.encode()), Some(record))
            }
            Step::Replace { revision } => {
                let record = record();
                let call = StoreCall::Replace(record.encode(), *revision);
                (home, call, Some(record))
            }
        };
        self.call = Some(Call { id, step, written });
        Some((key, call))
    }

    /// Takes the outcome of a call.
    pub(super) fn replied(
        &mut self,
        id: u64,
        reply: StoreReply,
        channel: &ChannelName,
        session: &Session,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Next {
        let Some(call) = self.call.take_if(|call| call.id == id) else {
            return Next::Nothing;
        };
        match (call.step, reply) {
            (Step::Read, StoreReply::Found(None)) => {
                self.not_ours(channel, effects);
                self.go_on(Step::Create)
            }
            (Step::Read, StoreReply::Found(Some((value, revision)))) => {
                // A value that cannot be read is nobody's.
                let Ok(record) = HomeRecord::decode(&value) else {
                    self.not_ours(channel, effects);
                    return self.go_on(Step::Replace { revision });
                };
                self.found(record, revision, channel, session, now, effects)
            }
            (
                Step::Check {
                    home,
                    generation,
                    term,
                    revision,
                },
                StoreReply::Found(value),
            ) => {
                let found = value.and_then(|(value, _)| SessionRecord::decode(&value).ok());
                if found.is_some_and(|record| record.generation == generation) {
                    self.elsewhere(home, term, channel, effects)
                } else {
                    self.go_on(Step::Replace { revision })
                }
            }
            (Step::Create | Step::Replace { .. }, StoreReply::Written(revision)) => {
                let Some(record) = call.written else {
                    return self.go_on(Step::Read);
                };
                self.own(&record, revision, channel, session, now, effects)
            }
            // The record is another now, or not known: it is read back.
            (Step::Create | Step::Replace { .. }, _) => self.go_on(Step::Read),
            // A read that failed.
            _ => {
                self.step = Step::Read;
                Next::Retry
            }
        }
    }

    /// Takes note that the broker does not have this node's record. Where this node is home, the
    /// broker has lost its data.
    fn not_ours(&mut self, channel: &ChannelName, effects: &mut Vec<Effect>) {
        if self.session_lost() {
            effects.push(Effect::GoStale {
                channel: channel.clone(),
            });
        }
    }

    fn go_on(&mut self, step: Step) -> Next {
        self.step = step;
        Next::Call
    }

    /// Takes a record that was read.
    fn found(
        &mut self,
        record: HomeRecord,
        revision: u64,
        channel: &ChannelName,
        session: &Session,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Next {
        if record.node == *session.node() {
            return self.own(&record, revision, channel, session, now, effects);
        }
        self.not_ours(channel, effects);
        let term = record.term(revision);
        self.known_term = self.known_term.max(term);
        if record.generation == HomeRecord::GIVEN_UP {
            return self.go_on(Step::Replace { revision });
        }
        self.go_on(Step::Check {
            home: record.node,
            generation: record.generation,
            term,
            revision,
        })
    }

    /// Takes a record of this node that the broker has.
    fn own(
        &mut self,
        record: &HomeRecord,
        revision: u64,
        channel: &ChannelName,
        session: &Session,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Next {
        let term = record.term(revision);
        if self.state == (HomeState::Home { term }) && term >= self.known_term {
            self.revision = revision;
            return Next::Nothing;
        }
        // A record of an earlier session, or one whose term another node has passed meanwhile.
        if record.generation != session.generation() || term <= self.known_term {
            return self.go_on(Step::Replace { revision });
        }
        if !session.holds(now) {
            // The begin of the next session has the record read again.
            self.step = Step::Read;
            return Next::Nothing;
        }
        self.known_term = term;
        self.revision = revision;
        self.state = HomeState::Home { term };
        effects.push(Effect::BecomeHome {
            channel: channel.clone(),
            term,
        });
        Next::Nothing
    }

    fn elsewhere(
        &mut self,
        node: NodeId,
        term: u64,
        channel: &ChannelName,
        effects: &mut Vec<Effect>,
    ) -> Next {
        let state = HomeState::Elsewhere {
            node: node.clone(),
            term,
        };
        if self.state != state {
            self.state = state;
            effects.push(Effect::Elsewhere {
                channel: channel.clone(),
                node,
                term,
            });
        }
        Next::Nothing
    }
}
