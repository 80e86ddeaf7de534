//! The task that takes a process's exit from the system, and its suspensions before.
//!
//! It is apart from the task that reads the output: a tee that takes no output holds that one up,
//! and the end of the process is to be seen nevertheless.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tokio::process::Child;

use super::Suspension;
use super::suspension::SuspensionWatch;
use super::target::SignalTarget;
use crate::Publisher;
use crate::message::Status;

/// Runs until the process has ended.
pub(super) async fn reap(mut child: Child, target: Arc<SignalTarget>, publisher: Publisher) {
    let mut suspension = SuspensionWatch::new(target.pid());
    let mut wait = pin!(child.wait());
    let mut exit = pin!(poll_fn(|cx| target.reap(|| wait.as_mut().poll(cx))));
    loop {
        tokio::select! {
            // The watch must not look at a process that was reaped.
            biased;
            () = &mut exit => return,
            reason = suspension.changed() => {
                let status = reason.map_or(Status::Running, Suspension::status);
                publisher.send_status(status, 0);
                target.suspension.send_replace(reason);
            }
        }
    }
}
