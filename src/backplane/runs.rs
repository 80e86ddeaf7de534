//! Messages on their way between hubs: what they are made of.

use bytes::Bytes;

use crate::channel::{Export, PendingRun, Run, SealedExport, mirror};
use crate::encode::Timestamp;
use crate::message::{ChannelName, Lines, Message};
use crate::unsent::Pending;

/// Messages of one channel in their order, without numbers.
///
/// ```
/// use outrace::backplane::{Part, Runs};
/// use outrace::{Lines, Message};
///
/// let mut runs = Runs::new();
/// runs.push_lines(Lines::split("one\ntwo\n"));
/// runs.push_message(Message::output("three"));
/// assert_eq!((runs.messages(), runs.bytes() >= 11), (3, true));
/// assert!(matches!(runs.parts().next(), Some(Part::Lines(lines)) if lines.len() == 2));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Runs(pub(super) Vec<Run>);

/// Some messages that were published together.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Part<'a> {
    /// One line of output.
    Line(&'a Bytes),
    /// Lines of output, at least one.
    Lines(&'a Lines),
    /// A message of any type.
    Message(&'a Message),
    /// The pieces of a message whose text was too long for one, at least two. Each of them is a
    /// message with a number of its own, and all but the last one go on in the next.
    Pieces(&'a [Message]),
}

impl<'a> Part<'a> {
    pub(super) fn of(run: &'a Run) -> Self {
        match run {
            Run::Line(line) => Self::Line(line),
            Run::Lines(lines) => Self::Lines(lines),
            Run::Message(message) => Self::Message(message),
            Run::Pieces(pieces) => Self::Pieces(pieces),
        }
    }

    /// Returns the number of its messages.
    pub fn messages(&self) -> usize {
        match self {
            Self::Line(_) | Self::Message(_) => 1,
            Self::Lines(lines) => lines.len(),
            Self::Pieces(pieces) => pieces.len(),
        }
    }
}

impl Runs {
    /// Creates an empty sequence.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one line of output.
    pub fn push_line(&mut self, line: Bytes) {
        self.0.push(Run::Line(line));
    }

    /// Adds lines of output. Does nothing when there are none.
    pub fn push_lines(&mut self, lines: Lines) {
        if !lines.is_empty() {
            self.0.push(Run::Lines(lines));
        }
    }

    /// Adds a message of any type.
    pub fn push_message(&mut self, message: Message) {
        self.0.push(Run::Message(Box::new(message)));
    }

    /// Adds the pieces of a message whose text was too long for one. A single piece is a message
    /// like any other.
    pub fn push_pieces(&mut self, mut pieces: Vec<Message>) {
        match pieces.len() {
            0 => {}
            1 => pieces.drain(..).for_each(|piece| self.push_message(piece)),
            _ => self.0.push(Run::Pieces(pieces)),
        }
    }

    /// Returns the messages, as they were published.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.iter().map(Part::of)
    }

    /// Returns the number of messages.
    pub fn messages(&self) -> usize {
        self.0.iter().map(Run::messages).sum()
    }

    /// Returns the size of the messages in bytes, without their encoding.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Run::bytes).sum()
    }

    /// Returns whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Consecutive messages of one channel, with the number and the time that their home gave them.
#[derive(Debug)]
pub struct NumberedRun(pub(super) mirror::NumberedRun);

impl NumberedRun {
    /// Creates a run of lines. The first one has number `first_seq`. `unix_ms` is the time in
    /// milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Panics
    /// Panics when there is no line, or when `first_seq` is 0.
    pub fn lines(first_seq: u64, unix_ms: i64, lines: Lines) -> Self {
        assert!(!lines.is_empty(), "a run of lines has a line");
        Self::new(first_seq, unix_ms, vec![Run::Lines(lines)])
    }

    /// Creates a run of one message of any type.
    ///
    /// # Panics
    /// Panics when `seq` is 0.
    pub fn message(seq: u64, unix_ms: i64, message: Message) -> Self {
        Self::new(seq, unix_ms, vec![Run::Message(Box::new(message))])
    }

    /// Gives numbers and a time to messages. The first one gets number `first_seq`. `unix_ms` is
    /// the time in milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// Returns `None` when there is no message, when `first_seq` is 0, and when the last number
    /// would exceed a `u64`.
    pub fn from_runs(first_seq: u64, unix_ms: i64, runs: Runs) -> Option<Self> {
        let messages = runs.messages() as u64;
        let is_valid = messages > 0 && first_seq > 0 && first_seq.checked_add(messages).is_some();
        is_valid.then(|| Self::new(first_seq, unix_ms, runs.0))
    }

    fn new(first_seq: u64, unix_ms: i64, runs: Vec<Run>) -> Self {
        assert!(first_seq > 0, "messages are numbered from 1");
        let timestamp = Timestamp::from_unix_millis(unix_ms);
        Self(mirror::NumberedRun::new(first_seq, timestamp, runs))
    }

    /// Returns the number of the first message.
    pub fn first_seq(&self) -> u64 {
        self.0.first_seq()
    }

    /// Returns the number of the last message.
    pub fn last_seq(&self) -> u64 {
        self.0.last_seq()
    }

    /// Returns the time of the messages, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_ms(&self) -> i64 {
        self.0.unix_ms()
    }

    /// Returns the messages, as they were published.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.runs().iter().map(Part::of)
    }

    /// Returns the size of the messages in bytes, without their encoding.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Drops the messages up to number `last_seq`. Returns `None` if none is left.
    pub fn after(self, last_seq: u64) -> Option<Self> {
        self.0.after(last_seq).map(Self)
    }
}

/// Messages that were published here to a channel whose home is elsewhere, or not known yet. They
/// come from [`Node::take_pending`](super::Node::take_pending).
///
/// They count towards the bound on such messages until this value is dropped, so it is to be kept
/// until the home has acknowledged them. A hub that shuts down waits for them until then.
#[derive(Debug)]
pub struct LocalRuns(pub(super) Vec<PendingRun>);

impl LocalRuns {
    /// Returns the messages, as they were published.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.iter().map(|run| Part::of(run.run()))
    }

    /// Returns the number of messages.
    pub fn messages(&self) -> usize {
        self.0.iter().map(|run| run.run().messages()).sum()
    }

    /// Returns the size of the messages in bytes, without their encoding.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|run| run.run().bytes()).sum()
    }
}

/// What a hub has for other nodes. Made by [`Node::exported`](super::Node::exported).
///
/// A hub that shuts down waits until each of these is dropped, so it is to be kept until it is sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exported {
    /// Messages that a home has numbered.
    Block(SealedBlock),
    /// The line that a process is still writing, of a channel whose home is here.
    Partial {
        /// The channel.
        channel: ChannelName,
        /// The text. Empty when there is no unfinished line any more.
        text: Bytes,
    },
    /// A message to every client of every node. [`Node::broadcast`](super::Node::broadcast) delivers
    /// it elsewhere.
    Broadcast(Broadcast),
}

impl Exported {
    pub(super) fn new(export: Export) -> Self {
        match export {
            Export::Block(sealed) => Self::Block(SealedBlock(sealed)),
            Export::Partial { channel, text } => Self::Partial { channel, text },
            Export::Broadcast { message, unsent } => Self::Broadcast(Broadcast {
                message,
                _unsent: unsent,
            }),
        }
    }
}

/// A message to every client of every node.
#[derive(Debug)]
pub struct Broadcast {
    message: Message,
    _unsent: Pending,
}

impl Broadcast {
    /// Returns the message.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

/// Messages that a home numbered at one time.
///
/// They share the memory of the channel's history.
#[derive(Debug)]
pub struct SealedBlock(SealedExport);

impl SealedBlock {
    /// Returns the channel.
    pub fn channel(&self) -> &ChannelName {
        &self.0.channel
    }

    /// Returns the name of the numbering.
    pub fn epoch(&self) -> &str {
        &self.0.epoch
    }

    /// Returns the number of the first message.
    pub fn first_seq(&self) -> u64 {
        self.0.block.first_seq()
    }

    /// Returns the number of the last message.
    pub fn last_seq(&self) -> u64 {
        self.0.block.last_seq()
    }

    /// Returns the time of the messages, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn unix_ms(&self) -> i64 {
        self.0.block.timestamp().unix_millis()
    }

    /// Returns the number of messages.
    pub fn messages(&self) -> usize {
        self.0.block.len()
    }

    /// Returns the size of the messages in bytes, without their encoding.
    pub fn bytes(&self) -> usize {
        self.0.block.bytes()
    }

    /// Returns the messages, as they were published.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.block.runs().iter().map(Part::of)
    }
}
