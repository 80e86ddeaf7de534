//! Stops the broker in the middle of the measured time, and watches the mirrors catch up.

use super::observer::{RoundObserver, RoundView};
use super::outcome::BrokerFault;
use crate::clock::{self, NS_PER_MS, NS_PER_SECOND};
use std::time::Duration;

/// The share of the measured time that passes before the broker is stopped.
const BEFORE_STOP: f64 = 0.2;

/// The observer of a round whose broker stands still for a while.
pub(crate) struct BrokerStop {
    lasts_ns: u64,
    state: StopState,
}

#[derive(Clone, Copy)]
enum StopState {
    Before,
    Stopped {
        since_ns: u64,
    },
    Returned {
        stopped_ns: u64,
        at_ns: u64,
        lines: u64,
    },
    CaughtUp(BrokerFault),
    /// The broker could not be signaled: it has ended.
    Gone,
}

impl BrokerStop {
    pub(crate) fn new(lasts: Duration) -> BrokerStop {
        BrokerStop {
            lasts_ns: lasts.as_nanos() as u64,
            state: StopState::Before,
        }
    }

    fn step(&mut self, view: &RoundView<'_>) {
        let Some(broker) = view.cluster.and_then(|cluster| cluster.broker.as_ref()) else {
            return;
        };
        let now_ns = clock::now_ns();
        let window_ns = view.control.window_ns();
        self.state = match self.state {
            StopState::Before => {
                let before = (view.workload.seconds * BEFORE_STOP * NS_PER_SECOND as f64) as u64;
                if now_ns < window_ns.start.saturating_add(before) {
                    return;
                }
                match broker.pause() {
                    Ok(()) => StopState::Stopped { since_ns: now_ns },
                    Err(_) => StopState::Gone,
                }
            }
            StopState::Stopped { since_ns } if now_ns < since_ns + self.lasts_ns => return,
            StopState::Stopped { since_ns } => match broker.resume() {
                Ok(()) => StopState::Returned {
                    stopped_ns: now_ns - since_ns,
                    at_ns: now_ns,
                    lines: view.control.published(),
                },
                Err(_) => StopState::Gone,
            },
            StopState::Returned {
                stopped_ns,
                at_ns,
                lines,
            } => {
                if !mirrors_have(view, lines) {
                    return;
                }
                StopState::CaughtUp(BrokerFault {
                    stopped_seconds: stopped_ns as f64 / 1e9,
                    caught_up_seconds: Some((now_ns - at_ns) as f64 / 1e9),
                })
            }
            StopState::CaughtUp(_) | StopState::Gone => return,
        };
    }
}

/// Returns whether every steady client at a mirror has accounted for the first `lines` lines.
fn mirrors_have(view: &RoundView<'_>, lines: u64) -> bool {
    let workload = view.workload;
    (0..workload.subscribers)
        .filter(|number| workload.cluster.node_of(*number) >= workload.cluster.homes)
        .all(|number| view.control.progress(number) >= workload.due(lines, number))
}

impl RoundObserver for BrokerStop {
    fn step_ns(&self) -> u64 {
        20 * NS_PER_MS
    }

    fn running(&mut self, view: &RoundView<'_>, _late_ns: u64) {
        let (received, skipped) = view.control.received();
        view.progress
            .show_deliveries(received, skipped, view.control.published());
        self.step(view);
    }

    fn fed(&mut self, view: &RoundView<'_>) {
        // A broker that is still stopped would keep the last lines from the mirrors.
        if let StopState::Stopped { .. } = self.state {
            self.lasts_ns = 0;
            self.step(view);
        }
    }

    fn drained(&mut self, view: &RoundView<'_>) {
        self.step(view);
    }

    fn broker_fault(&mut self) -> Option<BrokerFault> {
        let stopped_ns = match self.state {
            StopState::CaughtUp(fault) => return Some(fault),
            StopState::Returned { stopped_ns, .. } => stopped_ns,
            StopState::Before | StopState::Stopped { .. } | StopState::Gone => 0,
        };
        Some(BrokerFault {
            stopped_seconds: stopped_ns as f64 / 1e9,
            caught_up_seconds: None,
        })
    }
}
