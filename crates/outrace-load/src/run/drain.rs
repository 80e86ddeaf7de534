//! The end of a round: the last lines reach the clients, and the server ends.

use super::round::Round;
use super::skip_counts::fetch_skipped;
use crate::clock::{self, NS_PER_MS, NS_PER_SECOND};
use crate::server::process::ServerError;
use crate::server::running::RunningServers;
use crate::server::system::System;
use std::time::Duration;

/// The longest time until the last lines have reached all clients.
const DRAIN_TIMEOUT_NS: u64 = 15 * NS_PER_SECOND;

/// If a server has no count of its own, no more lines come after such a pause.
const QUIET_NS: u64 = 700 * NS_PER_MS;

/// After such a pause, the server is asked for its count.
const PAUSE_NS: u64 = 50 * NS_PER_MS;

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The longest time until the server ends after its input has ended.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest time until every client has the exit status after the server has ended.
const STATUS_TIMEOUT_NS: u64 = 5 * NS_PER_SECOND;

/// A part of a round that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum DrainFault {
    #[error(
        "client {client}, which comes and goes, had accounted for {progress} of {due} lines \
         {seconds} s after the last"
    )]
    Resumer {
        client: usize,
        progress: u64,
        due: u64,
        seconds: u64,
    },
    #[error(
        "{clients} clients that the server had disconnected were not back {seconds} s after the \
         last line"
    )]
    Away { clients: u64, seconds: u64 },
    #[error(
        "{missing} of {expected} deliveries neither came within {seconds} s of the last line nor \
         were counted as skipped by the server"
    )]
    Missing {
        missing: u64,
        expected: u64,
        seconds: u64,
    },
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("{0} clients got neither the exit status nor a close")]
    Status(u64),
}

impl Round<'_> {
    /// Waits until every line was received or is known to have been skipped.
    pub(super) fn drain(&self, lines: u64, skipped_before: Option<u64>) -> Result<(), DrainFault> {
        const SECONDS: u64 = DRAIN_TIMEOUT_NS / NS_PER_SECOND;
        let expected = self.workload.expected(lines);
        let deadline_ns = clock::now_ns() + DRAIN_TIMEOUT_NS;
        let gives_up = || clock::now_ns() > deadline_ns || self.control.failed();
        let mut last = (self.control.received(), clock::now_ns());
        loop {
            if let Some(client) = self.resumer_behind(lines) {
                if gives_up() {
                    return Err(DrainFault::Resumer {
                        client,
                        progress: self.control.progress(client),
                        due: self.workload.due(lines, client),
                        seconds: SECONDS,
                    });
                }
                std::thread::sleep(POLL_INTERVAL);
                continue;
            }
            if self.workload.reconnects && self.control.away() > 0 {
                if gives_up() {
                    return Err(DrainFault::Away {
                        clients: self.control.away(),
                        seconds: SECONDS,
                    });
                }
                std::thread::sleep(POLL_INTERVAL);
                continue;
            }
            let (received, noticed) = self.control.received();
            if received + noticed >= expected {
                return Ok(());
            }
            let now_ns = clock::now_ns();
            if (received, noticed) != last.0 {
                last = ((received, noticed), now_ns);
            }
            let pause_ns = now_ns - last.1;
            if self.control.ended() > 0 && pause_ns > QUIET_NS {
                // A client was disconnected, which is a fault of its own. The other clients get no
                // more lines.
                return Ok(());
            }
            if pause_ns > PAUSE_NS && self.system != System::Floor {
                let skipped = fetch_skipped(self.system, &self.targets)
                    .map(|n| n - skipped_before.unwrap_or(0).min(n));
                let churns = self.workload.churn > 0;
                let accounted = skipped.is_some_and(|skipped| received + skipped >= expected);
                // The count of a server includes what churners missed.
                let no_count = skipped.is_none() || churns;
                if accounted && !churns || no_count && pause_ns > QUIET_NS {
                    return Ok(());
                }
            }
            if gives_up() {
                return Err(DrainFault::Missing {
                    missing: expected - received - noticed,
                    expected,
                    seconds: SECONDS,
                });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns a resumer that has not accounted for all of its lines.
    fn resumer_behind(&self, lines: u64) -> Option<usize> {
        self.workload
            .resumers()
            .find(|number| self.control.progress(*number) < self.workload.due(lines, *number))
    }

    /// Waits until the server has ended by itself and every client has the exit status.
    ///
    /// The input of the server has ended before.
    pub(super) fn wait_for_end(&self, server: &mut RunningServers) -> Result<(), DrainFault> {
        server.wait(END_TIMEOUT)?;
        let deadline_ns = clock::now_ns() + STATUS_TIMEOUT_NS;
        let clients = (self.workload.subscribers + self.workload.resumers().count()) as u64;
        while self.control.ended() < clients {
            if clock::now_ns() > deadline_ns {
                return Err(DrainFault::Status(clients - self.control.ended()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
