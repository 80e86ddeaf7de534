//! Ends a process and the rest of its group: first by a request, then by `SIGKILL`.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::output::DRAIN_TIMEOUT;
use super::{ExitReport, Process, Signal};
use crate::message::Status;

/// The longest wait for the end of a killed process and its output. If it takes longer, a tee does
/// not take the output.
const KILL_TIMEOUT: Duration = DRAIN_TIMEOUT.saturating_add(Duration::from_secs(1));

/// The pauses between looks at a group that still has members.
const MIN_GROUP_POLL: Duration = Duration::from_millis(5);
const MAX_GROUP_POLL: Duration = Duration::from_millis(40);

impl Process {
    /// Sends `SIGTERM` to the process group, and `SIGKILL` if the process still runs after
    /// `grace_period`. Returns the same report as [`wait`](Self::wait). Sends nothing to a process
    /// that has ended.
    ///
    /// # Cancel safety
    /// Not cancel safe. The future sends `SIGTERM` when it is first polled. If it is dropped
    /// afterwards, `SIGKILL` is never sent.
    pub async fn stop(&self, grace_period: Duration) -> ExitReport {
        // Fails only if the process has ended or changed its user. The wait tells which.
        let _ = self.signal(Signal::Terminate);
        if timeout(grace_period, self.target.wait_exit())
            .await
            .is_err()
        {
            let _ = self.signal(Signal::Kill);
        }
        self.wait().await
    }

    /// Ends the process and its group: sends `signal`, and `SIGKILL` when `grace_over` completes.
    /// Returns when no member of the group runs. The final status is `stopped`.
    pub(in crate::process) async fn stop_group(
        &self,
        signal: Signal,
        grace_over: impl Future<Output = ()>,
    ) -> ExitReport {
        self.begin_stop(signal);
        if signal != Signal::Kill {
            let gone = async {
                self.target.wait_exit().await;
                // A shell's background jobs ignore SIGINT.
                if signal != Signal::Terminate {
                    self.target.signal_group(Signal::Terminate);
                }
                self.wait_group_gone().await;
            };
            tokio::select! {
                () = gone => {}
                () = grace_over => {}
            }
        }
        self.target.signal_group(Signal::Kill);
        // A tee that takes no output delays the report, although the process itself is gone.
        let ended = timeout(KILL_TIMEOUT, async {
            self.wait_group_gone().await;
            self.wait().await
        });
        ended.await.unwrap_or(ExitReport {
            status: Status::Stopped,
            code: 128 + Signal::Kill.number(),
        })
    }

    /// Ends the members of the group that outlive the process: sends `SIGTERM`, and `SIGKILL` when
    /// `grace_over` completes. They may hold resources that the next run needs.
    pub(in crate::process) async fn stop_remaining(&self, grace_over: impl Future<Output = ()>) {
        if self.target.has_group() {
            self.target.signal_group(Signal::Terminate);
            tokio::select! {
                () = self.wait_group_gone() => {}
                () = grace_over => {}
            }
            self.target.signal_group(Signal::Kill);
            let _ = timeout(KILL_TIMEOUT, self.wait_group_gone()).await;
        }
    }

    /// Marks the stop as intentional, so that the final status is `stopped`, and sends the first
    /// signal.
    fn begin_stop(&self, signal: Signal) {
        self.target.request_stop();
        self.disable_lossless();
        // Fails only if the process has ended. Then the rest of its group gets the signal.
        if self.signal(signal).is_err() {
            self.target.signal_group(signal);
        }
    }

    /// Waits until no member of the group runs. The system reports no such event, so this checks
    /// every 5 to 40 ms.
    async fn wait_group_gone(&self) {
        self.target.wait_exit().await;
        let mut pause = MIN_GROUP_POLL;
        while self.target.has_group() {
            sleep(pause).await;
            pause = (pause * 2).min(MAX_GROUP_POLL);
        }
    }
}
