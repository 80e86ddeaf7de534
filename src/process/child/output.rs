//! The task of a process's output: reads it and reports the end of the process.

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
use crate::process::lines::{LineEnded, PartialLine, PartialTimer};

/// The longest silence of a pipe that outlives its process. Reading ends after it.
pub const DRAIN_IDLE_TIMEOUT: Duration = Duration::from_millis(200);

/// The longest time for which a pipe that outlives its process is read.
///
/// The time that a slow [tee](super::Spawn::tee) takes is not counted, so that all output of the
/// process itself is read.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct OutputTask {
    pub(super) publisher: Publisher,
    /// Standard output, or both streams where one pipe or terminal holds both.
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
    /// The unfinished line of the process. There is one for both streams, as on a terminal.
    pub(super) partial: PartialLine,
}

impl OutputTask {
    /// Runs until the process has ended and all its output and its final status are published.
    pub(super) async fn run(
        mut self,
        target: Arc<SignalTarget>,
        report: watch::Sender<Option<ExitReport>>,
    ) {
        let mut exit = pin!(target.wait_exit());
        let mut timer = PartialTimer::new();
        loop {
            timer.arm(self.partial.due());
            tokio::select! {
                () = &mut exit => break,
                read = self.stdout.read() => {
                    self.stdout.handle(read).await;
                    self.update_partial();
                }
                read = self.stderr.read() => {
                    self.stderr.handle(read).await;
                    self.update_partial();
                }
                () = timer.fired() => self.show_partial(),
            };
            // The pipes of a busy process are always ready. On one core the clients' writers need
            // their turn.
            tokio::task::yield_now().await;
        }
        self.drain().await;
        self.stdout.finish().await;
        self.stderr.finish().await;
        self.partial.clear(&self.publisher);
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

    /// Takes note of an unfinished line, or of its end, after a read of either stream.
    fn update_partial(&mut self) {
        let is_unfinished = self.stdout.is_unfinished() || self.stderr.is_unfinished();
        let inputs = [self.stdout.take_input(), self.stderr.take_input()];
        for LineEnded(has_ended) in inputs.into_iter().flatten() {
            let now = Instant::now();
            self.partial
                .update(has_ended, is_unfinished, now, &self.publisher);
        }
    }

    /// Shows the unfinished line: that of standard error, where prompts are written, if both
    /// streams have one.
    fn show_partial(&mut self) {
        let text = match self.stderr.partial() {
            [] => self.stdout.partial(),
            text => text,
        };
        self.partial.show(text, Instant::now(), &self.publisher);
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
