//! One channel whose home is this node.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::block::{self, BlockHeader};
use super::broker::Topic;
use super::durable::Storing;
use super::message::{Answered, ClusterMessage, Forwarded, Head, PublishRefusal, Request};
use super::message::{MAX_ANSWER_BYTES, Requested};
use super::names::{NodeId, Token};
use super::wire::{Wire, unix_ms};
use crate::backplane::{Home, Runs, SealedBlock, Wanted};
use crate::message::ChannelName;

/// How long an answer waits until its messages are stored. It is asked for again after 2 s.
const MAX_STORE_TIME: Duration = Duration::from_millis(1800);
/// The most bytes of forwarded messages that wait for room in a channel.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// A channel that is numbered here, and what the node knows of it.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) home: Arc<Home>,
    pub(super) token: Token,
    pub(super) epoch: String,
    pub(super) term: u64,
    /// Whether the channel goes on here under an epoch that no other node is told of.
    pub(super) is_stale: bool,
    /// Whether the blocks go to other nodes.
    pub(super) is_exported: bool,
    /// Since when nobody uses the channel, as far as was seen.
    pub(super) idle_since: Option<Instant>,
    /// The way to the store, if the broker stores the blocks.
    pub(super) storing: Option<Storing>,
    /// The runs that are expected next, by the node that forwards them.
    expected: HashMap<NodeId, u64>,
    /// Forwarded messages that wait for room.
    waiting: VecDeque<Accept>,
    waiting_bytes: usize,
    is_accepting: bool,
}

/// Forwarded messages that are to be published.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) home: Arc<Home>,
    pub(super) from: NodeId,
    pub(super) run: u64,
    pub(super) runs: Runs,
}

/// What a request is answered from.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) home: Arc<Home>,
    pub(super) asker: NodeId,
    pub(super) request: Request,
    pub(super) term: u64,
    /// The number up to which the channel is stored, if the broker stores it.
    pub(super) stored: Option<watch::Receiver<u64>>,
}

impl Numbered {
    /// `term` is `None` for a home without a lease. `is_exported` says whether its blocks are
    /// exported already.
    pub(super) fn new(home: Home, term: Option<u64>, is_exported: bool) -> Self {
        let channel = home.channel();
        Self {
            token: Token::of_channel(channel),
            epoch: home.numbering().0,
            home: Arc::new(home),
            term: term.unwrap_or(0),
            is_stale: term.is_none(),
            is_exported,
            idle_since: None,
            storing: None,
            expected: HashMap::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_accepting: false,
        }
    }

    /// Says whether the channel's blocks are wanted elsewhere.
    pub(super) fn set_exported(&mut self, exported: bool) {
        let exported = exported && !self.is_stale;
        if exported != self.is_exported {
            self.is_exported = exported;
            self.home.set_exported(exported);
        }
    }

    /// Goes on under an epoch of its own, because the lease has run out.
    pub(super) fn become_stale(&mut self) {
        self.is_stale = true;
        self.is_exported = false;
        self.storing = None;
        self.expected.clear();
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.home.renumber();
        self.epoch = self.home.numbering().0;
    }

    /// Goes on under another epoch, until a term is open in the store with it.
    pub(super) fn begin_epoch(&mut self) {
        self.is_stale = true;
        self.is_exported = false;
        self.storing = None;
        self.home.renumber();
        self.epoch = self.home.numbering().0;
    }

    /// Returns whether a mirror that has passed number `seq` of an earlier term has numbers that
    /// were given again since.
    pub(super) fn has_repeated(&self, epoch: &str, seq: u64, term: u64) -> bool {
        let storing = self.storing.as_ref();
        term < self.term
            && epoch == self.epoch
            && storing.is_some_and(|storing| seq > storing.opened_at())
    }

    /// Has the numbers stored of messages that will not be, so that they are not given again.
    pub(super) fn mark_unstored(&mut self, me: &NodeId) {
        let (epoch, last) = self.home.numbering();
        if epoch == self.epoch
            && let Some(storing) = &mut self.storing
            && storing.is_short_of(last, Instant::now())
        {
            self.mark(last, me);
        }
    }

    /// Has number `last` stored without its message.
    pub(super) fn mark(&mut self, last: u64, me: &NodeId) {
        let header = self.header(me, last + 1, unix_ms());
        if let Some(storing) = &mut self.storing {
            for payload in block::encode(&header, []) {
                storing.push(payload, 0, last);
            }
        }
    }

    /// Numbers for other nodes too, in a term.
    pub(super) fn resume(&mut self, term: u64) {
        self.term = term;
        self.is_stale = false;
        self.epoch = self.home.numbering().0;
    }

    /// Returns whether nothing waits to be stored.
    pub(super) fn is_stored(&self) -> bool {
        self.storing.as_ref().is_none_or(Storing::is_empty)
    }

    /// Returns the last number, for the other nodes.
    pub(super) fn head(&self) -> Option<Head> {
        if !self.is_exported {
            return None;
        }
        let (epoch, sealed) = self.home.numbering();
        let stored = self.storing.as_ref().map(Storing::last_seq);
        let last_seq = stored.map_or(sealed, |stored| stored.min(sealed));
        Some(Head {
            channel: self.home.channel().clone(),
            epoch,
            term: self.term,
            last_seq,
        })
    }

    /// Returns the header of a block of this home.
    pub(super) fn header(&self, me: &NodeId, first_seq: u64, unix_ms: i64) -> BlockHeader {
        BlockHeader {
            home: me.clone(),
            epoch: self.epoch.clone(),
            term: self.term,
            first_seq,
            count: 0,
            unix_ms,
        }
    }

    /// Sends a block to whoever wants it.
    pub(super) fn export(&mut self, block: &SealedBlock, wire: &Wire) {
        if block.epoch() != self.epoch {
            // The epoch may have begun after it was asked for.
            self.epoch = self.home.numbering().0;
        }
        if !self.is_exported || block.epoch() != self.epoch {
            // Of an epoch that is not shared.
            return;
        }
        let header = self.header(&wire.me, block.first_seq(), block.unix_ms());
        let mut messages = block.messages() as u64;
        let mut payloads = block::encode(&header, block.parts()).into_iter().peekable();
        while let Some(payload) = payloads.next() {
            // The first payload counts for all.
            let counted = std::mem::take(&mut messages);
            if let Some(storing) = &mut self.storing {
                // The numbers of the parts are not known here. Those of the block are stored with
                // its last part.
                let is_last = payloads.peek().is_none();
                let before = block.first_seq() - 1;
                let last_seq = if is_last { block.last_seq() } else { before };
                let dropped = storing.push(payload, counted, last_seq);
                wire.counters.skipped.add(dropped);
                continue;
            }
            wire.send_block(Topic::Blocks(self.token.clone()), payload, counted);
        }
    }

    /// Shows the unfinished line to whoever wants it.
    pub(super) fn export_partial(&self, text: bytes::Bytes, wire: &Wire) {
        if self.is_exported {
            let epoch = self.epoch.clone();
            let message = ClusterMessage::Partial { epoch, text };
            let payload = message.encode(&wire.me);
            wire.send_block(Topic::Blocks(self.token.clone()), payload, 0);
        }
    }

    /// Takes forwarded messages, each once and in the order of their node. Returns those that are
    /// to be published now; [`Numbered::accepted`] returns the next.
    pub(super) fn publish(
        &mut self,
        from: &NodeId,
        forwarded: Forwarded,
        wire: &Wire,
    ) -> Option<Accept> {
        let Forwarded {
            channel,
            run,
            oldest,
            runs,
            ..
        } = forwarded;
        // What is older than the oldest was accepted by a home, perhaps by an earlier one.
        let expected = self.expected.entry(from.clone()).or_insert(oldest);
        *expected = oldest.max(*expected);
        if run < *expected {
            let is_waiting = self.is_accepting || !self.waiting.is_empty();
            if !is_waiting {
                let run = *expected - 1;
                wire.tell(from, &ClusterMessage::Accepted { channel, run });
            }
            return None;
        }
        let reason = if run > *expected {
            Some(PublishRefusal::OutOfOrder)
        } else if self.waiting_bytes > MAX_WAITING_BYTES {
            Some(PublishRefusal::Full)
        } else {
            None
        };
        if let Some(reason) = reason {
            let refused = ClusterMessage::Refused {
                channel,
                run,
                reason,
            };
            wire.tell(from, &refused);
            return None;
        }
        *expected += 1;
        self.waiting_bytes += runs.bytes();
        self.waiting.push_back(Accept {
            home: Arc::clone(&self.home),
            from: from.clone(),
            run,
            runs,
        });
        if self.is_accepting {
            return None;
        }
        self.accept_next()
    }

    /// Takes notice that forwarded messages were published. Returns the next ones.
    pub(super) fn accepted(&mut self) -> Option<Accept> {
        self.is_accepting = false;
        self.accept_next()
    }

    fn accept_next(&mut self) -> Option<Accept> {
        let next = self.waiting.pop_front()?;
        self.waiting_bytes -= next.runs.bytes();
        self.is_accepting = true;
        Some(next)
    }

    /// Forgets what a node forwarded that is gone.
    pub(super) fn node_gone(&mut self, node: &NodeId) {
        self.expected.remove(node);
    }
}

impl Answering {
    /// Reads what was asked for, and sends it.
    pub(super) async fn run(self, me: NodeId, outgoing: Arc<super::outgoing::Outgoing>) {
        let Self {
            home,
            asker,
            request,
            term,
            stored,
        } = self;
        let (epoch, _) = home.numbering();
        let wanted = match &request.wanted {
            Requested::Tail(messages) => Some(Wanted::Tail(*messages)),
            Requested::After { epoch: of, seq, .. } if *of == epoch => Some(Wanted::After(*seq)),
            Requested::After { .. } => Some(Wanted::After(0)),
            Requested::Range {
                epoch: of,
                from,
                to,
            } if *of == epoch => Some(Wanted::Range(*from, *to)),
            Requested::Range { .. } => None,
        };
        let most_bytes = usize::try_from(request.max_bytes).unwrap_or(usize::MAX);
        let history = home
            .read(wanted.unwrap_or(Wanted::Tail(0)), most_bytes)
            .await;
        // It is not held up by an answer that waits.
        drop(home);
        if let Some(mut stored) = stored {
            let is_stored = stored.wait_for(|seq| *seq >= history.last);
            if !matches!(timeout(MAX_STORE_TIME, is_stored).await, Ok(Ok(_))) {
                // It is asked for again.
                return;
            }
        }
        // The home may have another numbering by now. Its messages are not the ones asked for.
        let is_asked = wanted.is_some() && history.epoch == epoch;
        let topic = Topic::Node(asker);
        let mut part = Vec::new();
        let mut part_bytes = 0;
        for run in history.runs.iter().filter(|_| is_asked) {
            let header = BlockHeader {
                home: me.clone(),
                epoch: history.epoch.clone(),
                term,
                first_seq: run.first_seq(),
                count: 0,
                unix_ms: run.unix_ms(),
            };
            for block in block::encode(&header, run.parts()) {
                part_bytes += block.len();
                part.push(block);
                if part_bytes >= MAX_ANSWER_BYTES {
                    let blocks = std::mem::take(&mut part);
                    part_bytes = 0;
                    outgoing.has_answer_room().await;
                    let id = request.id;
                    let answer = ClusterMessage::Answer { id, blocks };
                    outgoing.send(topic.clone(), answer.encode(&me));
                }
            }
        }
        if !part.is_empty() {
            let answer = ClusterMessage::Answer {
                id: request.id,
                blocks: part,
            };
            outgoing.send(topic.clone(), answer.encode(&me));
        }
        let answered = Answered {
            id: request.id,
            epoch: history.epoch,
            term,
            first_kept: history.first_kept.unwrap_or(history.last + 1),
            last_seq: history.last,
            is_cut: history.next.is_some(),
        };
        outgoing.send(topic, ClusterMessage::Answered(answered).encode(&me));
    }
}

/// The channels whose home is this node.
pub(super) type Homes = HashMap<ChannelName, Numbered>;
