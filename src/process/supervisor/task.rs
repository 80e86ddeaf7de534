//! The task of one supervised process: starts it, restarts it and stops it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::restart::RestartBackoff;
use super::state::{QueuedOrder, SupervisorState};
use super::table::{ProcessEnd, ProcessFailure, RunPhase, TableEntry};
use super::{Supervised, SupervisorEvent};
use crate::callback::catch_callback;
use crate::message::{ProcessId, ProcessOrder, Status};
use crate::process::{ExitReport, Process, Signal, StopReport, Suspension};
use crate::{Hub, Publisher};

pub(super) type OnSupervisorEvent = dyn Fn(&ProcessId, SupervisorEvent<'_>) + Send + Sync;

/// The settings that all processes of a supervisor share.
pub(super) struct SupervisorSettings {
    pub(super) grace_period: Duration,
    /// `None`: the default.
    pub(super) stop_timeout: Option<Duration>,
    pub(super) end_with_parent: bool,
    pub(super) stop_all_on_failure: bool,
    pub(super) stop_all_on_end: bool,
    pub(super) kill_on_drop: bool,
    pub(super) on_event: Option<Box<OnSupervisorEvent>>,
}

pub(super) struct ProcessTask {
    pub(super) hub: Hub,
    pub(super) publisher: Publisher,
    /// The position of the process in the table.
    pub(super) index: usize,
    /// The process whose first start precedes this one's.
    pub(super) start_after: Option<usize>,
    pub(super) plan: Supervised,
    pub(super) backoff: RestartBackoff,
    pub(super) state: Arc<SupervisorState>,
    pub(super) settings: Arc<SupervisorSettings>,
    pub(super) orders: mpsc::Receiver<QueuedOrder>,
    /// The sender of the order that the next start executes.
    pub(super) start_done: Option<oneshot::Sender<()>>,
}

/// The next action of the task.
enum NextAction {
    Start,
    Delay(Duration),
    Rest,
    End,
}

impl ProcessTask {
    /// Runs until all processes are to end.
    pub(super) async fn run(mut self) {
        let mut next = self.await_turn().await;
        loop {
            next = match next {
                NextAction::Start => self.start().await,
                NextAction::Delay(delay) => self.await_restart(delay).await,
                NextAction::Rest => self.rest().await,
                NextAction::End => break,
            };
        }
    }

    /// Waits for the first start.
    async fn await_turn(&mut self) -> NextAction {
        let (after, delay) = (self.start_after, self.plan.start_delay);
        let state = Arc::clone(&self.state);
        let turn = async {
            if let Some(after) = after {
                state.wait_attempted(after).await;
            }
            sleep(delay).await;
        };
        tokio::select! {
            biased;
            () = state.wait_shutdown() => {
                self.come_to_rest(Status::Stopped, 0, NextAction::End)
            }
            () = turn => NextAction::Start,
            Some(order) = self.orders.recv() => match order.order {
                ProcessOrder::Start | ProcessOrder::Restart => {
                    self.start_done = order.done;
                    NextAction::Start
                }
                ProcessOrder::Stop => {
                    let next = self.come_to_rest(Status::Stopped, 0, NextAction::Rest);
                    notify(order.done);
                    next
                }
            },
        }
    }

    async fn start(&mut self) -> NextAction {
        let spawned = self.plan.spawn(&self.settings).start(&self.hub);
        let began = Instant::now();
        match spawned {
            Ok(mut process) => {
                self.plan.hand_over_input(&mut process);
                self.update(|entry| {
                    entry.info.status = Status::Running;
                    entry.info.code = 0;
                    entry.info.pid = Some(process.pid());
                    entry.phase = RunPhase::Running;
                    entry.attempted = true;
                });
                self.emit(SupervisorEvent::Started { pid: process.pid() });
                notify(self.start_done.take());
                self.state.set_target(self.index, Some(process.target()));
                let next = self.await_end(process, began).await;
                self.state.set_target(self.index, None);
                next
            }
            Err(error) => {
                self.emit(SupervisorEvent::NotStarted { error: &error });
                let report = ExitReport {
                    status: Status::Crashed,
                    code: error.code(),
                };
                let next = self.after_end(&report, Duration::ZERO);
                notify(self.start_done.take());
                next
            }
        }
    }

    /// Waits until a running process ends or is to end.
    async fn await_end(&mut self, process: Process, began: Instant) -> NextAction {
        let state = Arc::clone(&self.state);
        let mut suspension = None;
        loop {
            tokio::select! {
                report = process.wait() => {
                    let ran = began.elapsed();
                    self.emit(SupervisorEvent::Ended { report: &report });
                    // What it leaves behind may hold resources that the next run needs.
                    self.tell_unstopped(&process.end(None, self.grace_over()).await);
                    return self.after_end(&report, ran);
                }
                reason = process.suspension_changed(suspension) => {
                    suspension = reason;
                    self.update(|entry| {
                        entry.info.status = reason.map_or(Status::Running, Suspension::status);
                    });
                    self.emit(SupervisorEvent::Suspended { reason });
                }
                signal = state.wait_turn_to_stop(self.index) => {
                    let Some(report) = self.stop(&process, signal).await else {
                        return self.give_up();
                    };
                    self.record_failure(&report);
                    return self.come_to_rest(report.status, report.code, NextAction::End);
                }
                Some(QueuedOrder { order, done }) = self.orders.recv() => match order {
                    ProcessOrder::Start => notify(done),
                    ProcessOrder::Stop => {
                        let Some(report) = self.stop(&process, Signal::Terminate).await else {
                            notify(done);
                            continue;
                        };
                        let next =
                            self.come_to_rest(report.status, report.code, NextAction::Rest);
                        notify(done);
                        return next;
                    }
                    ProcessOrder::Restart => {
                        if self.stop(&process, Signal::Terminate).await.is_none() {
                            notify(done);
                            continue;
                        }
                        if state.is_shutting_down() {
                            return self.come_to_rest(Status::Stopped, 0, NextAction::End);
                        }
                        return self.restart_by_order(done);
                    }
                },
            }
        }
    }

    /// Decides what follows a run that ended by itself.
    fn after_end(&mut self, report: &ExitReport, ran: Duration) -> NextAction {
        let failed = report.code != 0 || report.status == Status::Crashed;
        if self.plan.restart.applies(failed) && !self.state.is_shutting_down() {
            let delay = self.backoff.after_run(ran);
            let restarting = Status::Other("restarting".to_owned());
            self.publisher.send_status(&restarting, 0);
            self.update(|entry| {
                entry.info.status = restarting;
                entry.info.code = report.code;
                entry.info.pid = None;
                entry.phase = RunPhase::Waiting;
                entry.attempted = true;
            });
            self.emit(SupervisorEvent::Restarting { delay });
            return NextAction::Delay(delay);
        }
        self.record_failure(report);
        self.record_end(report);
        if self.settings.stop_all_on_end || failed && self.settings.stop_all_on_failure {
            self.state.request_shutdown(Signal::Terminate);
        }
        self.come_to_rest(report.status.clone(), report.code, NextAction::Rest)
    }

    /// Waits for the restart.
    async fn await_restart(&mut self, delay: Duration) -> NextAction {
        let state = Arc::clone(&self.state);
        tokio::select! {
            biased;
            () = state.wait_shutdown() => self.cancel_restart(NextAction::End),
            () = sleep(delay) => {
                self.update(|entry| entry.info.restarts += 1);
                NextAction::Start
            }
            Some(QueuedOrder { order, done }) = self.orders.recv() => match order {
                ProcessOrder::Start | ProcessOrder::Restart => self.restart_by_order(done),
                ProcessOrder::Stop => {
                    let next = self.cancel_restart(NextAction::Rest);
                    notify(done);
                    next
                }
            },
        }
    }

    fn cancel_restart(&mut self, next: NextAction) -> NextAction {
        self.publisher.send_status(Status::Stopped, 0);
        let code = self.state.table.borrow().entry(self.index).info.code;
        if matches!(next, NextAction::End) && code != 0 {
            // The process failed, and the restart that would have made up for it is canceled.
            self.record_failure(&ExitReport {
                status: Status::Crashed,
                code,
            });
        }
        self.come_to_rest(Status::Stopped, code, next)
    }

    /// Waits for an order to start, or for the end of all processes.
    async fn rest(&mut self) -> NextAction {
        let state = Arc::clone(&self.state);
        loop {
            tokio::select! {
                biased;
                () = state.wait_shutdown() => return NextAction::End,
                Some(QueuedOrder { order, done }) = self.orders.recv() => match order {
                    ProcessOrder::Stop => notify(done),
                    ProcessOrder::Start | ProcessOrder::Restart => {
                        return self.restart_by_order(done);
                    }
                },
            }
        }
    }

    fn restart_by_order(&mut self, done: Option<oneshot::Sender<()>>) -> NextAction {
        self.start_done = done;
        self.backoff.reset();
        self.update(|entry| entry.info.restarts += 1);
        NextAction::Start
    }

    /// Returns `None` if the process still runs.
    async fn stop(&self, process: &Process, signal: Signal) -> Option<ExitReport> {
        let stopped = process.stop_group(signal, self.grace_over()).await;
        self.tell_unstopped(&stopped);
        let report = stopped.exit?;
        self.emit(SupervisorEvent::Ended { report: &report });
        Some(report)
    }

    fn tell_unstopped(&self, stopped: &StopReport) {
        for process in &stopped.unstopped {
            self.emit(SupervisorEvent::NotStopped { process });
        }
    }

    /// Leaves a process running that could not be stopped. It keeps its status and its pid.
    fn give_up(&self) -> NextAction {
        let status = Status::Running;
        self.record_failure(&ExitReport { status, code: 1 });
        self.update(|entry| entry.phase = RunPhase::Rest);
        NextAction::End
    }

    /// Waits for the end of the grace period, which ends early when all processes are to be killed.
    async fn grace_over(&self) {
        tokio::select! {
            () = sleep(self.settings.grace_period) => {}
            () = self.state.wait_kill() => {}
        }
    }

    fn record_failure(&self, report: &ExitReport) {
        if report.code != 0 {
            let failure = ProcessFailure {
                id: self.plan.id.clone(),
                code: report.code,
            };
            self.state.table.send_modify(|table| {
                table.first_failure.get_or_insert(failure);
            });
        }
    }

    fn record_end(&self, report: &ExitReport) {
        // The stop may be the cause.
        if self.state.is_shutting_down() {
            return;
        }
        let end = ProcessEnd {
            id: self.plan.id.clone(),
            code: report.code,
        };
        self.state.table.send_modify(|table| {
            table.first_end.get_or_insert(end);
        });
    }

    fn come_to_rest(&mut self, status: Status, code: i32, next: NextAction) -> NextAction {
        self.update(|entry| {
            entry.info.status = status;
            entry.info.code = code;
            entry.info.pid = None;
            entry.phase = RunPhase::Rest;
            entry.attempted = true;
        });
        next
    }

    /// Changes the process's entry in the table.
    fn update(&self, change: impl FnOnce(&mut TableEntry)) {
        self.state.table.send_modify(|table| {
            let entry = table.entry_mut(self.index);
            let before = entry.info.status.clone();
            change(entry);
            if entry.info.status != before {
                entry.info.since = SystemTime::now();
            }
        });
    }

    fn emit(&self, event: SupervisorEvent<'_>) {
        if let Some(on_event) = &self.settings.on_event {
            catch_callback("on_event", || on_event(&self.plan.id, event));
        }
    }
}

fn notify(done: Option<oneshot::Sender<()>>) {
    if let Some(done) = done {
        // Fails if the caller has stopped waiting.
        let _ = done.send(());
    }
}
