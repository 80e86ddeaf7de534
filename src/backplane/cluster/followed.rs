//! One channel that this node takes from its home.

use std::time::Duration;

use tokio::time::Instant;

use super::block::{Block, BlockHeader};
use super::message::{Answered, Head, Requested};
use super::names::NodeId;
use super::wire::Wire;
use crate::backplane::{Mirror, NumberedRun, Seam, Step};
use crate::message::ChannelName;

/// How long an answer is waited for before its request is repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a request is made before it is given up.
const MAX_ATTEMPTS: u32 = 3;
/// How long the blocks up to a number that the home told may still be on their way.
const HEAD_DELAY: Duration = Duration::from_millis(200);
/// The most bytes of live messages that are held until the past has come.
const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;

/// A channel on its way from its home to the mirror.
#[derive(Debug)]
pub(super) struct Followed {
    name: ChannelName,
    mirror: Mirror,
    /// The numbering, once a home has told it.
    numbering: Option<Numbering>,
    phase: Phase,
    /// The number with which the mirror has caught up.
    synced_at: Option<u64>,
    /// When subscribers are answered although no home has been heard.
    pub(super) answer_by: Option<Instant>,
    /// When the last subscriber left.
    pub(super) unwatched_since: Option<Instant>,
    /// Whether the broker has confirmed the subscription.
    pub(super) is_subscribed: bool,
}

#[derive(Debug)]
struct Numbering {
    epoch: String,
    term: u64,
    home: NodeId,
    seam: Seam,
    /// The number of the last message that the mirror has or has skipped.
    delivered: u64,
    /// The range that was asked for.
    range: Option<Range>,
    /// A number that the home told, and when what is up to it counts as lost.
    head: Option<(u64, Instant)>,
}

#[derive(Debug)]
struct Range {
    to: u64,
    /// The number of the last message when the request was made.
    last: u64,
    request: Outstanding,
}

#[derive(Debug)]
enum Phase {
    /// No home is known, or none that answers.
    Waiting,
    /// The home was asked for what the mirror does not have.
    Joining(Join),
    /// Live messages are taken as they come.
    Live,
}

#[derive(Debug)]
struct Join {
    request: Outstanding,
    /// The parts of the answer.
    answer: Vec<Part>,
    /// What came live meanwhile.
    live: Vec<Part>,
    live_bytes: usize,
}

/// Messages of some numbering.
#[derive(Debug)]
struct Part {
    header: BlockHeader,
    run: NumberedRun,
}

/// A request without an answer.
#[derive(Debug)]
struct Outstanding {
    id: u64,
    home: NodeId,
    attempts: u32,
    due: Instant,
}

impl Outstanding {
    fn new(id: u64, home: NodeId, attempts: u32) -> Self {
        Self {
            id,
            home,
            attempts,
            due: Instant::now() + ANSWER_TIMEOUT,
        }
    }
}

impl Followed {
    pub(super) fn new(name: ChannelName, mirror: Mirror, answer_by: Instant) -> Self {
        Self {
            name,
            mirror,
            numbering: None,
            phase: Phase::Waiting,
            synced_at: None,
            answer_by: Some(answer_by),
            unwatched_since: None,
            is_subscribed: false,
        }
    }

    pub(super) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Returns the home that the channel is taken from.
    pub(super) fn home(&self) -> Option<&NodeId> {
        match (&self.phase, &self.numbering) {
            (Phase::Waiting, _) => None,
            (Phase::Joining(join), _) => Some(&join.request.home),
            (Phase::Live, numbering) => numbering.as_ref().map(|numbering| &numbering.home),
        }
    }

    /// Returns the last term that is known.
    pub(super) fn term(&self) -> u64 {
        self.numbering
            .as_ref()
            .map_or(0, |numbering| numbering.term)
    }

    /// Returns the name of the numbering, once it is known.
    pub(super) fn epoch(&self) -> Option<&str> {
        self.numbering
            .as_ref()
            .map(|numbering| numbering.epoch.as_str())
    }

    /// Returns the number of the last message that the mirror has or has skipped, if it has this
    /// numbering.
    pub(super) fn passed(&self, epoch: &str) -> u64 {
        let numbering = self.numbering.as_ref();
        numbering
            .filter(|numbering| numbering.epoch == epoch)
            .map_or(0, |numbering| numbering.delivered)
    }

    /// Takes what the store has of a channel without a home.
    pub(super) fn load(&mut self, last: &BlockHeader, past: Vec<Block>, wire: &mut Wire) {
        if !matches!(self.phase, Phase::Waiting) || self.numbering.is_some() {
            return;
        }
        let first = past.first().map(|block| block.header.first_seq);
        let base = first.map_or(last.last_seq(), |first| first - 1);
        self.mirror.set_synced(false);
        self.mirror.renumber(&last.epoch, base);
        let numbering = self.numbering.insert(Numbering {
            epoch: last.epoch.clone(),
            term: last.term,
            home: last.home.clone(),
            seam: Seam::new(base),
            delivered: base,
            range: None,
            head: None,
        });
        let mut steps = Vec::new();
        for run in past.into_iter().filter_map(Block::numbered) {
            numbering.seam.offer(run, &mut steps);
        }
        steps.retain(|step| !matches!(step, Step::Ask(..)));
        numbering.seam.give_up(&mut steps);
        numbering.seam.lost(last.last_seq(), &mut steps);
        self.carry_out(steps, wire);
        self.answer_viewers();
    }

    /// Asks `home` for what the mirror does not have.
    pub(super) fn join(&mut self, home: &NodeId, wire: &mut Wire) {
        self.join_again(home, 1, wire);
    }

    fn join_again(&mut self, home: &NodeId, attempts: u32, wire: &mut Wire) {
        let wanted = match &self.numbering {
            Some(numbering) => Requested::After {
                epoch: numbering.epoch.clone(),
                seq: numbering.seam.last(),
                term: numbering.term,
            },
            None => Requested::Tail(wire.history),
        };
        tracing::debug!(channel = %self.name, %home, attempts, ?wanted, "joining");
        let id = wire.request(home, &self.name, wanted);
        let request = Outstanding::new(id, home.clone(), attempts);
        match &mut self.phase {
            Phase::Joining(join) => {
                join.request = request;
                join.answer.clear();
            }
            phase => {
                *phase = Phase::Joining(Join {
                    request,
                    answer: Vec::new(),
                    live: Vec::new(),
                    live_bytes: 0,
                });
            }
        }
    }

    /// Takes a live block.
    pub(super) fn block(&mut self, block: Block, wire: &mut Wire) {
        let header = block.header.clone();
        if header.term < self.term() {
            return;
        }
        let is_waiting = matches!(self.phase, Phase::Waiting);
        self.note_term(&header, wire);
        let Some(run) = block.numbered() else {
            return;
        };
        if is_waiting && let Some(numbering) = &mut self.numbering {
            // What a home that is gone sent before, or one that will answer.
            if numbering.is_of(&header) {
                let mut steps = Vec::new();
                numbering.seam.offer(run, &mut steps);
                self.carry_out(steps, wire);
                return;
            }
        }
        match (&mut self.phase, &mut self.numbering) {
            (Phase::Joining(join), _) => join.hold(Part { header, run }),
            (Phase::Live, Some(numbering)) if numbering.epoch == header.epoch => {
                let mut steps = Vec::new();
                numbering.seam.offer(run, &mut steps);
                self.carry_out(steps, wire);
            }
            _ => {}
        }
    }

    /// Takes a live block whose messages cannot be read: they are asked for again.
    pub(super) fn unreadable(&mut self, header: &BlockHeader, wire: &mut Wire) {
        if header.term < self.term() || header.count == 0 {
            return;
        }
        self.note_term(header, wire);
        let mut steps = Vec::new();
        if let (Phase::Live, Some(numbering)) = (&self.phase, &mut self.numbering)
            && numbering.epoch == header.epoch
        {
            numbering.seam.missing(header.last_seq(), &mut steps);
        }
        self.carry_out(steps, wire);
    }

    /// Takes notice of the home and the numbering that a block or a head names.
    fn note_term(&mut self, header: &BlockHeader, wire: &mut Wire) {
        let is_news = match (&self.phase, &mut self.numbering) {
            (Phase::Joining(_), _) => false,
            (Phase::Waiting, _) | (Phase::Live, None) => true,
            (Phase::Live, Some(numbering)) => {
                // Of two numberings of two homes with one term, the one that is followed stays. In
                // a later term of the same numbering, the home is asked whether it gives numbers
                // that the mirror has passed.
                header.term > numbering.term
                    || header.term == numbering.term
                        && header.epoch != numbering.epoch
                        && header.home == numbering.home
            }
        };
        if is_news {
            self.join(&header.home, wire);
        }
    }

    /// Takes the last number that a home told.
    pub(super) fn head(&mut self, home: &NodeId, head: &Head, wire: &mut Wire) {
        if head.term < self.term() {
            return;
        }
        self.note_term(
            &BlockHeader {
                home: home.clone(),
                epoch: head.epoch.clone(),
                term: head.term,
                first_seq: head.last_seq + 1,
                count: 0,
                unix_ms: 0,
            },
            wire,
        );
        if let (Phase::Live, Some(numbering)) = (&self.phase, &mut self.numbering)
            && numbering.epoch == head.epoch
            && head.last_seq > numbering.seam.last()
        {
            let due = Instant::now() + HEAD_DELAY;
            let head_due = numbering.head.get_or_insert((head.last_seq, due));
            head_due.0 = head_due.0.max(head.last_seq);
        }
    }

    /// Returns whether the mirror has or has skipped all that its home told it of.
    pub(super) fn has_all(&self) -> bool {
        match (&self.phase, &self.numbering) {
            (Phase::Joining(_), _) => false,
            (Phase::Live, Some(numbering)) => {
                let last = numbering.seam.last();
                numbering.range.is_none() && numbering.head.is_none_or(|(seq, _)| seq <= last)
            }
            _ => true,
        }
    }

    /// Shows the line that a process is still writing.
    pub(super) fn partial(&self, epoch: &str, text: &[u8]) {
        let numbering = self.numbering.as_ref();
        if numbering.is_some_and(|numbering| numbering.epoch == epoch) {
            self.mirror.show_partial(text);
        }
    }

    /// Takes a part of the answer to a request.
    pub(super) fn answer(&mut self, id: u64, block: Block, wire: &mut Wire) {
        let header = block.header.clone();
        let Some(run) = block.numbered() else {
            return;
        };
        if let Phase::Joining(join) = &mut self.phase
            && join.request.id == id
        {
            join.answer.push(Part { header, run });
            return;
        }
        let mut steps = Vec::new();
        if let Some(numbering) = &mut self.numbering
            && numbering.epoch == header.epoch
            && numbering.is_asked(id)
        {
            let missing = run.first_seq().max(numbering.seam.last() + 1);
            let repaired = (run.last_seq() + 1).saturating_sub(missing);
            wire.counters.repaired.add(repaired);
            numbering.seam.offer(run, &mut steps);
        }
        self.carry_out(steps, wire);
    }

    /// Takes the end of the answer to a request.
    pub(super) fn answered(&mut self, from: &NodeId, answered: &Answered, wire: &mut Wire) {
        match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Joining(join) if join.request.id == answered.id => {
                self.joined(from, join, answered, wire);
            }
            phase => {
                self.phase = phase;
                self.range_answered(answered, wire);
            }
        }
    }

    /// Begins to take live messages behind those that the home had.
    fn joined(&mut self, from: &NodeId, join: Join, answered: &Answered, wire: &mut Wire) {
        tracing::debug!(channel = %self.name, ?answered, term = self.term(), "answered");
        if answered.term < self.term() {
            // An earlier home, which does not know it yet.
            return;
        }
        let Join {
            mut answer, live, ..
        } = join;
        answer.sort_unstable_by_key(|part| part.run.first_seq());
        answer.retain(|part| part.header.epoch == answered.epoch);
        let mut steps = Vec::new();
        let numbering = match &mut self.numbering {
            Some(numbering) if numbering.epoch == answered.epoch => {
                // What the home does not keep any more cannot be had.
                let first_kept = answered.first_kept.min(answered.last_seq + 1);
                numbering
                    .seam
                    .lost(first_kept.saturating_sub(1), &mut steps);
                numbering
            }
            other => {
                let first = answer.first().map(|part| part.run.first_seq());
                let base = first.map_or(answered.last_seq, |first| first - 1);
                // Subscriptions are told of it once its history is here.
                self.mirror.set_synced(false);
                self.mirror.renumber(&answered.epoch, base);
                other.insert(Numbering {
                    epoch: answered.epoch.clone(),
                    term: answered.term,
                    home: from.clone(),
                    seam: Seam::new(base),
                    delivered: base,
                    range: None,
                    head: None,
                })
            }
        };
        numbering.term = answered.term;
        numbering.home.clone_from(from);
        if let Some(range) = &mut numbering.range {
            // The answer to it may never come. It is asked for again at once.
            range.request.due = Instant::now();
            range.request.home.clone_from(from);
        }
        // An earlier home may have sent what no other node has. The answer has what is valid of it.
        let live = live
            .into_iter()
            .filter(|part| part.header.term >= answered.term);
        for part in answer.into_iter().chain(live) {
            if part.header.epoch == numbering.epoch {
                numbering.seam.offer(part.run, &mut steps);
            }
        }
        numbering.seam.missing(answered.last_seq, &mut steps);
        self.synced_at = Some(answered.last_seq);
        self.phase = Phase::Live;
        self.carry_out(steps, wire);
    }

    fn range_answered(&mut self, answered: &Answered, wire: &mut Wire) {
        let Some(numbering) = &mut self.numbering else {
            return;
        };
        let Some(range) = numbering
            .range
            .take_if(|range| range.request.id == answered.id)
        else {
            return;
        };
        let mut steps = Vec::new();
        if numbering.epoch != answered.epoch {
            numbering.seam.answered(&mut steps);
            self.carry_out(steps, wire);
            let home = range.request.home;
            return self.join(&home, wire);
        }
        let first_kept = answered.first_kept.min(range.to + 1);
        let before = first_kept.saturating_sub(1);
        numbering.seam.lost(before, &mut steps);
        let last = numbering.seam.last();
        if last < range.to {
            // The answer was cut, or a part of it got lost.
            let attempts = if last > range.last {
                1
            } else {
                range.request.attempts + 1
            };
            if attempts <= MAX_ATTEMPTS {
                numbering.ask(&self.name, range.to, attempts, wire);
            } else {
                numbering.seam.answered(&mut steps);
            }
        } else {
            numbering.seam.answered(&mut steps);
        }
        self.carry_out(steps, wire);
    }

    /// Goes on without the home, which is gone or does not answer.
    pub(super) fn home_gone(&mut self, wire: &mut Wire) {
        let mut steps = Vec::new();
        let phase = std::mem::replace(&mut self.phase, Phase::Waiting);
        if let Some(numbering) = &mut self.numbering {
            numbering.range = None;
            numbering.head = None;
            if let Phase::Joining(join) = phase {
                for part in join.answer.into_iter().chain(join.live) {
                    let is_next = part.run.first_seq() > numbering.seam.last();
                    if numbering.is_of(&part.header)
                        || part.header.epoch == numbering.epoch && is_next
                    {
                        numbering.term = numbering.term.max(part.header.term);
                        numbering.seam.offer(part.run, &mut steps);
                    }
                }
                steps.retain(|step| !matches!(step, Step::Ask(..)));
            }
            numbering.seam.give_up(&mut steps);
        }
        self.carry_out(steps, wire);
        self.answer_viewers();
    }

    /// Repeats requests that were not answered, and asks for what did not come.
    pub(super) fn keep_deadlines(&mut self, now: Instant, is_connected: bool, wire: &mut Wire) {
        if self.answer_by.is_some_and(|by| by <= now) {
            self.answer_viewers();
        }
        if !is_connected {
            // Everything is asked for again once it is.
            return;
        }
        match &self.phase {
            Phase::Joining(join) if join.request.due <= now => {
                let (home, attempts) = (join.request.home.clone(), join.request.attempts);
                if attempts < MAX_ATTEMPTS {
                    self.join_again(&home, attempts + 1, wire);
                } else {
                    tracing::warn!(channel = self.name.as_str(), %home, "the home does not answer");
                    self.home_gone(wire);
                }
                return;
            }
            Phase::Live => {}
            _ => return,
        }
        let mut steps = Vec::new();
        if let Some(numbering) = &mut self.numbering {
            if let Some((seq, _)) = numbering.head.take_if(|(_, due)| *due <= now) {
                numbering.seam.missing(seq, &mut steps);
            }
            if let Some(range) = numbering.range.take_if(|range| range.request.due <= now) {
                let attempts = range.request.attempts + 1;
                if attempts <= MAX_ATTEMPTS {
                    numbering.ask(&self.name, range.to, attempts, wire);
                } else {
                    numbering.seam.answered(&mut steps);
                }
            }
        }
        self.carry_out(steps, wire);
    }

    fn carry_out(&mut self, steps: Vec<Step>, wire: &mut Wire) {
        let Some(numbering) = &mut self.numbering else {
            return;
        };
        for step in steps {
            match step {
                Step::Publish(run) => {
                    let (first, last) = (run.first_seq(), run.last_seq());
                    wire.counters.lost.add(first - 1 - numbering.delivered);
                    wire.counters.imported.add(last - first + 1);
                    numbering.delivered = last;
                    self.mirror.publish(run);
                }
                Step::SkipTo(seq) => {
                    wire.counters.lost.add(seq - numbering.delivered);
                    numbering.delivered = seq;
                    self.mirror.skip_to(seq);
                }
                Step::Ask(_, to) => numbering.ask(&self.name, to, 1, wire),
            }
        }
        if self
            .synced_at
            .is_some_and(|seq| numbering.seam.last() >= seq)
        {
            self.synced_at = None;
            self.answer_viewers();
        }
    }

    /// Lets the subscribers have what the mirror has.
    pub(super) fn answer_viewers(&mut self) {
        self.answer_by = None;
        self.mirror.set_synced(true);
    }

    /// Keeps new subscribers waiting until the mirror has caught up again.
    pub(super) fn hold_back(&mut self) {
        self.mirror.set_synced(false);
    }
}

impl Numbering {
    /// Returns whether a block belongs to this numbering, in the term that is known.
    fn is_of(&self, header: &BlockHeader) -> bool {
        self.epoch == header.epoch && self.term == header.term
    }

    fn is_asked(&self, id: u64) -> bool {
        self.range
            .as_ref()
            .is_some_and(|range| range.request.id == id)
    }

    /// Asks for the messages behind the last one up to number `to`.
    fn ask(&mut self, channel: &ChannelName, to: u64, attempts: u32, wire: &mut Wire) {
        let last = self.seam.last();
        let wanted = Requested::Range {
            epoch: self.epoch.clone(),
            from: last + 1,
            to,
        };
        let id = wire.request(&self.home, channel, wanted);
        self.range = Some(Range {
            to,
            last,
            request: Outstanding::new(id, self.home.clone(), attempts),
        });
    }
}

impl Join {
    /// Holds a live part. The oldest ones make room, and are asked for afterwards.
    fn hold(&mut self, part: Part) {
        self.live_bytes += part.run.bytes();
        self.live.push(part);
        let mut excess = 0;
        while self.live_bytes > MAX_HELD_BYTES && excess + 1 < self.live.len() {
            self.live_bytes -= self.live[excess].run.bytes();
            excess += 1;
        }
        self.live.drain(..excess);
    }
}
