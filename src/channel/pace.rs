//! The time from which a channel may be sealed: as soon as flushing stays within its share of a
//! core, for the whole hub.
//!
//! A flush costs one write for each client whose writer it wakes. A writer that is awake anyway
//! takes the block along, but more and smaller blocks cost it too. After a seal, the next one has
//! to wait until those writes are a tenth of the time that passed, and at most the longest flush
//! interval. So an idle hub seals at once, one busy subscriber is flushed every few hundred
//! microseconds, and a hundred every 10 ms. Pure: the clock comes in as an argument.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// Flushing may take a tenth of a core's time.
const TIME_PER_FLUSH_TIME: u64 = 10;
/// The cost of a tick beside its writes: a timer, a wake-up of the runtime.
const TICK_NS: u64 = 20_000;
/// A client whose writer is awake is estimated to cost a quarter of a write.
const AWAKE_PER_WRITE: u64 = 4;
/// The time between blocks for other nodes. A block costs the home, the broker and each mirror some
/// 30 to 50 µs whatever is in it: at 10,000 lines/s, blocks of one line cost a mirror with 100
/// viewers four times what the lines cost a single node.
const EXPORT_INTERVAL_NS: u64 = 4_000_000;
/// The estimated cost of a write until the first one is measured.
const FIRST_WRITE_NS: u64 = 10_000;
/// A write that took longer counts as this: it was not the write that cost the time.
const MAX_WRITE_NS: u64 = 1_000_000;

/// The clients that a seal reached.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reached {
    /// Clients that were offered something.
    pub(crate) clients: usize,
    /// Clients of these whose writers slept.
    pub(crate) woken: usize,
    /// Blocks that were handed to the backplane for other nodes.
    pub(crate) exported: usize,
}

impl std::ops::AddAssign for Reached {
    fn add_assign(&mut self, other: Self) {
        self.clients += other.clients;
        self.woken += other.woken;
        self.exported += other.exported;
    }
}

/// The time of the hub's next flush, in nanoseconds since the hub began.
///
/// Relaxed throughout: these are hints about time. A stale one makes a flush a little early or
/// late, never wrong.
#[derive(Debug)]
pub(crate) struct Pace {
    max_interval_ns: u64,
    next_ns: AtomicU64,
    write_ns: AtomicU64,
}

impl Pace {
    pub(crate) fn new(max_interval: Duration) -> Self {
        Self {
            max_interval_ns: u64::try_from(max_interval.as_nanos()).unwrap_or(u64::MAX),
            next_ns: AtomicU64::new(0),
            write_ns: AtomicU64::new(FIRST_WRITE_NS),
        }
    }

    /// Returns the time from which sealing is within its share.
    pub(crate) fn next(&self) -> u64 {
        self.next_ns.load(Ordering::Relaxed)
    }

    /// Records that a seal at `now` reached these clients.
    pub(crate) fn spent(&self, now: u64, reached: Reached) {
        if (reached.clients == 0 && reached.exported == 0) || self.max_interval_ns == 0 {
            return;
        }
        // A client that got several messages may have been woken for each.
        let awake = reached.clients.saturating_sub(reached.woken);
        let writes = reached.woken as u64 * AWAKE_PER_WRITE + awake as u64;
        let cost = TICK_NS
            + self.write_ns.load(Ordering::Relaxed).saturating_mul(writes) / AWAKE_PER_WRITE;
        let mut interval = cost.saturating_mul(TIME_PER_FLUSH_TIME);
        if reached.exported > 0 {
            interval = interval.max(EXPORT_INTERVAL_NS);
        }
        let bound = now.saturating_add(self.max_interval_ns);
        let _ = self
            .next_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                Some(next.max(now).saturating_add(interval).min(bound))
            });
    }

    /// Records the cost of one write. The estimate is a moving average over about 64 writes;
    /// concurrent reports may overwrite each other.
    pub(crate) fn wrote(&self, nanoseconds: u64) {
        let average = self.write_ns.load(Ordering::Relaxed);
        let nanoseconds = nanoseconds.min(MAX_WRITE_NS);
        self.write_ns
            .store(average - average / 64 + nanoseconds / 64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn asleep(clients: usize) -> Reached {
        Reached {
            clients,
            woken: clients,
            exported: 0,
        }
    }

    #[test]
    fn an_idle_hub_is_always_ready() {
        let pace = Pace::new(Duration::from_millis(10));
        assert_eq!(pace.next(), 0);
        pace.spent(5 * MS, asleep(0));
        assert_eq!(pace.next(), 0);
    }

    #[test]
    fn blocks_for_other_nodes_are_milliseconds_apart() {
        let pace = Pace::new(Duration::from_millis(10));
        let exported = Reached {
            exported: 1,
            ..Reached::default()
        };
        pace.spent(100 * MS, exported);
        assert_eq!(pace.next(), 104 * MS);
        let at_once = Pace::new(Duration::ZERO);
        at_once.spent(100 * MS, exported);
        assert_eq!(at_once.next(), 0);
    }

    #[test]
    fn the_interval_grows_with_the_sockets_touched_up_to_the_longest() {
        let pace = Pace::new(Duration::from_millis(10));
        pace.spent(100 * MS, asleep(1));
        let one = pace.next() - 100 * MS;
        assert!(one < MS, "{one} ns for one subscriber");
        pace.spent(200 * MS, asleep(50));
        let fifty = pace.next() - 200 * MS;
        assert!(
            fifty > 4 * MS && fifty < 10 * MS,
            "{fifty} ns for fifty subscribers"
        );
        pace.spent(300 * MS, asleep(100_000));
        assert_eq!(pace.next(), 310 * MS);
    }

    #[test]
    fn writers_that_are_awake_cost_less_but_not_nothing() {
        let pace = Pace::new(Duration::from_millis(10));
        pace.spent(
            100 * MS,
            Reached {
                clients: 80,
                woken: 0,
                exported: 0,
            },
        );
        let awake = pace.next() - 100 * MS;
        pace.spent(
            200 * MS,
            Reached {
                clients: 80,
                woken: 80,
                exported: 0,
            },
        );
        assert!(awake > MS && awake < pace.next() - 200 * MS, "{awake}");
    }

    #[test]
    fn several_seals_of_one_moment_add_up() {
        let pace = Pace::new(Duration::from_millis(10));
        for _ in 0..1000 {
            pace.spent(100 * MS, asleep(1));
        }
        assert_eq!(pace.next(), 110 * MS);
    }

    #[test]
    fn a_longest_interval_of_zero_never_waits() {
        let pace = Pace::new(Duration::ZERO);
        pace.spent(100 * MS, asleep(1000));
        assert_eq!(pace.next(), 0);
    }

    #[test]
    fn the_cost_of_a_write_follows_what_was_measured() {
        let pace = Pace::new(Duration::from_millis(10));
        for _ in 0..1000 {
            pace.wrote(2_000);
        }
        let settled = pace.write_ns.load(Ordering::Relaxed);
        assert!((1_900..2_200).contains(&settled), "{settled}");
    }
}
