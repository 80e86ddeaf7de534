//! Ends a process and all that belongs to it: first by a request, then by `SIGKILL`.

use std::io;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::end::{Asked, KILL_TIMEOUT, Poll, kill, still_running};
use super::{ExitReport, Process, Signal};
use crate::process::ownership::Unstopped;

/// How long the process may take to end all that has left its group, before that is asked to end
/// directly. Programs that have started it often end it themselves, and in a better order.
const DESCENDANTS_HEAD_START: Duration = Duration::from_secs(1);

/// How long the last output of an ended process may take. A tee that takes none would hold up the
/// stop for ever.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// The outcome of a stop.
#[derive(Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// The end of the process, or `None` if it still runs.
    pub exit: Option<ExitReport>,
    /// Everything that still runs, the process included. Empty after a complete stop.
    pub unstopped: Vec<Unstopped>,
}

impl Process {
    /// Sends `SIGTERM` to the process group, and `SIGKILL` if the process still runs after
    /// `grace_period`. Returns the same report as [`wait`](Self::wait). Sends nothing to a process
    /// that has ended.
    ///
    /// A suspended process is continued, so that it can end. See [`end`](Self::end) for a stop that
    /// includes descendants and is bounded.
    ///
    /// # Cancel safety
    /// Not cancel safe. The future sends `SIGTERM` when it is first polled. If it is dropped
    /// afterwards, `SIGKILL` is never sent.
    pub async fn stop(&self, grace_period: Duration) -> ExitReport {
        if self.report().is_none() {
            let grace_over = sleep(grace_period);
            let _ = self.end(Some(Signal::Terminate), grace_over).await;
        }
        self.wait().await
    }

    /// Ends the process and all that belongs to it. Returns when none of it runs.
    ///
    /// The members of the process group belong to it. While there is an
    /// [`OrphanReaper`](crate::process::OrphanReaper), all descendants do.
    ///
    /// The process and its group get `signal` first, if there is one, and `SIGCONT`, so that
    /// suspended ones can end. What outlives the process by then gets `SIGTERM`. After a second,
    /// what has left the group gets it too. When `grace_over` completes, everything gets `SIGKILL`.
    /// The end is waited for, for 2 s at most, and the last output for another second.
    ///
    /// `None` and a process that has ended, or is about to, mean that only what it leaves behind is
    /// asked. A `SIGINT` or `SIGQUIT` is not sent to a process without a [group of its
    /// own](super::Spawn::own_group) while that group is in the terminal's foreground: the terminal
    /// has sent it.
    ///
    /// # Cancel safety
    /// Not cancel safe. The first poll sends the signal. If the future is dropped afterwards,
    /// `SIGKILL` is never sent.
    pub async fn end(
        &self,
        signal: Option<Signal>,
        grace_over: impl Future<Output = ()>,
    ) -> StopReport {
        self.disable_lossless();
        if signal != Some(Signal::Kill) {
            tokio::select! {
                () = self.end_politely(signal) => {}
                () = grace_over => {}
            }
        }
        let unstopped = match timeout(KILL_TIMEOUT, self.kill_all()).await {
            Ok(refused) => refused,
            Err(_) => self.survivors(),
        };
        if !self.target.has_exited() {
            return StopReport {
                exit: None,
                unstopped,
            };
        }
        let report = timeout(LAST_OUTPUT_TIMEOUT, self.wait()).await.ok();
        StopReport {
            exit: report.or_else(|| self.target.report()),
            unstopped,
        }
    }

    /// Marks the stop as intentional, so that the final status is `stopped`, and
    /// [ends](Self::end) the process.
    pub(in crate::process) async fn stop_group(
        &self,
        signal: Signal,
        grace_over: impl Future<Output = ()>,
    ) -> StopReport {
        self.target.request_stop();
        self.end(Some(signal), grace_over).await
    }

    /// Sends a signal to the process and to all that belongs to it, such as
    /// [`Signal::Stop`] to suspend it and [`Signal::Continue`].
    ///
    /// [`signal`](Self::signal) reaches the group only. Refusals are ignored.
    pub fn signal_all(&self, signal: Signal) {
        self.target.signal_all(signal);
    }

    /// Waits until everything has ended that was asked.
    async fn end_politely(&self, signal: Option<Signal>) {
        let mut asked = Asked::default();
        if let Some(signal) = signal {
            self.send_first(signal, &mut asked);
        }
        let _ = timeout(DESCENDANTS_HEAD_START, self.target.wait_exit()).await;
        let mut poll = Poll::new();
        let mut group_asked = false;
        loop {
            let has_exited = self.target.has_exited();
            match self.target.members() {
                Some(members) if members.is_empty() && has_exited => return,
                // The group has got the first signal, and the process may still see to its members.
                Some(members) if has_exited => asked.ask(&members),
                Some(mut members) => {
                    members.retain(|member| !member.in_group);
                    asked.ask(&members);
                }
                // The system lists no processes: the group is asked as a whole.
                None if has_exited && !self.target.group_exists() => return,
                None if has_exited && !group_asked => {
                    group_asked = true;
                    if signal != Some(Signal::Terminate) {
                        self.target.signal_group(Signal::Terminate);
                    }
                }
                None => {}
            }
            poll.pause().await;
        }
    }

    /// Sends the first signal of a stop to the process and its group.
    fn send_first(&self, signal: Signal, asked: &mut Asked) {
        let members = self.target.members().unwrap_or_default();
        if matches!(signal, Signal::Interrupt | Signal::Quit) && self.target.hears_terminal() {
            return;
        }
        // Fails only if the process has ended. Then the rest of its group gets the signal.
        if self.signal(signal).is_err() {
            self.target.signal_group(signal);
        }
        let heard: Vec<_> = members
            .into_iter()
            .filter(|member| member.in_group)
            .collect();
        for member in &heard {
            // Without a group of its own, the process's children in its group stand in for one.
            if !self.target.leads_group() {
                let _ = member.signal(signal);
                let _ = member.signal(Signal::Continue);
            }
        }
        // A shell's background jobs ignore SIGINT, and get a SIGTERM after it.
        if signal == Signal::Terminate {
            asked.add(heard);
        }
        if self.signal(Signal::Continue).is_err() {
            self.target.signal_group(Signal::Continue);
        }
    }

    /// Kills everything until nothing runs, or until all that runs may not be killed. Returns that.
    async fn kill_all(&self) -> Vec<Unstopped> {
        let mut poll = Poll::new();
        loop {
            let refused = self.kill_once();
            let exited = self.target.has_exited();
            match (self.target.members(), exited) {
                (Some(members), true) if members.len() == refused.len() => return refused,
                (Some(members), false) if !refused.is_empty() && members.len() < refused.len() => {
                    return refused;
                }
                (None, true) if !self.target.group_exists() => return refused,
                _ => {}
            }
            poll.pause().await;
        }
    }

    /// Kills everything once. Returns the refusals.
    pub(super) fn kill_once(&self) -> Vec<Unstopped> {
        self.target.signal_group(Signal::Kill);
        let refused = self.target.refusal(Signal::Kill);
        let mut refused: Vec<_> = refused
            .map(|error| Unstopped::new(self.raw_pid(), error))
            .into_iter()
            .collect();
        refused.extend(kill(&self.target.members().unwrap_or_default()));
        refused
    }

    /// Names everything that was killed and has not ended.
    fn survivors(&self) -> Vec<Unstopped> {
        let mut unstopped = still_running(&self.target.members().unwrap_or_default());
        if !self.target.has_exited() {
            let error = self.target.refusal(Signal::Kill);
            let error = error.unwrap_or_else(|| io::ErrorKind::TimedOut.into());
            unstopped.insert(0, Unstopped::new(self.raw_pid(), error));
        }
        unstopped
    }

    fn raw_pid(&self) -> i32 {
        self.pid().cast_signed()
    }
}
