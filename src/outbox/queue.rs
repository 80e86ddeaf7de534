//! The queue between many producers and one consumer: a linked stack, which the consumer takes
//! whole and reverses.
//!
//! crossbeam's `SegQueue` is not used here because its first message allocates a segment of 31
//! entries. That is 1.5 KB kept for every client that was ever sent a message, and was a third of
//! the cost of an idle client. Here an empty queue is one word, and taking everything is one swap.
//!
//! Orderings: a push releases its node. Each earlier node stays released through it, since every
//! change of `head` is a read-modify-write (a release sequence). Taking acquires them all. There is
//! no ABA problem: a single node is never taken, so a node that a producer has seen at the head is
//! only linked to, and never followed by that producer.

use std::collections::VecDeque;
use std::fmt;
use std::ptr;

use super::parcel::Parcel;
use crate::sync::{AtomicPtr, Ordering};

struct Node {
    parcel: Parcel,
    next: *mut Node,
}

/// A lock-free queue with any number of producers and one consumer.
pub(super) struct ParcelQueue {
    head: AtomicPtr<Node>,
}

impl ParcelQueue {
    pub(super) fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Appends a parcel.
    pub(super) fn push(&self, parcel: Parcel) {
        let node = Box::into_raw(Box::new(Node {
            parcel,
            next: ptr::null_mut(),
        }));
        // Relaxed: the value is only linked to. The exchange below publishes the node.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: `node` came from `Box::into_raw`, and no other thread can reach it until the
            // exchange succeeds.
            unsafe { (*node).next = head };
            match self
                .head
                .compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Moves everything to the end of `into`, in the order of the pushes. Returns whether there was
    /// anything.
    pub(super) fn take(&self, into: &mut VecDeque<Parcel>) -> bool {
        // A Relaxed load first: an empty queue is the usual case, and this way it costs no write to
        // a cache line that producers share.
        if self.head.load(Ordering::Relaxed).is_null() {
            return false;
        }
        let mut node = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let start = into.len();
        while !node.is_null() {
            // SAFETY: the swap made the whole list unreachable for other threads. Each node came
            // from `Box::into_raw` once, and is turned back into a box once.
            let boxed = unsafe { Box::from_raw(node) };
            node = boxed.next;
            into.push_back(boxed.parcel);
        }
        into.make_contiguous()[start..].reverse();
        into.len() > start
    }
}

impl Drop for ParcelQueue {
    fn drop(&mut self) {
        self.take(&mut VecDeque::new());
    }
}

// SAFETY: the queue owns the nodes and they are reached only through the atomic head. A parcel may
// be sent to any thread.
unsafe impl Send for ParcelQueue {}
// SAFETY: as above. Shared use goes through the atomic head alone.
unsafe impl Sync for ParcelQueue {}

impl fmt::Debug for ParcelQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParcelQueue").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(outrace_loom)))]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::atomic::AtomicBool;

    fn parcel(producer: u32, index: u32) -> Parcel {
        Parcel {
            bytes: Bytes::copy_from_slice(&producer.to_be_bytes()),
            messages: index,
        }
    }

    #[test]
    fn keeps_the_order_of_the_pushes_over_several_takes() {
        let queue = ParcelQueue::new();
        let mut taken = VecDeque::new();
        assert!(!queue.take(&mut taken));
        for index in 0..3 {
            queue.push(parcel(0, index));
        }
        assert!(queue.take(&mut taken));
        queue.push(parcel(0, 3));
        queue.push(parcel(0, 4));
        taken.pop_front();
        assert!(queue.take(&mut taken));
        assert_eq!(
            taken.iter().map(|p| p.messages).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
    }

    #[test]
    fn every_parcel_of_every_producer_arrives_once_and_in_its_order() {
        const PRODUCERS: u32 = 4;
        const EACH: u32 = if cfg!(miri) { 50 } else { 50_000 };
        let queue = ParcelQueue::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    let queue = &queue;
                    scope.spawn(move || {
                        (0..EACH).for_each(|index| queue.push(parcel(producer, index)))
                    })
                })
                .collect();
            let consumer = scope.spawn(|| {
                let mut next = [0; PRODUCERS as usize];
                let mut taken = VecDeque::new();
                loop {
                    let last = done.load(Ordering::Acquire);
                    queue.take(&mut taken);
                    for parcel in taken.drain(..) {
                        let producer =
                            u32::from_be_bytes(parcel.bytes[..].try_into().unwrap()) as usize;
                        assert_eq!(parcel.messages, next[producer]);
                        next[producer] += 1;
                    }
                    if last {
                        return next;
                    }
                }
            });
            for producer in producers {
                producer.join().unwrap();
            }
            done.store(true, Ordering::Release);
            assert_eq!(consumer.join().unwrap(), [EACH; PRODUCERS as usize]);
        });
    }

    #[test]
    fn what_is_left_is_freed_with_the_queue() {
        let bytes = Bytes::from(vec![1; 10]);
        let queue = ParcelQueue::new();
        for _ in 0..3 {
            queue.push(Parcel {
                bytes: bytes.clone(),
                messages: 1,
            });
        }
        assert!(!bytes.is_unique());
        drop(queue);
        assert!(bytes.is_unique());
    }
}

#[cfg(all(test, outrace_loom))]
mod loom_tests {
    use super::*;
    use bytes::Bytes;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_two_producers_and_a_consumer_lose_and_repeat_nothing() {
        loom::model(|| {
            let queue = Arc::new(ParcelQueue::new());
            let producers: Vec<_> = (0..2)
                .map(|producer| {
                    let queue = Arc::clone(&queue);
                    thread::spawn(move || {
                        for index in 0..2 {
                            queue.push(Parcel {
                                bytes: Bytes::new(),
                                messages: producer * 10 + index,
                            });
                        }
                    })
                })
                .collect();
            let mut taken = VecDeque::new();
            queue.take(&mut taken);
            for producer in producers {
                producer.join().unwrap();
            }
            queue.take(&mut taken);
            let of = |producer: u32| {
                taken
                    .iter()
                    .map(|p| p.messages)
                    .filter(move |m| m / 10 == producer)
            };
            assert!(of(0).eq([0, 1]) && of(1).eq([10, 11]) && taken.len() == 4);
        });
    }
}
