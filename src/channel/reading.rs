//! What a channel keeps of its past, for readers that are no subscribers.
//!
//! A request has its place in the channel's queue like a message: the answer has everything that
//! was published before it, and nothing that was published after.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::block::Block;
use super::history::{History, Keep};
use super::ingest::Entry;
use super::mirror::NumberedRun;
use super::{Channel, Run};
use crate::encode::Encoding;

/// The messages that are asked for of those that a channel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The last messages, at most this many.
    Tail(u64),
    /// The messages after this number.
    After(u64),
    /// The messages from the first to the last of these numbers.
    Range(u64, u64),
}

/// The answer to a reader.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The name of the numbering.
    pub(crate) epoch: Arc<String>,
    /// The number of the last message published.
    pub(crate) last: u64,
    /// The number of the oldest message that is kept.
    pub(crate) first_kept: Option<u64>,
    /// The messages that were asked for and are kept, in their order.
    pub(crate) runs: Vec<NumberedRun>,
    /// The number from which on to ask again if not all messages fitted.
    pub(crate) next: Option<u64>,
}

/// A reader that waits for its answer.
#[derive(Debug)]
pub(crate) struct Reading {
    wanted: Wanted,
    most_bytes: usize,
    answer: oneshot::Sender<Kept>,
}

impl Channel {
    /// Returns the kept messages that are asked for: all that was published before this call is
    /// seen. At most `most_bytes` bytes of messages, but at least one message if there is any.
    ///
    /// A message that was cut into pieces is returned whole if its first piece was asked for.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn read_history(self: &Arc<Self>, wanted: Wanted, most_bytes: usize) -> Kept {
        let (answer, answered) = oneshot::channel();
        self.push(Entry::Read(Box::new(Reading {
            wanted,
            most_bytes,
            answer,
        })));
        self.seal();
        // An entry is dropped without an answer only when handling it panicked.
        answered.await.unwrap_or_else(|_| Kept {
            epoch: self.epoch(),
            last: self.seq(),
            first_kept: None,
            runs: Vec::new(),
            next: None,
        })
    }
}

impl Channel {
    /// Returns the last kept messages, at most this many, as frames of [`Encoding::Local`]. All
    /// that was published before this call is seen.
    ///
    /// Takes no longer than a seal: it waits only for a thread that seals the channel right now.
    pub(crate) fn past(self: &Arc<Self>, messages: u64) -> Vec<Bytes> {
        let (answer, mut answered) = oneshot::channel();
        self.push(Entry::Read(Box::new(Reading {
            wanted: Wanted::Tail(messages),
            most_bytes: usize::MAX,
            answer,
        })));
        let runs = loop {
            self.seal();
            match answered.try_recv() {
                Ok(kept) => break kept.runs,
                // An entry is dropped without an answer only when handling it panicked.
                Err(TryRecvError::Closed) => break Vec::new(),
                Err(TryRecvError::Empty) => std::thread::yield_now(),
            }
        };
        let encode = |run: NumberedRun| run.encode(Encoding::Local, &self.profile.style);
        runs.into_iter().map(encode).collect()
    }
}

impl Reading {
    /// Answers from a history whose last message has number `last`.
    pub(super) fn answer(
        self,
        history: Option<&History>,
        keep: Keep,
        epoch: Arc<String>,
        last: u64,
    ) {
        let mut kept = Kept {
            epoch,
            last,
            first_kept: history.and_then(|history| history.oldest(keep)),
            runs: Vec::new(),
            next: None,
        };
        if let (Some(history), Some(oldest)) = (history, kept.first_kept) {
            let (from, to) = match self.wanted {
                Wanted::Tail(messages) => ((last + 1).saturating_sub(messages), last),
                Wanted::After(seq) => (seq.saturating_add(1), last),
                Wanted::Range(from, to) => (from, to.min(last)),
            };
            kept.next = collect(
                history,
                from.max(oldest),
                to,
                self.most_bytes,
                &mut kept.runs,
            );
        }
        // A reader that is gone needs no answer.
        let _ = self.answer.send(kept);
    }
}

/// Collects the messages from number `next` to number `to`. Returns the number of the first one
/// that did not fit.
fn collect(
    history: &History,
    mut next: u64,
    to: u64,
    most_bytes: usize,
    collected: &mut Vec<NumberedRun>,
) -> Option<u64> {
    let mut room = most_bytes;
    while next <= to
        && let Some(block) = history.find(next)
        && block.first_seq() <= to
    {
        next = next.max(block.first_seq());
        let end = block.last_seq().min(to) + 1;
        if room == 0 && !collected.is_empty() {
            return Some(next);
        }
        let is_first = collected.is_empty();
        let (run, after) = part(block, next, end, &mut room, is_first);
        collected.extend(run);
        if after < end {
            return Some(after);
        }
        next = after;
    }
    None
}

/// Copies the messages from number `from` to the one before `end`, as many as there is room for.
/// Returns them, and the number of the first one that was not copied. `at_least_one` message is
/// copied whatever the room.
fn part(
    block: &Block,
    from: u64,
    end: u64,
    room: &mut usize,
    at_least_one: bool,
) -> (Option<NumberedRun>, u64) {
    let mut runs: Vec<Run> = Vec::new();
    let mut next = from;
    let mut first = block.first_seq();
    for run in block.runs() {
        let after = first + run.messages() as u64;
        if next < after && next < end {
            let mut start = (next - first) as usize;
            let stop = (end.min(after) - first) as usize;
            let must = at_least_one && runs.is_empty();
            let mut taken = run.fitting(start..stop, *room);
            if taken == 0 && must {
                taken = run.fitting(start..stop, usize::MAX).min(run.least());
            }
            if taken == 0 {
                break;
            }
            let piece = run.part(start..start + taken);
            *room = room.saturating_sub(piece.bytes());
            runs.push(piece);
            start += taken;
            next = first + start as u64;
            if start < stop {
                *room = 0;
                break;
            }
        }
        first = after;
    }
    let run = (!runs.is_empty()).then(|| NumberedRun::new(from, *block.timestamp(), runs));
    (run, next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{channel_with, line};
    use super::*;
    use crate::config::Config;
    use crate::encode::Timestamp;
    use crate::message::{Lines, Message};

    const KEEP: Keep = Keep {
        messages: usize::MAX,
        bytes: usize::MAX,
        age: u64::MAX,
    };

    /// A block from number `first` on. Each message is its number, and each run has a kind.
    fn block(first: u64, runs: &[(u8, u64)]) -> Arc<Block> {
        let mut block = Block::with_capacity(runs.len());
        let mut next = first;
        for &(kind, messages) in runs {
            let numbers: Vec<String> = (next..next + messages).map(|seq| seq.to_string()).collect();
            next += messages;
            let run = match kind {
                // Shared and owned texts.
                0 => Run::Lines(Lines::split(numbers.join("\n"))),
                1 => Run::Lines(numbers.iter().collect()),
                2 if messages > 1 => {
                    Run::Pieces(numbers.into_iter().map(Message::output).collect())
                }
                _ => {
                    next = next - messages + 1;
                    Run::Line(numbers[0].clone().into())
                }
            };
            block.push(run);
        }
        block.seal(first, Timestamp::from_unix_millis(0), 0);
        Arc::new(block)
    }

    fn texts(run: &Run) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let of = |message: &Message| match message.data() {
            crate::message::Data::Text(bytes) => text(bytes),
            other => panic!("{other:?}"),
        };
        match run {
            Run::Line(line) => vec![text(line)],
            Run::Lines(lines) => lines.iter().map(text).collect(),
            Run::Message(message) => vec![of(message)],
            Run::Pieces(pieces) => pieces.iter().map(of).collect(),
        }
    }

    /// Asserts that each message has the number that it says, and returns the numbers.
    fn numbers(runs: &[NumberedRun]) -> Vec<u64> {
        let mut all = Vec::new();
        for run in runs {
            let said: Vec<u64> = (run.runs().iter().flat_map(texts))
                .map(|text| text.parse().expect("a number"))
                .collect();
            assert_eq!(said, (run.first_seq()..=run.last_seq()).collect::<Vec<_>>());
            all.extend(said);
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_asked_for_comes_whole_and_in_order_however_little_fits(
            blocks in prop::collection::vec(
                (0..3u64, prop::collection::vec((0..4u8, 1..6u64), 1..5)), 1..8),
            from in 0..60u64,
            len in 0..60u64,
            most_bytes in 0..40usize,
        ) {
            let mut history = History::default();
            let (mut seq, mut held, mut pieces) = (0, Vec::new(), Vec::new());
            for (dropped, runs) in blocks {
                let block = block(seq + 1 + dropped, &runs);
                let mut first = block.first_seq();
                for run in block.runs() {
                    if let Run::Pieces(run) = run {
                        pieces.push(first..first + run.len() as u64);
                    }
                    first += run.messages() as u64;
                }
                held.extend(block.first_seq()..=block.last_seq());
                seq = block.last_seq();
                history.append(block, KEEP, 0);
            }
            let to = (from + len).min(seq);
            let (mut runs, mut next) = (Vec::new(), Some(from.max(1)));
            while let Some(at) = next {
                let mut some = Vec::new();
                next = collect(&history, at, to, most_bytes, &mut some);
                prop_assert!(!some.is_empty() || next.is_none(), "it does not stand still");
                runs.extend(some);
            }
            let read = numbers(&runs);
            // The pieces of a message are not cut at the end.
            let cut = pieces.iter().find(|piece| piece.contains(&to) && piece.end - 1 > to);
            let end = match cut {
                Some(piece) if from <= to => piece.end - 1,
                _ => to,
            };
            let wanted = |seq: &u64| from <= *seq && *seq <= end;
            prop_assert_eq!(read, held.iter().copied().filter(wanted).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_reader_sees_all_that_was_published_before_it_asked() {
        let channel = channel_with(Config {
            history: 3,
            ..Config::default()
        });
        for text in ["1", "2", "3", "4"] {
            channel.publish(line(text));
        }
        let kept = channel.read_history(Wanted::Tail(2), usize::MAX).await;
        assert_eq!((kept.last, kept.first_kept, kept.next), (4, Some(2), None));
        assert_eq!(kept.epoch, channel.epoch());
        assert_eq!(numbers(&kept.runs), [3, 4]);
        let all = channel.read_history(Wanted::After(0), usize::MAX).await;
        assert_eq!(numbers(&all.runs), [2, 3, 4]);
        let one = channel.read_history(Wanted::Range(2, 3), 1).await;
        assert_eq!((numbers(&one.runs), one.next), (vec![2], Some(3)));
        let none = channel.read_history(Wanted::Range(3, 2), usize::MAX).await;
        assert!(none.runs.is_empty() && none.next.is_none());
        let bare = channel_with(Config::default());
        let none = bare.read_history(Wanted::Tail(9), usize::MAX).await;
        assert_eq!((none.last, none.first_kept, none.runs.len()), (0, None, 0));
    }
}
