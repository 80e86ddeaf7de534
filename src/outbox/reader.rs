//! The consumer's side of an outbox, and its contract.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::{Outbox, Parcel, Used};

/// The parcels that the one consumer of an outbox has taken and not yet written.
///
/// The consumer keeps to this order in each poll:
///
/// 1. It calls [`Outbox::register`] before it looks at anything.
/// 2. It takes what waits with [`take_or_sleep`](Self::take_or_sleep).
/// 3. It releases the room of what was written, by [`advance`](Self::advance) or
///    [`release`](Self::release). Until then the parcels stay on the client's account.
/// 4. When nothing is left it calls [`drained`](Self::drained), and does what that returns.
#[derive(Debug, Default)]
pub(crate) struct OutboxReader {
    taken: VecDeque<Parcel>,
    /// Bytes of the first parcel that are written.
    begun: usize,
    /// The parcels in hand were counted as discarded.
    abandoned: bool,
}

/// The requests that a consumer answers after it has written everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drained {
    /// A publisher waits for room: it is to be notified.
    pub(crate) awaited: bool,
    /// A subscription has something pending: its channel is to be resumed, and the outbox to be
    /// looked at again.
    pub(crate) pending: bool,
}

impl OutboxReader {
    /// Takes all that waits, without a request to be woken. Returns whether anything is in hand.
    #[cfg(any(test, fuzzing, feature = "internals"))]
    pub(crate) fn take(&mut self, outbox: &Outbox) -> bool {
        if !self.abandoned {
            outbox.take(&mut self.taken);
        }
        !self.taken.is_empty()
    }

    /// Takes all that waits. Returns false when nothing is in hand, and then the next push wakes
    /// the registered task.
    pub(crate) fn take_or_sleep(&mut self, outbox: &Outbox) -> bool {
        if !self.abandoned {
            outbox.take(&mut self.taken);
            if self.taken.is_empty() {
                outbox.take_or_sleep(&mut self.taken);
            }
        }
        !self.taken.is_empty()
    }

    /// Fills `slices` with the unwritten bytes in hand, up to about `max_bytes`. Returns the number
    /// of slices.
    pub(crate) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>], max_bytes: usize) -> usize {
        let mut count = 0;
        let mut bytes = 0;
        let mut skip = self.begun;
        for (slice, parcel) in slices.iter_mut().zip(&self.taken) {
            *slice = IoSlice::new(&parcel.bytes[skip..]);
            bytes += parcel.bytes.len() - skip;
            count += 1;
            skip = 0;
            if bytes >= max_bytes {
                break;
            }
        }
        count
    }

    /// Takes off `written` bytes and releases the room of the parcels that are complete. Returns
    /// the messages and bytes released, which are none after [`abandon`](Self::abandon).
    pub(crate) fn advance(&mut self, outbox: &Outbox, written: usize) -> Used {
        let mut end = self.begun + written;
        let mut done = Used::default();
        while let Some(parcel) = self.taken.front()
            && end >= parcel.bytes.len()
        {
            end -= parcel.bytes.len();
            if parcel.messages > 0 {
                done += parcel.weight();
            }
            self.taken.pop_front();
        }
        self.begun = end;
        if self.abandoned {
            return Used::default();
        }
        self.release(outbox, done);
        done
    }

    /// Removes the first parcel in hand. It stays on the client's account until
    /// [`release`](Self::release).
    pub(crate) fn pop(&mut self) -> Option<Parcel> {
        self.taken.pop_front()
    }

    /// Releases the room of written parcels.
    pub(crate) fn release(&self, outbox: &Outbox, written: Used) {
        if written.messages > 0 {
            outbox.release(written);
        }
    }

    /// Returns the requests that wait for the moment in which everything is written, which is now.
    pub(crate) fn drained(&mut self, outbox: &Outbox) -> Drained {
        // An idle client keeps no memory for parcels.
        self.taken = VecDeque::new();
        Drained {
            awaited: outbox.take_awaited(),
            pending: outbox.take_pending(),
        }
    }

    /// Moves control frames, which are not on the client's account, to the next boundary between
    /// parcels. Leaves them where they are when such frames are in hand already.
    pub(crate) fn insert_control(&mut self, frames: &mut Vec<u8>) {
        if self.taken.iter().take(2).any(|parcel| parcel.messages == 0) {
            return;
        }
        let place = usize::from(self.begun > 0);
        self.taken.insert(
            place,
            Parcel {
                bytes: Bytes::from(std::mem::take(frames)),
                messages: 0,
            },
        );
    }

    /// Drops the parcels whose writing has not begun, after the outbox was closed: nothing in hand
    /// is on the client's account any more. Control frames stay, since the answer to the peer's
    /// close frame may be among them.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
        let mut begun = self.begun > 0;
        self.taken
            .retain(|parcel| std::mem::take(&mut begun) || parcel.messages == 0);
    }

    /// Returns whether nothing is in hand.
    #[cfg(any(fuzzing, feature = "internals"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use proptest::prelude::*;

    use super::super::QueueLimits;
    use super::*;

    const LIMITS: QueueLimits = QueueLimits {
        messages: 1000,
        bytes: 1 << 20,
    };

    proptest! {
        /// Whatever the socket takes at a time, each byte is written once and in order, control
        /// frames stand between parcels, and the account is empty at the end.
        #[test]
        fn bytes_leave_in_order_and_release_their_room(
            sizes in prop::collection::vec(0..40usize, 1..30),
            steps in prop::collection::vec((1..60usize, any::<bool>()), 1..20),
        ) {
            let outbox = Outbox::new(LIMITS);
            let mut expected = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let frame = vec![index as u8 + 1; *size];
                expected.extend_from_slice(&frame);
                outbox.offer_frame(Bytes::from(frame));
            }
            let mut reader = OutboxReader::default();
            let (mut written, mut control) = (Vec::new(), 0);
            let mut released = Used::default();
            for (room, ping) in steps.iter().copied().cycle() {
                if ping && control < 5 {
                    let mut frames = vec![0; 3];
                    reader.insert_control(&mut frames);
                    control += usize::from(frames.is_empty());
                }
                if !reader.take(&outbox) {
                    break;
                }
                let mut slices = [IoSlice::new(&[]); 4];
                let count = reader.fill(&mut slices, 64);
                let bytes: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
                let n = room.min(bytes.len());
                written.extend_from_slice(&bytes[..n]);
                released += reader.advance(&outbox, n);
            }
            let (zeros, messages): (Vec<u8>, Vec<u8>) =
                written.iter().partition(|byte| **byte == 0);
            prop_assert_eq!(zeros.len(), 3 * control);
            prop_assert_eq!(&messages, &expected);
            let mut at = 0;
            for run in written.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
                at += run.len();
                if run[0] == 0 && at < written.len() {
                    prop_assert_eq!(run.len() % 3, 0, "control frames stand whole");
                }
            }
            prop_assert_eq!(released.messages, sizes.len());
            prop_assert_eq!(released.bytes, expected.len());
            prop_assert_eq!(outbox.used(), Used::default());
            prop_assert_eq!(outbox.written(), sizes.len() as u64);
        }
    }

    #[test]
    fn an_abandoned_parcel_is_written_to_its_end_and_releases_nothing() {
        let outbox = Outbox::new(LIMITS);
        for _ in 0..3 {
            outbox.offer_frame(Bytes::from_static(b"abc"));
        }
        let mut reader = OutboxReader::default();
        assert!(reader.take_or_sleep(&outbox));
        assert_eq!(reader.advance(&outbox, 1), Used::default());
        assert_eq!(outbox.discard(), 3);
        reader.abandon();
        reader.insert_control(&mut b"close".to_vec());
        let mut slices = [IoSlice::new(&[]); 4];
        let count = reader.fill(&mut slices, 1000);
        let left: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(left, b"bcclose");
        assert_eq!(reader.advance(&outbox, left.len()), Used::default());
        assert!(!reader.take_or_sleep(&outbox));
        assert_eq!(outbox.written(), 0);
    }

    #[test]
    fn a_drained_reader_reports_each_request_once() {
        let outbox = Outbox::new(LIMITS);
        let mut reader = OutboxReader::default();
        let drained = |awaited, pending| Drained { awaited, pending };
        assert_eq!(reader.drained(&outbox), drained(false, false));
        outbox.mark_pending();
        outbox.await_room();
        assert_eq!(reader.drained(&outbox), drained(true, true));
        assert_eq!(reader.drained(&outbox), drained(false, false));
    }
}
