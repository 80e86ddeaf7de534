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
    /// Whether the record may still name this node, which no longer publishes to the channel. While
    /// its session lasts, every other node would take it for the home.
    gives_up: bool,
    /// Whether nothing is to be kept of the channel once it is given up.
    is_forgotten: bool,
    /// The revision in whose place a write of this node may still take effect, 0 for none.
    unsettled: Option<u64>,
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
            gives_up: false,
            is_forgotten: false,
            unsettled: None,
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
        self.gives_up = false;
        self.is_forgotten = false;
        epoch.clone_into(&mut self.epoch);
        if self.state == HomeState::Unknown {
            self.state = HomeState::Claiming;
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Gives the channel up, so that [`ChannelLease::call`] returns what takes the place of this
    /// node's record, until the broker has that.
    pub(super) fn release(&mut self) {
        self.is_wanted = false;
        let was_home = matches!(self.state, HomeState::Home { .. });
        self.gives_up = was_home || self.unsettled.is_some();
        if !matches!(self.state, HomeState::Elsewhere { .. }) {
            self.state = HomeState::Unknown;
        }
        // The outcome of a write that is under way is waited for.
        if self
            .call
            .as_ref()
            .is_some_and(|call| call.written.is_none())
        {
            self.call = None;
        }
        self.step = if was_home {
            Step::Replace {
                revision: self.revision,
            }
        } else {
            Step::Read
        };
    }

    /// Returns whether nothing is to be kept of the channel any more. `is_asked` says that it is to
    /// be so from now on.
    pub(super) fn is_forgotten(&mut self, is_asked: bool) -> bool {
        self.is_forgotten |= is_asked;
        self.is_forgotten && !self.gives_up
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
        // No node takes a record of an earlier session for valid.
        self.gives_up = false;
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
        if self.call.is_some() || !(self.is_wanted || self.gives_up) {
            return None;
        }
        let step = std::mem::replace(&mut self.step, Step::Read);
        let home = LeaseKey::Home(channel.clone());
        let (generation, least_term) = if self.is_wanted {
            let next_term = self.known_term.saturating_add(1);
            (session.generation(), now.unix_ms.max(next_term))
        } else {
            (HomeRecord::GIVEN_UP, self.known_term)
        };
        let record = || HomeRecord {
            node: session.node().clone(),
            generation,
            least_term,
            epoch: self.epoch.clone(),
        };
        let (key, call, written) = match &step {
            Step::Read => (home, StoreCall::Read, None),
            Step::Check { home, .. } => (LeaseKey::Session(home.clone()), StoreCall::Read, None),
            Step::Create => {
                let record = record();
                self.unsettled = Some(0);
                (home, StoreCall::Create(record.encode()), Some(record))
            }
            Step::Replace { revision } => {
                let record = record();
                self.unsettled = Some(*revision);
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
        if call.written.is_some() && reply != StoreReply::Unknown {
            // It took effect, or the record has another revision. So no earlier write can either.
            self.unsettled = None;
        }
        if !self.is_wanted {
            return self.go_on_giving_up(&call, reply, session.node());
        }
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

    /// Takes the outcome of a call after the channel was given up.
    fn go_on_giving_up(&mut self, call: &Call, reply: StoreReply, node: &NodeId) -> Next {
        if !self.gives_up {
            return Next::Nothing;
        }
        let next = match reply {
            StoreReply::Written(revision) => {
                let written = call.written.as_ref();
                let is_claim = written.is_some_and(|record| !record.is_given_up());
                is_claim.then_some(Step::Replace { revision })
            }
            // A claim that was believed lost may have come first.
            StoreReply::Conflict => Some(Step::Read),
            StoreReply::Unknown => {
                self.step = Step::Read;
                return Next::Retry;
            }
            StoreReply::Found(None) => self.unsettled.is_some().then_some(Step::Create),
            StoreReply::Found(Some((value, revision))) => {
                let record = HomeRecord::decode(&value).ok();
                let is_own = record.is_some_and(|record| {
                    self.known_term = self.known_term.max(record.term(revision));
                    record.node == *node && !record.is_given_up()
                });
                // What takes the place of the record keeps a late claim from doing so.
                let is_claimed = self.unsettled == Some(revision);
                (is_own || is_claimed).then_some(Step::Replace { revision })
            }
        };
        match next {
            Some(step) => self.go_on(step),
            None => {
                self.gives_up = false;
                Next::Nothing
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
        if record.is_given_up() {
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
        // Or one in whose place a write of this node, such as one that gives it up, may still come.
        if record.generation != session.generation()
            || term <= self.known_term
            || self.unsettled == Some(revision)
        {
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
