//! Decides when to ping a peer and when it has timed out. Pure: the time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// What the connection has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeartbeatAction {
    /// Nothing.
    Wait,
    /// Send a ping (RFC 6455 section 5.5.2).
    SendPing,
    /// Close the connection: the peer has been silent for too long.
    TimedOut,
}

/// The heartbeat of one connection.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// When something last came from the peer.
    last_received: Instant,
    next_ping: Instant,
}

impl Heartbeat {
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        Self {
            last_received: now,
            next_ping: now + interval,
        }
    }

    /// Notes that something came from the peer.
    pub(crate) fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// Returns when to check next.
    pub(crate) fn next(&self, timeout: Duration) -> Instant {
        self.next_ping.min(self.last_received + timeout)
    }

    /// Returns what is due at `now`.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        interval: Duration,
        timeout: Duration,
    ) -> HeartbeatAction {
        if now.saturating_duration_since(self.last_received) >= timeout {
            return HeartbeatAction::TimedOut;
        }
        if now >= self.next_ping {
            self.next_ping = now + interval;
            return HeartbeatAction::SendPing;
        }
        HeartbeatAction::Wait
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
        assert_eq!(
            heartbeat.check(start + 29 * S, 30 * S, 60 * S),
            HeartbeatAction::Wait
        );
        for round in 1..5 {
            let now = start + 30 * S * round;
            assert_eq!(
                heartbeat.check(now, 30 * S, 60 * S),
                HeartbeatAction::SendPing
            );
            heartbeat.received(now + S);
            assert_eq!(heartbeat.next(60 * S), now + 30 * S);
        }
    }

    #[test]
    fn a_peer_that_says_nothing_is_dead_after_the_timeout_and_not_before() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, 30 * S);
        assert_eq!(
            heartbeat.check(start + 30 * S, 30 * S, 60 * S),
            HeartbeatAction::SendPing
        );
        assert_eq!(heartbeat.next(60 * S), start + 60 * S);
        assert_eq!(
            heartbeat.check(start + 59 * S, 30 * S, 60 * S),
            HeartbeatAction::Wait
        );
        assert_eq!(
            heartbeat.check(start + 60 * S, 30 * S, 60 * S),
            HeartbeatAction::TimedOut
        );
    }
}
