//! The session of this node: renewed in time, read back where the outcome is not known.

use std::collections::VecDeque;

use super::super::names::NodeId;
use super::{HOLD_MS, Now, RENEW_MS, RETRY_MS, SessionRecord, StoreCall, StoreReply};

/// The writes whose send time is remembered. Each call ends after about 2 s, so these are more than
/// a session can outlive.
const MAX_WRITES: usize = 16;

/// What became of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionChange {
    /// Nothing, or it was renewed.
    None,
    /// A session began: records with its generation are valid.
    Began,
    /// The session is no longer counted on, and never again.
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    number: u64,
    generation: u64,
    sent_ms: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    node: NodeId,
    /// The number of the session that is held or tried for.
    generation: u64,
    /// The time until which it is held. `None` while it is not.
    until_ms: Option<u64>,
    /// The revision of the key. `None` when the key does not exist, as far as is known.
    revision: Option<u64>,
    /// Whether the key has to be read before it is written.
    reads_next: bool,
    /// The writes of which the broker may have the last that it carried out.
    writes: VecDeque<Write>,
    last_write: u64,
    /// The number of the call that is under way, and whether it writes.
    call: Option<(u64, bool)>,
    next_ms: u64,
}

impl Session {
    pub(super) fn new(node: NodeId) -> Self {
        Self {
            node,
            generation: 1,
            until_ms: None,
            revision: None,
            reads_next: false,
            writes: VecDeque::new(),
            last_write: 0,
            call: None,
            next_ms: 0,
        }
    }

    pub(super) fn node(&self) -> &NodeId {
        &self.node
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns whether the session can be counted on now.
    pub(super) fn holds(&self, now: Now) -> bool {
        self.until_ms.is_some_and(|until| now.monotonic_ms < until)
    }

    /// Returns when something is due.
    pub(super) fn due(&self) -> Option<u64> {
        let next = self.call.is_none().then_some(self.next_ms);
        [self.until_ms, next].into_iter().flatten().min()
    }

    /// Ends the session whose time is over.
    pub(super) fn expire(&mut self, now: Now) -> Option<SessionChange> {
        let is_over = self.until_ms.is_some() && !self.holds(now);
        is_over.then(|| self.lose(now))
    }

    fn lose(&mut self, now: Now) -> SessionChange {
        self.until_ms = None;
        self.generation += 1;
        self.next_ms = now.monotonic_ms;
        SessionChange::Lost
    }

    /// Returns the call that is due.
    pub(super) fn call(&mut self, now: Now, id: u64) -> Option<StoreCall> {
        if self.call.is_some() || now.monotonic_ms < self.next_ms {
            return None;
        }
        self.call = Some((id, !self.reads_next));
        if self.reads_next {
            return Some(StoreCall::Read);
        }
        self.last_write += 1;
        self.writes.push_back(Write {
            number: self.last_write,
            generation: self.generation,
            sent_ms: now.monotonic_ms,
        });
        if self.writes.len() > MAX_WRITES {
            self.writes.pop_front();
        }
        let record = SessionRecord {
            generation: self.generation,
            write: self.last_write,
        };
        Some(match self.revision {
            None => StoreCall::Create(record.encode()),
            Some(revision) => StoreCall::Replace(record.encode(), revision),
        })
    }

    /// Takes the outcome of a call. Returns `None` when the call was not the session's.
    pub(super) fn replied(
        &mut self,
        id: u64,
        reply: &StoreReply,
        now: Now,
    ) -> Option<SessionChange> {
        let (_, is_write) = self.call.take_if(|(call, _)| *call == id)?;
        Some(match reply {
            StoreReply::Written(revision) => self.wrote(self.last_write, *revision, now),
            StoreReply::Found(None) => {
                self.reads_next = false;
                self.revision = None;
                self.next_ms = now.monotonic_ms;
                // The broker lost it, or its clock is much faster than this one.
                if self.until_ms.is_some() {
                    self.lose(now)
                } else {
                    SessionChange::None
                }
            }
            StoreReply::Found(Some((value, revision))) => {
                let write = SessionRecord::decode(value).map_or(0, |record| record.write);
                self.wrote(write, *revision, now)
            }
            StoreReply::Conflict | StoreReply::Unknown => {
                self.reads_next = true;
                // A read that failed is made again a little later.
                self.next_ms = now.monotonic_ms + if is_write { 0 } else { RETRY_MS };
                SessionChange::None
            }
        })
    }

    /// Takes note that the broker has a write as the last one.
    fn wrote(&mut self, number: u64, revision: u64, now: Now) -> SessionChange {
        self.reads_next = false;
        self.revision = Some(revision);
        self.next_ms = now.monotonic_ms;
        let write = self.writes.iter().find(|write| write.number == number);
        let Some(&write) = write.filter(|write| write.generation == self.generation) else {
            // A late write of an earlier session: the broker lost the one that is held.
            return match self.until_ms {
                Some(_) => self.lose(now),
                None => SessionChange::None,
            };
        };
        self.writes.retain(|other| other.number >= number);
        let until = write.sent_ms + HOLD_MS;
        if until <= now.monotonic_ms {
            return SessionChange::None;
        }
        if number == self.last_write {
            self.next_ms = write.sent_ms + RENEW_MS;
        }
        let began = self.until_ms.is_none();
        self.until_ms = self.until_ms.max(Some(until));
        if began {
            SessionChange::Began
        } else {
            SessionChange::None
        }
    }
}
