//! The task that keeps one process: starts it, starts it again, stops it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::callback::catch_callback;
use crate::message::{ProcessId, ProcessOrder, Status};
use crate::{Hub, Publisher};

use super::control::Shared;
use super::restart::Pauses;
use super::roster::{Entry, Phase, ProcessFailure};
use super::{DRAIN_LIMIT, ExitReport, Process, Signal, SpawnError, Supervised};

/// How long a process that was killed may take to be gone, with what it wrote. Beyond that its output is stuck in a tee.
const KILLED_LIMIT: Duration = DRAIN_LIMIT.saturating_add(Duration::from_secs(1));

/// Whether all processes are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// One after the other, the last started first, beginning with this signal.
    Asked(Signal),
    /// All at once, by `SIGKILL`.
    Killed,
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) order: ProcessOrder,
    /// Told when it is carried out.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// Something that happened to a supervised process.
#[derive(Debug)]
#[non_exhaustive]
pub enum SupervisorEvent<'a> {
    /// It was started.
    Started {
        /// The system's number for it.
        pid: u32,
    },
    /// It could not be started.
    NotStarted {
        /// Why.
        error: &'a SpawnError,
    },
    /// It ended, with all its output published.
    Ended {
        /// How.
        report: &'a ExitReport,
    },
    /// It will be started again.
    Restarting {
        /// After so long.
        pause: Duration,
    },
}

pub(super) type OnEvent = dyn Fn(&ProcessId, SupervisorEvent<'_>) + Send + Sync;

/// What all keepers of a supervisor go by.
pub(super) struct Rules {
    pub(super) grace: Duration,
    pub(super) stop_all_on_failure: bool,
    pub(super) kill_on_drop: bool,
    pub(super) on_event: Option<Box<OnEvent>>,
}

pub(super) struct Keeper {
    pub(super) hub: Hub,
    pub(super) publisher: Publisher,
    pub(super) index: usize,
    /// The process whose first start it waits for.
    pub(super) after: Option<usize>,
    pub(super) plan: Supervised,
    pub(super) pauses: Pauses,
    pub(super) shared: Arc<Shared>,
    pub(super) rules: Arc<Rules>,
    pub(super) orders: mpsc::Receiver<Order>,
    /// The order that the next start carries out.
    pub(super) ordered: Option<oneshot::Sender<()>>,
}

/// What a keeper does next.
enum Next {
    Start,
    Pause(Duration),
    Rest,
    End,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let mut next = self.await_turn().await;
        loop {
            next = match next {
                Next::Start => self.start().await,
                Next::Pause(pause) => self.pause(pause).await,
                Next::Rest => self.rest().await,
                Next::End => break,
            };
        }
    }

    /// Until the first start.
    async fn await_turn(&mut self) -> Next {
        let (after, delay) = (self.after, self.plan.delay);
        let mut roster = self.shared.roster.subscribe();
        let turn = async move {
            if let Some(after) = after {
                // The sender is in `shared`, which outlives this.
                let _ = roster
                    .wait_for(|roster| roster.entry(after).attempted)
                    .await;
            }
            sleep(delay).await;
        };
        tokio::select! {
            biased;
            () = told_to_end(&self.shared) => self.come_to_rest(Status::Stopped, 0, Next::End),
            () = turn => Next::Start,
            Some(order) = self.orders.recv() => match order.order {
                ProcessOrder::Start | ProcessOrder::Restart => {
                    self.ordered = order.done;
                    Next::Start
                }
                ProcessOrder::Stop => {
                    let next = self.come_to_rest(Status::Stopped, 0, Next::Rest);
                    tell(order.done);
                    next
                }
            },
        }
    }

    async fn start(&mut self) -> Next {
        let spawned = self.plan.spawn(self.rules.kill_on_drop).start(&self.hub);
        let began = Instant::now();
        match spawned {
            Ok(process) => {
                self.change(|entry| {
                    entry.info.status = Status::Running;
                    entry.info.code = 0;
                    entry.info.pid = Some(process.pid());
                    entry.phase = Phase::Running;
                    entry.attempted = true;
                });
                self.event(SupervisorEvent::Started { pid: process.pid() });
                tell(self.ordered.take());
                self.watch(process, began).await
            }
            Err(error) => {
                self.event(SupervisorEvent::NotStarted { error: &error });
                let report = ExitReport {
                    status: Status::Crashed,
                    code: error.code(),
                };
                let next = self.after_end(&report, Duration::ZERO);
                tell(self.ordered.take());
                next
            }
        }
    }

    /// While it runs.
    async fn watch(&mut self, process: Process, began: Instant) -> Next {
        loop {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                report = process.wait() => {
                    let ran = began.elapsed();
                    self.event(SupervisorEvent::Ended { report: &report });
                    self.end_rest(&process).await;
                    return self.after_end(&report, ran);
                }
                signal = turn_to_end(&shared, self.index) => {
                    let report = self.end(&process, signal).await;
                    self.note_failure(&report);
                    return self.come_to_rest(report.status, report.code, Next::End);
                }
                Some(Order { order, done }) = self.orders.recv() => match order {
                    ProcessOrder::Start => tell(done),
                    ProcessOrder::Stop => {
                        let report = self.end(&process, Signal::Terminate).await;
                        let next = self.come_to_rest(report.status, report.code, Next::Rest);
                        tell(done);
                        return next;
                    }
                    ProcessOrder::Restart => {
                        self.end(&process, Signal::Terminate).await;
                        if *self.shared.ending.borrow() != Ending::No {
                            return self.come_to_rest(Status::Stopped, 0, Next::End);
                        }
                        self.pauses.reset();
                        self.ordered = done;
                        self.change(|entry| entry.info.restarts += 1);
                        return Next::Start;
                    }
                },
            }
        }
    }

    /// What follows the end of a run that nobody asked for.
    fn after_end(&mut self, report: &ExitReport, ran: Duration) -> Next {
        let failed = report.code != 0 || report.status == Status::Crashed;
        if self.plan.restart.applies(failed) && *self.shared.ending.borrow() == Ending::No {
            let pause = self.pauses.after(ran);
            let restarting = Status::Other("restarting".to_owned());
            self.publisher.send_status(&restarting, 0);
            self.change(|entry| {
                entry.info.status = restarting;
                entry.info.code = report.code;
                entry.info.pid = None;
                entry.phase = Phase::Waiting;
                entry.attempted = true;
            });
            self.event(SupervisorEvent::Restarting { pause });
            return Next::Pause(pause);
        }
        self.note_failure(report);
        if failed && self.rules.stop_all_on_failure {
            ask_to_end(&self.shared.ending, Signal::Terminate);
        }
        self.come_to_rest(report.status.clone(), report.code, Next::Rest)
    }

    /// Until the restart.
    async fn pause(&mut self, pause: Duration) -> Next {
        tokio::select! {
            biased;
            () = told_to_end(&self.shared) => self.stopped_in_pause(Next::End),
            () = sleep(pause) => {
                self.change(|entry| entry.info.restarts += 1);
                Next::Start
            }
            Some(Order { order, done }) = self.orders.recv() => match order {
                ProcessOrder::Start | ProcessOrder::Restart => {
                    self.ordered = done;
                    self.pauses.reset();
                    self.change(|entry| entry.info.restarts += 1);
                    Next::Start
                }
                ProcessOrder::Stop => {
                    let next = self.stopped_in_pause(Next::Rest);
                    tell(done);
                    next
                }
            },
        }
    }

    fn stopped_in_pause(&mut self, next: Next) -> Next {
        self.publisher.send_status(Status::Stopped, 0);
        let code = self.shared.roster.borrow().entry(self.index).info.code;
        if matches!(next, Next::End) && code != 0 {
            // It had failed, and was to be started again: now it will not be.
            self.note_failure(&ExitReport {
                status: Status::Crashed,
                code,
            });
        }
        self.come_to_rest(Status::Stopped, code, next)
    }

    /// Until it is started by order, or all end.
    async fn rest(&mut self) -> Next {
        loop {
            tokio::select! {
                biased;
                () = told_to_end(&self.shared) => return Next::End,
                Some(Order { order, done }) = self.orders.recv() => match order {
                    ProcessOrder::Stop => tell(done),
                    ProcessOrder::Start | ProcessOrder::Restart => {
                        self.ordered = done;
                        self.pauses.reset();
                        self.change(|entry| entry.info.restarts += 1);
                        return Next::Start;
                    }
                },
            }
        }
    }

    /// Ends a running process: the signal to its group, after the grace `SIGKILL`. Returns when nothing of the group is left.
    async fn end(&self, process: &Process, signal: Signal) -> ExitReport {
        process.stop_on_purpose(signal);
        if signal != Signal::Kill {
            self.within_grace(async {
                process.wait_exit().await;
                // What a shell has started in the background ignores SIGINT.
                if signal != Signal::Terminate {
                    process.signal_group(Signal::Terminate);
                }
                process.group_gone().await;
            })
            .await;
        }
        process.signal_group(Signal::Kill);
        // The tee may be stuck, and with it the end of the output. The process itself is gone.
        let ended = timeout(KILLED_LIMIT, async {
            process.group_gone().await;
            process.wait().await
        });
        let report = ended.await.unwrap_or(ExitReport {
            status: Status::Stopped,
            code: 128 + Signal::Kill.number(),
        });
        self.event(SupervisorEvent::Ended { report: &report });
        report
    }

    /// Ends what a process that has ended by itself has left in its group: it may hold what the next run needs.
    async fn end_rest(&self, process: &Process) {
        if process.has_group() {
            process.signal_group(Signal::Terminate);
            self.within_grace(process.group_gone()).await;
            process.signal_group(Signal::Kill);
            let _ = timeout(KILLED_LIMIT, process.group_gone()).await;
        }
    }

    /// Waits for `gone` as long as the grace lasts, which ends when all are killed.
    async fn within_grace(&self, gone: impl Future<Output = ()>) {
        let mut ending = self.shared.ending.subscribe();
        tokio::select! {
            () = gone => {}
            () = sleep(self.rules.grace) => {}
            _ = ending.wait_for(|&ending| ending == Ending::Killed) => {}
        }
    }

    fn note_failure(&self, report: &ExitReport) {
        if report.code != 0 {
            let failed = ProcessFailure {
                id: self.plan.id.clone(),
                code: report.code,
            };
            self.shared.roster.send_modify(|roster| {
                roster.first_failure.get_or_insert(failed);
            });
        }
    }

    fn come_to_rest(&mut self, status: Status, code: i32, next: Next) -> Next {
        self.change(|entry| {
            entry.info.status = status;
            entry.info.code = code;
            entry.info.pid = None;
            entry.phase = Phase::Rest;
            entry.attempted = true;
        });
        next
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) {
        self.shared.roster.send_modify(|roster| {
            let entry = roster.entry_mut(self.index);
            let before = entry.info.status.clone();
            change(entry);
            if entry.info.status != before {
                entry.info.since = SystemTime::now();
            }
        });
    }

    fn event(&self, event: SupervisorEvent<'_>) {
        if let Some(on_event) = &self.rules.on_event {
            let span = tracing::error_span!("supervisor", process = %self.plan.id);
            span.in_scope(|| catch_callback("on_event", || on_event(&self.plan.id, event)));
        }
    }
}

fn tell(done: Option<oneshot::Sender<()>>) {
    if let Some(done) = done {
        // Whoever gave the order need not wait for it.
        let _ = done.send(());
    }
}

/// Asks all to end, unless they have been already.
pub(super) fn ask_to_end(ending: &watch::Sender<Ending>, signal: Signal) {
    ending.send_if_modified(|ending| {
        let is_new = *ending == Ending::No;
        if is_new {
            *ending = Ending::Asked(signal);
        }
        is_new
    });
}

/// Until all are to end.
async fn told_to_end(shared: &Shared) {
    let mut ending = shared.ending.subscribe();
    // The sender is in `shared`.
    let _ = ending.wait_for(|&ending| ending != Ending::No).await;
}

/// Until all are to end and those that started later have; the signal it begins with.
async fn turn_to_end(shared: &Shared, index: usize) -> Signal {
    told_to_end(shared).await;
    let mut ending = shared.ending.subscribe();
    let mut roster = shared.roster.subscribe();
    tokio::select! {
        _ = ending.wait_for(|&ending| ending == Ending::Killed) => Signal::Kill,
        _ = roster.wait_for(|roster| roster.is_at_rest_from(index + 1)) => match *shared.ending.borrow() {
            Ending::Asked(signal) => signal,
            _ => Signal::Kill,
        },
    }
}
