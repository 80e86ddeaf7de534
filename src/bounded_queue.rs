//! A queue that drops its oldest entries when it is full.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use crate::sync::lock;

/// A queue between any number of threads and one task, bounded in bytes.
///
/// A push never waits, except for the lock, which is held for single steps.
#[derive(Debug)]
pub(crate) struct BoundedQueue<T> {
    waiting: Mutex<Waiting<T>>,
    pushed: Notify,
    max_bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    entries: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> BoundedQueue<T> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                entries: VecDeque::new(),
                bytes: 0,
            }),
            pushed: Notify::new(),
            max_bytes,
        }
    }

    /// Adds an entry of this size, and passes each entry that has to go for it to `dropped`, the
    /// oldest first. An entry that is larger than the whole queue goes itself.
    pub(crate) fn push(&self, entry: T, bytes: usize, mut dropped: impl FnMut(T)) {
        let mut excess = Vec::new();
        {
            let mut waiting = lock(&self.waiting);
            waiting.entries.push_back((entry, bytes));
            waiting.bytes += bytes;
            while waiting.bytes > self.max_bytes
                && let Some((oldest, bytes)) = waiting.entries.pop_front()
            {
                waiting.bytes -= bytes;
                excess.push(oldest);
            }
        }
        self.pushed.notify_one();
        excess.into_iter().for_each(&mut dropped);
    }

    /// Takes the oldest entry, and waits while there is none.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(crate) async fn next(&self) -> T {
        loop {
            // Others in the same task get their turn.
            tokio::task::coop::consume_budget().await;
            if let Some(entry) = self.take() {
                return entry;
            }
            self.pushed.notified().await;
        }
    }

    /// Takes the oldest entry, if there is one.
    pub(crate) fn take(&self) -> Option<T> {
        let mut waiting = lock(&self.waiting);
        let (entry, bytes) = waiting.entries.pop_front()?;
        waiting.bytes -= bytes;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_entries_and_tells_which() {
        let queue = BoundedQueue::new(10);
        let mut dropped = Vec::new();
        for entry in 1..=4 {
            queue.push(entry, 4, |oldest| dropped.push(oldest));
        }
        queue.push(5, 10, |oldest| dropped.push(oldest));
        assert_eq!(dropped, [1, 2, 3, 4]);
        queue.push(6, 11, |oldest| dropped.push(oldest));
        assert_eq!(dropped, [1, 2, 3, 4, 5, 6]);
        queue.push(7, 10, |_| panic!("there is room"));
        assert_eq!((queue.take(), queue.take()), (Some(7), None));
    }

    #[tokio::test]
    async fn a_task_that_waits_gets_the_entry() {
        let queue = BoundedQueue::new(10);
        let (entry, ()) = tokio::join!(queue.next(), async { queue.push(1, 1, drop) });
        assert_eq!(entry, 1);
    }
}
