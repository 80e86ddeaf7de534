//! The task of a process's output: reads both pipes and reports the end of the process.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ExitReport;
use super::pipe_reader::PipeReader;
use super::target::SignalTarget;
use crate::Publisher;
use crate::message::Status;

/// The longest silence of a pipe that outlives its process. Reading ends after it.
pub const DRAIN_IDLE_TIMEOUT: Duration = Duration::from_millis(200);

/// The longest time for which a pipe that outlives its process is read.
///
/// The time that a slow [tee](super::Spawn::tee) takes is not counted, so that all output of the
/// process itself is read.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct OutputTask {
    pub(super) publisher: Publisher,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

impl OutputTask {
    /// Runs until the process has ended and all its output and its final status are published.
    pub(super) async fn run(
        mut self,
        target: Arc<SignalTarget>,
        report: watch::Sender<Option<ExitReport>>,
    ) {
        let mut exit = pin!(target.wait_exit());
        loop {
            tokio::select! {
                () = &mut exit => break,
                read = self.stdout.read() => self.stdout.handle(read).await,
                read = self.stderr.read() => self.stderr.handle(read).await,
            };
            // The pipes of a busy process are always ready. On one core the clients' writers need
            // their turn.
            tokio::task::yield_now().await;
        }
        self.drain().await;
        self.stdout.finish().await;
        self.stderr.finish().await;
        let exit = target.report().expect("the process was reaped");
        // A stop has no code on the wire.
        let code = if exit.status == Status::Stopped {
            0
        } else {
            exit.code
        };
        self.publisher.send_status(exit.status.clone(), code);
        report.send_replace(Some(exit));
    }

    /// Reads the rest of the pipes after the process has ended.
    async fn drain(&mut self) {
        let mut limit = Instant::now() + DRAIN_TIMEOUT;
        while self.stdout.is_open() || self.stderr.is_open() {
            let deadline = limit.min(Instant::now() + DRAIN_IDLE_TIMEOUT);
            let waited = tokio::select! {
                // Input precedes silence, whose deadline may have passed during a wait.
                biased;
                () = sleep_until(limit) => break,
                read = self.stdout.read() => self.stdout.handle(read).await,
                read = self.stderr.read() => self.stderr.handle(read).await,
                () = sleep_until(deadline) => break,
            };
            limit += waited;
            tokio::task::yield_now().await;
        }
    }
}
