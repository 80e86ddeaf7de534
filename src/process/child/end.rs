//! Ends processes that were found: asks each once, then kills.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Signal;
use crate::process::ownership::{Member, Unstopped};

/// The longest wait for the end of killed processes.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// The pauses between looks at processes that are to end.
const MIN_POLL: Duration = Duration::from_millis(5);
const MAX_POLL: Duration = Duration::from_millis(40);

/// The pauses between looks. The system reports the end of a child only, so others are looked at.
pub(super) struct Poll(Duration);

impl Poll {
    pub(super) fn new() -> Self {
        Self(MIN_POLL)
    }

    pub(super) async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(MAX_POLL);
    }
}

/// The processes that were asked to end.
#[derive(Default)]
pub(super) struct Asked(HashSet<Member>);

impl Asked {
    /// Counts these as asked without sending anything.
    pub(super) fn add(&mut self, members: impl IntoIterator<Item = Member>) {
        self.0.extend(members);
    }

    /// Sends `SIGTERM` to those that were not asked before, and lets suspended ones continue.
    pub(super) fn ask(&mut self, members: &[Member]) {
        for member in members {
            if self.0.insert(*member) {
                // Who cannot be signaled is named in the end.
                let _ = member.signal(Signal::Terminate);
                let _ = member.signal(Signal::Continue);
            }
        }
    }
}

/// Sends `SIGKILL` to each. Returns the refusals.
pub(super) fn kill(members: &[Member]) -> Vec<Unstopped> {
    let refusal = |member: &Member| match member.signal(Signal::Kill) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Some(Unstopped::new(member.pid(), error))
        }
        _ => None,
    };
    members.iter().filter_map(refusal).collect()
}

/// Ends the processes that `find` returns: sends `SIGTERM` to each, and `SIGKILL` when `grace_over`
/// completes. Returns those that still run.
pub(in crate::process) async fn end_members(
    find: impl Fn() -> Vec<Member>,
    grace_over: impl Future<Output = ()>,
) -> Vec<Unstopped> {
    let gone = async {
        let (mut asked, mut poll) = (Asked::default(), Poll::new());
        loop {
            let members = find();
            if members.is_empty() {
                return;
            }
            asked.ask(&members);
            poll.pause().await;
        }
    };
    tokio::select! {
        () = gone => return Vec::new(),
        () = grace_over => {}
    }
    let killed = timeout(KILL_TIMEOUT, async {
        let mut poll = Poll::new();
        loop {
            let members = find();
            let refused = kill(&members);
            // Nothing changes while the system refuses all that is left.
            if refused.len() == members.len() {
                return refused;
            }
            poll.pause().await;
        }
    });
    match killed.await {
        Ok(refused) => refused,
        Err(_) => still_running(&find()),
    }
}

/// Names processes that were killed and have not ended.
pub(super) fn still_running(members: &[Member]) -> Vec<Unstopped> {
    let name = |member: &Member| {
        let error = member.signal(Signal::Kill).err();
        let error = error.unwrap_or_else(|| io::ErrorKind::TimedOut.into());
        (error.kind() != io::ErrorKind::NotFound).then(|| Unstopped::new(member.pid(), error))
    };
    members.iter().filter_map(name).collect()
}
