//! Channels whose blocks the broker stores.
//!
//! One block of a channel is on its way to the store at a time, with the last position that it is
//! to follow. A home that begins a term first stores an opening block, so that an earlier home,
//! which expects another position, stores nothing any more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::block::{self, Block, BlockHeader};
use super::broker::{Appended, Broker, BrokerError};
use super::names::{NodeId, Token};
use super::wire::unix_ms;

/// The most bytes of one channel that wait to be stored.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How often the store may have changed while a home opens its term.
const MAX_ATTEMPTS: usize = 4;
/// The most bytes of stored blocks that are read at once.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of the past that are read.
const MAX_PAST_BYTES: usize = 64 * 1024 * 1024;
/// How long a message may be on its way to the queue of what is stored.
const MAX_UNSTORED: Duration = Duration::from_secs(1);
/// How many positions before the last one are looked at first.
const FIRST_SPAN: u64 = 512;

/// The way of a home's blocks to the store.
#[derive(Debug)]
pub(super) struct Storing {
    /// The position of the last stored block.
    position: u64,
    /// The blocks that are not stored, and the number of their messages.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// Whether the first of them is on its way.
    is_appending: bool,
    /// When the first one is tried again.
    retry_at: Option<Instant>,
    /// The number after which the term began.
    opened_at: u64,
    /// The number up to which the channel is stored.
    stored: watch::Sender<u64>,
    /// A greater number that the channel has, and since when nothing waits to be stored.
    unstored: Option<(u64, Instant)>,
}

/// A block that is not stored.
#[derive(Debug)]
struct Waiting {
    payload: Bytes,
    /// The number of its messages.
    messages: u64,
    /// The number up to which the channel is stored once this is.
    last_seq: u64,
}

/// A block to be stored, and the position that it is to follow.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) payload: Bytes,
    pub(super) expected: u64,
}

/// What became of a block that was to be stored.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is stored at this position.
    Stored(u64),
    /// It is not stored, and may be later.
    NotYet,
    /// Another home has stored a block of a greater term.
    Fenced {
        /// That home.
        home: NodeId,
        /// Its term.
        term: u64,
    },
}

/// Where a home goes on.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) epoch: String,
    /// The number of the last message.
    pub(super) seq: u64,
    /// The position of the opening block.
    pub(super) position: u64,
    /// The last blocks of the numbering.
    pub(super) past: Vec<Block>,
}

impl Storing {
    /// A term was opened at this position, after number `seq`. The home numbers after
    /// `opened_at`, which is greater if it had passed the store.
    pub(super) fn new(position: u64, seq: u64, opened_at: u64) -> Self {
        Self {
            position,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_appending: false,
            retry_at: None,
            opened_at,
            stored: watch::Sender::new(seq),
            unstored: None,
        }
    }

    /// Takes a block. Returns the number of blocks that were dropped to make room.
    pub(super) fn push(&mut self, payload: Bytes, messages: u64, last_seq: u64) -> u64 {
        self.waiting_bytes += payload.len();
        self.waiting.push_back(Waiting {
            payload,
            messages,
            last_seq,
        });
        let mut dropped = 0;
        // The first one may be on its way.
        while self.waiting_bytes > MAX_WAITING_BYTES && self.waiting.len() > 2 {
            if let Some(waiting) = self.waiting.remove(1) {
                self.waiting_bytes -= waiting.payload.len();
                dropped += 1;
            }
        }
        dropped
    }

    /// Returns whether nothing waits to be stored.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the block that is to be stored now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Append> {
        if self.is_appending || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        let payload = self.waiting.front()?.payload.clone();
        self.is_appending = true;
        self.retry_at = None;
        Some(Append {
            payload,
            expected: self.position,
        })
    }

    /// Takes notice that the first block is stored. Returns the number of its messages.
    pub(super) fn stored(&mut self, position: u64) -> u64 {
        self.is_appending = false;
        self.position = position;
        let Some(stored) = self.waiting.pop_front() else {
            return 0;
        };
        self.waiting_bytes -= stored.payload.len();
        let last_seq = self.last_seq().max(stored.last_seq);
        self.stored.send_replace(last_seq);
        stored.messages
    }

    /// Returns the number up to which the channel is stored. No greater one may leave the home:
    /// the next home would give it again, to another message.
    pub(super) fn last_seq(&self) -> u64 {
        *self.stored.borrow()
    }

    /// Returns what tells [`Storing::last_seq`]. It ends with the term.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.stored.subscribe()
    }

    /// Returns the number after which the term began.
    pub(super) fn opened_at(&self) -> u64 {
        self.opened_at
    }

    /// Returns whether messages up to `last` exist that will not be stored: those of the time
    /// without a term, and those that found no room. Their numbers are to be stored without them.
    pub(super) fn is_short_of(&mut self, last: u64, now: Instant) -> bool {
        if !self.is_empty() || last <= self.last_seq() {
            self.unstored = None;
            return false;
        }
        match self.unstored {
            Some((seq, since)) if seq == last => since + MAX_UNSTORED <= now,
            _ => {
                self.unstored = Some((last, now));
                false
            }
        }
    }

    /// Takes notice that the first block is not stored.
    pub(super) fn retry(&mut self, at: Instant) {
        self.is_appending = false;
        self.retry_at = Some(at);
    }
}

/// One channel in the store.
#[derive(Clone)]
pub(super) struct StoredChannel {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) token: Token,
    /// The most bytes of one message of this hub.
    pub(super) max_message: usize,
    /// The number of messages that this hub keeps.
    pub(super) history: u64,
}

impl StoredChannel {
    /// Stores a block. An outcome that is not known is read back.
    pub(super) async fn append(&self, append: Append) -> Outcome {
        let Append { payload, expected } = append;
        let appended = self.broker.append(&self.token, payload.clone(), expected);
        match appended.await {
            Ok(Appended::Stored(position)) => return Outcome::Stored(position),
            Ok(Appended::Conflict(_)) | Err(BrokerError::Unknown) => {}
            Err(error) => {
                tracing::debug!(token = %self.token, %error, "not stored yet");
                return Outcome::NotYet;
            }
        }
        let Ok(Some((position, last))) = self.broker.last_stored(&self.token).await else {
            return Outcome::NotYet;
        };
        if last == payload {
            return Outcome::Stored(position);
        }
        match self.header(&last) {
            Some(header) if position != expected => Outcome::Fenced {
                home: header.home,
                term: header.term,
            },
            _ => Outcome::NotYet,
        }
    }

    /// Opens a term in the store. A home that numbers already goes on with `own`, its epoch and
    /// the number of its last message; any other goes on where the store ends, or begins
    /// `new_epoch`.
    ///
    /// Returns `None` when the broker does not do it now, or another home is ahead.
    pub(super) async fn open(
        &self,
        me: &NodeId,
        term: u64,
        own: Option<(String, u64)>,
        new_epoch: String,
    ) -> Option<Opening> {
        for _ in 0..MAX_ATTEMPTS {
            let last = self.broker.last_stored(&self.token).await.ok()?;
            let position = last.as_ref().map_or(0, |(position, _)| *position);
            let stored = last.and_then(|(_, payload)| self.header(&payload));
            if let Some(stored) = &stored {
                if stored.term > term {
                    return None;
                }
                let is_own = own.as_ref().is_none_or(|(epoch, _)| *epoch == stored.epoch);
                if is_own && stored.term == term && stored.home == *me && stored.count == 0 {
                    // The outcome of an earlier attempt.
                    let (epoch, seq) = (stored.epoch.clone(), stored.last_seq());
                    return Some(self.opening(epoch, seq, position).await);
                }
            }
            let (epoch, seq) = own.clone().unwrap_or_else(|| match stored {
                Some(stored) => (stored.epoch.clone(), stored.last_seq()),
                None => (new_epoch.clone(), 0),
            });
            let header = BlockHeader {
                home: me.clone(),
                epoch: epoch.clone(),
                term,
                first_seq: seq + 1,
                count: 0,
                unix_ms: unix_ms(),
            };
            let payload = block::encode(&header, []).into_iter().next()?;
            match self.broker.append(&self.token, payload, position).await {
                Ok(Appended::Stored(position)) => {
                    return Some(self.opening(epoch, seq, position).await);
                }
                Ok(Appended::Conflict(_)) | Err(BrokerError::Unknown) => {}
                Err(error) => {
                    tracing::debug!(token = %self.token, %error, "a term cannot be opened");
                    return None;
                }
            }
        }
        None
    }

    async fn opening(&self, epoch: String, seq: u64, position: u64) -> Opening {
        let past = self.past(&epoch, position).await;
        Opening {
            epoch,
            seq,
            position,
            past,
        }
    }

    /// Reads the last blocks, and the header of the last one.
    pub(super) async fn load(&self) -> Option<(BlockHeader, Vec<Block>)> {
        let (position, payload) = self.broker.last_stored(&self.token).await.ok()??;
        let last = self.header(&payload)?;
        let past = self.past(&last.epoch, position).await;
        Some((last, past))
    }

    /// Reads the last messages of a numbering up to a position. What cannot be read is left out.
    async fn past(&self, epoch: &str, position: u64) -> Vec<Block> {
        let mut span = FIRST_SPAN;
        loop {
            let from = position.saturating_sub(span);
            let mut blocks = self.read_from(from).await;
            blocks.retain(|block| block.header.epoch == epoch);
            let messages: u64 = blocks.iter().map(|block| block.header.count).sum();
            if messages >= self.history || from == 0 {
                return blocks;
            }
            span = span.saturating_mul(16);
        }
    }

    async fn read_from(&self, from: u64) -> Vec<Block> {
        let mut blocks = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        while bytes < MAX_PAST_BYTES
            && let Ok(read) = self.broker.stored(&self.token, next, READ_BYTES).await
            && let Some((last, _)) = read.last()
        {
            next = last + 1;
            for (_, payload) in read {
                bytes += payload.len();
                if let Ok(block) = block::decode(&payload, self.max_message) {
                    blocks.push(block);
                }
            }
        }
        blocks
    }

    /// Reads the header of a stored block, also of one whose messages cannot be read.
    fn header(&self, payload: &[u8]) -> Option<BlockHeader> {
        match block::decode(payload, self.max_message) {
            Ok(block) => Some(block.header),
            Err(error) => error.header().cloned(),
        }
    }
}
