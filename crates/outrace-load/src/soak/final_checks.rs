//! Checks that everything is back at its level after a soak, and that all counts add up. Pure.

use super::action_log::ActionLog;
use super::actions::{SIDE_CHANNELS, VIOLATIONS};
use super::check::Check;
use super::sample::ServerLevel;

/// The state at the end of a soak, beside what the clients accounted for.
pub(super) struct FinalState<'a> {
    /// The level when all clients had joined and before anything else happened.
    pub(super) before: &'a ServerLevel,
    /// The level when everything was over.
    pub(super) after: &'a ServerLevel,
    /// The connections that the clients of this generator had open then.
    pub(super) open: u64,
    /// The clients that were disconnected because a broadcast did not fit into their queue.
    pub(super) overflows: u64,
    pub(super) actions: &'a ActionLog,
}

impl FinalState<'_> {
    /// Checks what must hold when everything is over.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = self.levels();
        checks.extend(self.sums());
        checks
    }

    /// Checks the stats that must be as they were before.
    fn levels(&self) -> Vec<Check> {
        let FinalState {
            before,
            after,
            open,
            ..
        } = self;
        let clients = after.stats.clients;
        vec![
            Check::new(
                "clients",
                clients == *open,
                format!("{clients} counted, {open} connected"),
            ),
            Check::new(
                "channels",
                after.stats.channels == before.stats.channels
                    && after.known_channels <= before.known_channels + SIDE_CHANNELS,
                format!(
                    "{} with subscribers, {} before; \
                     {} known, {} before and {SIDE_CHANNELS} side channels",
                    after.stats.channels,
                    before.stats.channels,
                    after.known_channels,
                    before.known_channels
                ),
            ),
            Check::new(
                "descriptors",
                after.own_descriptors() <= before.own_descriptors(),
                format!(
                    "{} beside the clients', {} before",
                    after.own_descriptors(),
                    before.own_descriptors()
                ),
            ),
            Check::new(
                "threads",
                after.threads <= before.threads,
                format!("{}, {} before", after.threads, before.threads),
            ),
            Check::new(
                "queues",
                after.stats.queued == 0,
                format!("{} waiting messages", after.stats.queued),
            ),
        ]
    }

    /// Checks that the server's counts add up, and agree with what was done to it.
    fn sums(&self) -> Vec<Check> {
        let FinalState {
            after,
            actions,
            overflows,
            ..
        } = self;
        let stats = &after.stats;
        let accounted = stats.written + stats.queued + stats.skipped + stats.discarded;
        let ended: u64 = stats.closed.values().sum();
        let mut checks = vec![
            Check::new(
                "offered = written + queued + skipped + discarded",
                stats.offered == accounted,
                format!(
                    "{} = {} + {} + {} + {}",
                    stats.offered, stats.written, stats.queued, stats.skipped, stats.discarded
                ),
            ),
            Check::new(
                "connected = clients + closed",
                stats.connected == stats.clients + ended,
                format!("{} = {} + {ended}", stats.connected, stats.clients),
            ),
            Check::new(
                "overflows",
                stats.closed_for("queue overflow") >= *overflows,
                format!(
                    "{overflows} clients had no room for a broadcast, \
                     {} counted including the disturbers'",
                    stats.closed_for("queue overflow")
                ),
            ),
            Check::new(
                "no panics",
                stats.panicked == 0 && stats.closed_for("internal error") == 0,
                format!(
                    "{} seals, {} connections",
                    stats.panicked,
                    stats.closed_for("internal error")
                ),
            ),
        ];
        for (reason, code) in [
            ("protocol violation", 1002),
            ("invalid UTF-8", 1007),
            ("message too big", 1009),
        ] {
            let made: u64 = VIOLATIONS
                .iter()
                .filter(|violation| violation.2 == code)
                .map(|v| actions.of(v.0))
                .sum();
            let counted = stats.closed_for(reason);
            checks.push(Check::new(
                reason,
                made == counted,
                format!("{made} made, {counted} counted"),
            ));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::check::CheckVerdict;

    fn level() -> ServerLevel {
        let mut level = ServerLevel {
            known_channels: 4,
            descriptors: 40,
            threads: 5,
            ..ServerLevel::default()
        };
        level.stats.clients = 30;
        level.stats.connected = 30;
        level.stats.channels = 4;
        level
    }

    fn failing(change: impl FnOnce(&mut ServerLevel)) -> Vec<&'static str> {
        let (before, mut after, actions) = (level(), level(), ActionLog::default());
        after.known_channels += SIDE_CHANNELS;
        change(&mut after);
        let state = FinalState {
            before: &before,
            after: &after,
            open: 30,
            overflows: 0,
            actions: &actions,
        };
        let checks = state.checks();
        checks
            .iter()
            .filter(|check| check.verdict == CheckVerdict::Fails)
            .map(|check| check.name)
            .collect()
    }

    #[test]
    fn what_is_not_back_at_its_level_or_does_not_add_up_fails_by_name() {
        assert_eq!(failing(|_| ()), [""; 0]);
        assert_eq!(failing(|after| after.descriptors += 1), ["descriptors"]);
        assert_eq!(failing(|after| after.known_channels += 1), ["channels"]);
        assert_eq!(failing(|after| after.stats.channels += 1), ["channels"]);
        assert_eq!(failing(|after| after.threads += 1), ["threads"]);
        assert_eq!(
            failing(|after| after.stats.queued += 1),
            ["queues", "offered = written + queued + skipped + discarded"]
        );
        assert_eq!(
            failing(|after| after.stats.connected += 1),
            ["connected = clients + closed"]
        );
        assert_eq!(failing(|after| after.stats.panicked += 1), ["no panics"]);
        let violated = |after: &mut ServerLevel| {
            after.stats.connected += 1;
            after
                .stats
                .closed
                .insert("protocol violation".to_owned(), 1);
        };
        assert_eq!(failing(violated), ["protocol violation"]);
        let gone = |after: &mut ServerLevel| {
            after.stats.clients += 1;
            after.stats.connected += 1;
        };
        assert_eq!(failing(gone), ["clients"]);
    }
}
