//! Stage 2's product: a run of messages of one channel, sealed, numbered, and encoded when the
//! first subscriber needs it.

use std::ops::Range;
use std::sync::OnceLock;

use bytes::Bytes;

use super::epoch::Epoch;
use super::ingest::Waiting;
use super::joining::JoiningBuilder;
use super::open_piece::OpenPiece;
use crate::encode::{
    BatchBuilder, DetailBuilder, Encoding, Envelope, EventsBuilder, Frames, FramesBuilder,
    LineDetail, LocalBuilder, TextBuilder, Timestamp,
};
use crate::message::{Lines, Message};
use crate::sync::{AtomicUsize, Ordering};

/// The messages of one push, in their order, raw.
#[derive(Clone, Debug)]
pub(crate) enum Run {
    /// One line of output.
    Line(Bytes),
    /// A run of lines of output.
    Lines(Lines),
    /// Any other message.
    Message(Box<Message>),
    /// The pieces of a message with a line that was too long, at least two.
    Pieces(Vec<Message>),
}

impl Run {
    pub(crate) fn messages(&self) -> usize {
        match self {
            Self::Line(_) | Self::Message(_) => 1,
            Self::Lines(lines) => lines.len(),
            Self::Pieces(pieces) => pieces.len(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Lines(lines) => lines.byte_len(),
            Self::Message(message) => message.size_hint(),
            Self::Pieces(pieces) => pieces.iter().map(Message::size_hint).sum(),
        }
    }

    /// Drops the first messages. There must be more of them.
    pub(crate) fn without_first(self, messages: usize) -> Self {
        match self {
            Self::Lines(lines) if messages > 0 => Self::Lines(lines.without_first(messages)),
            Self::Pieces(mut pieces) if messages > 0 => {
                pieces.drain(..messages);
                Self::of_pieces(pieces)
            }
            run => run,
        }
    }

    /// Makes a run of the last pieces of a message, at least one.
    fn of_pieces(mut pieces: Vec<Message>) -> Self {
        match pieces.pop() {
            // The last piece is not continued, as other messages are not.
            Some(last) if pieces.is_empty() => Self::Message(Box::new(last)),
            last => {
                pieces.extend(last);
                Self::Pieces(pieces)
            }
        }
    }

    /// Returns how many of some messages, by their indexes, fit into `room` bytes. The pieces of
    /// one message fit together or not at all, whatever the end of the range.
    pub(super) fn fitting(&self, wanted: Range<usize>, room: usize) -> usize {
        match self {
            Self::Lines(lines) => {
                let mut bytes = 0;
                let lens = lines.line_lens().skip(wanted.start).take(wanted.len());
                lens.take_while(|len| {
                    bytes += len;
                    bytes <= room
                })
                .count()
            }
            Self::Pieces(pieces) => {
                let rest = &pieces[wanted.start..];
                let bytes: usize = rest.iter().map(Message::size_hint).sum();
                if bytes <= room { rest.len() } else { 0 }
            }
            run => usize::from(run.bytes() <= room),
        }
    }

    /// Returns how many messages it has at least if it is not cut any further.
    pub(super) fn least(&self) -> usize {
        match self {
            Self::Pieces(pieces) => pieces.len(),
            _ => 1,
        }
    }

    /// Copies some of the messages, by their indexes. A range within the pieces of a message must
    /// end with the last one.
    pub(super) fn part(&self, wanted: Range<usize>) -> Self {
        match self {
            Self::Lines(lines) => Self::Lines(lines.part(wanted)),
            Self::Pieces(pieces) => Self::of_pieces(pieces[wanted].to_vec()),
            run => run.clone(),
        }
    }
}

/// The settings that all encodings of a channel's blocks share.
#[derive(Debug)]
pub(crate) struct Style {
    pub(crate) envelope: Envelope,
    /// The name of the channel's numbering.
    pub(super) epoch: Epoch,
    /// The most lines in one batch frame.
    pub(crate) batch_lines: usize,
    /// The most bytes of one message.
    pub(crate) max_message: usize,
}

/// A block in one encoding.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) frames: Frames,
    /// The indexes of the frames that may use a client's reserve, ascending.
    pub(crate) reserved: Vec<u32>,
}

/// The encodings of a block, each made at most once.
#[derive(Debug, Default)]
struct Encodings {
    json: OnceLock<Encoded>,
    /// Made for the few blocks that have one of these.
    others: OnceLock<Box<[OnceLock<Encoded>; 6]>>,
}

impl Encodings {
    #[inline]
    fn slot(&self, encoding: Encoding) -> &OnceLock<Encoded> {
        let others = || self.others.get_or_init(Box::default);
        match encoding {
            Encoding::Json => &self.json,
            Encoding::Batch => &others()[0],
            Encoding::Text => &others()[1],
            Encoding::Events => &others()[2],
            Encoding::Detail => &others()[3],
            Encoding::DetailBatch => &others()[4],
            Encoding::Local => &others()[5],
        }
    }
}

/// A run of messages. It is immutable once sealed, and each of its encodings is made at most once.
#[derive(Debug)]
pub(crate) struct Block {
    runs: Vec<Run>,
    messages: usize,
    bytes: usize,
    first_seq: u64,
    timestamp: Timestamp,
    /// The time of the seal, in nanoseconds since the hub began.
    sealed_at: u64,
    /// The indexes of the messages that may use a client's reserve, ascending.
    reserved: Vec<u32>,
    /// The piece that was the last line before this block.
    after: OpenPiece,
    encodings: Encodings,
    /// Bytes of all encodings. Only the sealer writes this and `charged`: Relaxed.
    encoded_bytes: AtomicUsize,
    /// The bytes that a history has charged for this block.
    charged: AtomicUsize,
}

impl Block {
    pub(crate) fn with_capacity(runs: usize) -> Self {
        Self {
            runs: Vec::with_capacity(runs),
            messages: 0,
            bytes: 0,
            first_seq: 0,
            timestamp: Timestamp::from_unix_millis(0),
            sealed_at: 0,
            reserved: Vec::new(),
            after: OpenPiece::None,
            encodings: Encodings::default(),
            encoded_bytes: AtomicUsize::new(0),
            charged: AtomicUsize::new(0),
        }
    }

    pub(crate) fn push(&mut self, run: Run) {
        if let Run::Message(message) = &run
            && message.is_reserved()
        {
            self.reserved.push(self.messages as u32);
        }
        self.messages += run.messages();
        self.bytes += run.bytes();
        self.runs.push(run);
    }

    /// Gives the block its numbers and its times.
    pub(crate) fn seal(&mut self, first_seq: u64, timestamp: Timestamp, at: u64) {
        self.first_seq = first_seq;
        self.timestamp = timestamp;
        self.sealed_at = at;
    }

    /// Takes note of the piece that was the last line before this block. Returns the one that is
    /// the last line of it.
    pub(super) fn follow(&mut self, after: OpenPiece) -> OpenPiece {
        self.after = after;
        let last = self.runs.iter().rev().find_map(OpenPiece::after);
        last.unwrap_or(after)
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub(super) fn into_runs(self) -> Vec<Run> {
        self.runs
    }

    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    /// Returns the size of the raw messages in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn waiting(&self) -> Waiting {
        Waiting {
            messages: self.messages,
            bytes: self.bytes,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub(crate) fn has_reserved(&self) -> bool {
        !self.reserved.is_empty()
    }

    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// Returns the number of the last message. The block must not be empty.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + self.messages as u64 - 1
    }

    pub(crate) fn sealed_at(&self) -> u64 {
        self.sealed_at
    }

    pub(crate) fn timestamp(&self) -> &Timestamp {
        &self.timestamp
    }

    /// Returns about how many bytes the block takes in memory.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>()
            + self.runs.capacity() * size_of::<Run>()
            // The span of each line in its run.
            + self.messages * 8
            + self.bytes
            + self.encoded_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn charged(&self) -> usize {
        self.charged.load(Ordering::Relaxed)
    }

    pub(crate) fn charge(&self, bytes: usize) {
        self.charged.store(bytes, Ordering::Relaxed);
    }

    /// Returns the whole block in an encoding, which is made now if no subscriber needed it before.
    // Inlined into the fan-out, where all subscribers but one find the encoding made.
    #[inline]
    pub(crate) fn encoded(&self, encoding: Encoding, style: &Style) -> &Encoded {
        match self.encodings.slot(encoding).get() {
            Some(encoded) => encoded,
            None => self.encode_whole(encoding, style),
        }
    }

    /// Makes the encoding of the whole block.
    #[cold]
    #[inline(never)]
    fn encode_whole(&self, encoding: Encoding, style: &Style) -> &Encoded {
        self.encodings.slot(encoding).get_or_init(|| {
            let frames = self.encode(encoding, style, 0..self.messages);
            let reserved = self
                .reserved
                .iter()
                .map(|&index| frames.frame_of(index as usize) as u32)
                .collect();
            self.encoded_bytes
                .fetch_add(frames.byte_len() + 4 * frames.len(), Ordering::Relaxed);
            Encoded { frames, reserved }
        })
    }

    /// Encodes a part of the block for one subscriber, where a replay begins or ends within a frame
    /// of several messages.
    pub(crate) fn encode(
        &self,
        encoding: Encoding,
        style: &Style,
        messages: Range<usize>,
    ) -> Frames {
        let (count, bytes) = (messages.len(), self.bytes);
        let first_seq = self.first_seq + messages.start as u64;
        let (envelope, timestamp) = (&style.envelope, &self.timestamp);
        match encoding {
            Encoding::Json => {
                let builder = JsonBuilder {
                    frames: FramesBuilder::with_capacity(count, bytes),
                    envelope,
                    timestamp,
                };
                self.build(messages, builder)
            }
            Encoding::Batch | Encoding::DetailBatch => {
                let lines = style.batch_lines;
                let builder =
                    BatchBuilder::new(envelope, timestamp, first_seq, lines, count, bytes)
                        .with_max_payload(style.max_message);
                if encoding == Encoding::Batch {
                    self.build(messages, builder)
                } else {
                    self.build(messages, DetailBatchBuilder(builder.with_detail()))
                }
            }
            Encoding::Detail => {
                let builder = DetailBuilder::new(envelope, timestamp, first_seq, count, bytes);
                self.build(messages, builder)
            }
            Encoding::Local => {
                let builder = LocalBuilder::new(timestamp, first_seq, count, bytes);
                self.build(messages, builder)
            }
            Encoding::Text => {
                let builder = JoiningBuilder::new(TextBuilder::new(count, bytes), self.after);
                self.build(messages, builder)
            }
            Encoding::Events => {
                let epoch = &*style.epoch.name();
                let builder =
                    EventsBuilder::new(envelope, timestamp, epoch, first_seq, count, bytes);
                self.build(messages, builder)
            }
        }
    }

    /// Pushes some of the messages, by their indexes in the block, into a builder.
    fn build(&self, messages: Range<usize>, mut builder: impl Build) -> Frames {
        let Range { mut start, end } = messages;
        let mut first = 0;
        for run in &self.runs {
            let after = first + run.messages();
            if start < after && first < end {
                match run {
                    Run::Line(line) => builder.line(line),
                    Run::Message(message) => builder.message(message),
                    Run::Lines(lines) => {
                        builder.lines(lines, start - first..after.min(end) - first);
                    }
                    Run::Pieces(pieces) => {
                        for index in start - first..after.min(end) - first {
                            let continued = index + 1 < pieces.len();
                            builder.piece(&pieces[index], continued);
                        }
                    }
                }
                start = after;
            }
            first = after;
        }
        builder.build()
    }
}

/// The builder of one encoding.
pub(super) trait Build {
    fn line(&mut self, line: &[u8]);
    fn message(&mut self, message: &Message);
    fn build(self) -> Frames;

    /// Appends some of the lines of a run, by their indexes in it.
    fn lines(&mut self, lines: &Lines, wanted: Range<usize>) {
        lines
            .iter()
            .skip(wanted.start)
            .take(wanted.len())
            .for_each(|line| self.line(line));
    }

    /// Appends one piece of a line. `continued` says whether it goes on in the next message.
    fn piece(&mut self, message: &Message, _continued: bool) {
        self.message(message);
    }
}

/// Calls `push` with some of the lines of a run and what is known of each.
pub(super) fn for_each_detailed(
    lines: &Lines,
    wanted: Range<usize>,
    mut push: impl FnMut(&[u8], LineDetail),
) {
    let first = lines
        .continued()
        .partition_point(|&index| (index as usize) < wanted.start);
    let mut continued = lines.continued()[first..].iter().peekable();
    let text = lines.iter().skip(wanted.start);
    for (index, line) in wanted.zip(text) {
        let detail = LineDetail {
            stream: lines.stream(),
            past: lines.is_past(),
            continued: continued.next_if(|&&next| next as usize == index).is_some(),
        };
        push(line, detail);
    }
}

fn piece_detail(continued: bool) -> LineDetail {
    LineDetail {
        continued,
        ..LineDetail::default()
    }
}

impl Build for DetailBuilder<'_> {
    fn line(&mut self, line: &[u8]) {
        self.push_line(line, LineDetail::default());
    }

    fn message(&mut self, message: &Message) {
        self.push_message(message, LineDetail::default());
    }

    fn lines(&mut self, lines: &Lines, wanted: Range<usize>) {
        for_each_detailed(lines, wanted, |line, detail| self.push_line(line, detail));
    }

    fn piece(&mut self, message: &Message, continued: bool) {
        self.push_message(message, piece_detail(continued));
    }

    fn build(self) -> Frames {
        self.finish()
    }
}

impl Build for LocalBuilder<'_> {
    fn line(&mut self, line: &[u8]) {
        self.push_line(line, LineDetail::default());
    }

    fn message(&mut self, message: &Message) {
        self.push_message(message, LineDetail::default());
    }

    fn lines(&mut self, lines: &Lines, wanted: Range<usize>) {
        for_each_detailed(lines, wanted, |line, detail| self.push_line(line, detail));
    }

    fn piece(&mut self, message: &Message, continued: bool) {
        self.push_message(message, piece_detail(continued));
    }

    fn build(self) -> Frames {
        self.finish()
    }
}

/// Builds batches with detail.
struct DetailBatchBuilder<'a>(BatchBuilder<'a>);

impl Build for DetailBatchBuilder<'_> {
    fn line(&mut self, line: &[u8]) {
        self.0.push_detailed_line(line, LineDetail::default());
    }

    fn message(&mut self, message: &Message) {
        self.0.push_message(message);
    }

    fn lines(&mut self, lines: &Lines, wanted: Range<usize>) {
        for_each_detailed(lines, wanted, |line, detail| {
            self.0.push_detailed_line(line, detail);
        });
    }

    fn piece(&mut self, message: &Message, continued: bool) {
        self.0
            .push_detailed_message(message, piece_detail(continued));
    }

    fn build(self) -> Frames {
        self.0.finish()
    }
}

/// Builds one JSON frame for each message.
struct JsonBuilder<'a> {
    frames: FramesBuilder,
    envelope: &'a Envelope,
    timestamp: &'a Timestamp,
}

impl Build for JsonBuilder<'_> {
    fn line(&mut self, line: &[u8]) {
        self.frames.push_line(self.envelope, line, self.timestamp);
    }

    fn message(&mut self, message: &Message) {
        self.frames
            .push_message(self.envelope, message, self.timestamp);
    }

    fn build(self) -> Frames {
        self.frames.finish()
    }
}

macro_rules! impl_build {
    ($($builder:ty),*) => {$(
        impl Build for $builder {
            fn line(&mut self, line: &[u8]) {
                self.push_line(line);
            }

            fn message(&mut self, message: &Message) {
                self.push_message(message);
            }

            fn build(self) -> Frames {
                self.finish()
            }
        }
    )*};
}

impl_build!(BatchBuilder<'_>, EventsBuilder<'_>);
