//! When to ping a peer, and when to give it up. Pure: the clock comes in as an argument.

use std::time::Duration;
use tokio::time::Instant;

/// What the heartbeat asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing yet.
    Wait,
    /// Send a ping (RFC 6455 section 5.5.2).
    Ping,
    /// Nothing has come from the peer for too long.
    Dead,
}

/// One connection's heartbeat.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    seen: Instant,
    ping: Instant,
}

impl Heartbeat {
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        Self {
            seen: now,
            ping: now + interval,
        }
    }

    /// Something came from the peer.
    pub(crate) fn seen(&mut self, now: Instant) {
        self.seen = now;
    }

    /// When to look again.
    pub(crate) fn next(&self, timeout: Duration) -> Instant {
        self.ping.min(self.seen + timeout)
    }

    /// What is due at `now`.
    pub(crate) fn beat(&mut self, now: Instant, interval: Duration, timeout: Duration) -> Beat {
        if now.saturating_duration_since(self.seen) >= timeout {
            return Beat::Dead;
        }
        if now >= self.ping {
            self.ping = now + interval;
            return Beat::Ping;
        }
        Beat::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn pings_every_interval_while_the_peer_answers() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, 30 * S);
        assert_eq!(heartbeat.next(60 * S), start + 30 * S);
        assert_eq!(heartbeat.beat(start + 29 * S, 30 * S, 60 * S), Beat::Wait);
        for round in 1..5 {
            let now = start + 30 * S * round;
            assert_eq!(heartbeat.beat(now, 30 * S, 60 * S), Beat::Ping);
            heartbeat.seen(now + S);
            assert_eq!(heartbeat.next(60 * S), now + 30 * S);
        }
    }

    #[test]
    fn a_peer_that_says_nothing_is_dead_after_the_timeout_and_not_before() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, 30 * S);
        assert_eq!(heartbeat.beat(start + 30 * S, 30 * S, 60 * S), Beat::Ping);
        assert_eq!(heartbeat.next(60 * S), start + 60 * S);
        assert_eq!(heartbeat.beat(start + 59 * S, 30 * S, 60 * S), Beat::Wait);
        assert_eq!(heartbeat.beat(start + 60 * S, 30 * S, 60 * S), Beat::Dead);
    }
}
