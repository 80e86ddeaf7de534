//! Several processes under the library's supervisor, watched through its events, its handle and
//! real sockets.

use std::path::Path;
use std::time::Duration;

use outrace::process::{
    Control, ControlError, Program, ProgramInput, Restart, RestartDelay, Signal, Supervised,
    Supervisor, SupervisorBuilder, SupervisorError, SupervisorEvent,
};
use outrace::{Hub, Status};
use outrace_testkit::{JsonClient, Scratch, bounded, serve};
use tokio::sync::mpsc;

/// A script that never ends by itself, and prints a line when it is up.
const FOREVER: &str = "echo up; while :; do sleep 1000 & wait; done";
/// As [`FOREVER`], and it ignores SIGTERM.
const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 1000 & wait; done";
const AN_HOUR: Duration = Duration::from_secs(3600);

fn shell(id: &str, script: &str) -> Supervised {
    Supervised::new(id, Program::shell(script))
        .unwrap()
        .restart_delay(RestartDelay::new(Duration::ZERO))
}

/// The events of a supervisor as text: `web started`, `web exited 1`.
struct Events(mpsc::UnboundedReceiver<String>);

impl Events {
    fn of(builder: SupervisorBuilder) -> (SupervisorBuilder, Self) {
        let (said, heard) = mpsc::unbounded_channel();
        let builder = builder.on_event(move |id, event| {
            let what = match event {
                SupervisorEvent::Started { .. } => "started".to_owned(),
                SupervisorEvent::NotStarted { error } => format!("not started: {error}"),
                SupervisorEvent::Ended { report } => format!("{} {}", report.status, report.code),
                SupervisorEvent::Restarting { .. } => "restarting".to_owned(),
                other => panic!("{other:?}"),
            };
            let _ = said.send(format!("{id} {what}"));
        });
        (builder, Self(heard))
    }

    async fn next(&mut self) -> String {
        self.0.recv().await.expect("more happens")
    }

    async fn until(&mut self, expected: &str) {
        while self.next().await != expected {}
    }

    /// Returns the events that have happened and were not read yet.
    fn so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

/// Waits until a file exists and ends with a line end. Returns its text without that.
async fn written(path: &str) -> String {
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Returns whether a process runs. A zombie does not, and where nothing reaps orphans a zombie
/// stays.
fn runs(pid: &str) -> bool {
    match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
        Ok(stat) => !stat[stat.rfind(')').unwrap()..].starts_with(") Z"),
        Err(_) if Path::new("/proc/self/stat").exists() => false,
        Err(_) => {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            rustix::process::test_kill_process(pid).is_ok()
        }
    }
}

async fn status(control: &Control, id: &str, status: &str) {
    control
        .wait_until(|all| {
            all.iter()
                .any(|p| p.id.as_str() == id && p.status.as_str() == status)
        })
        .await;
}

#[tokio::test]
async fn processes_start_in_order_and_stop_side_by_side() {
    bounded(async {
        let hub = Hub::new();
        let builder = ["a", "b", "c"]
            .into_iter()
            .fold(Supervisor::builder(), |b, id| b.process(shell(id, FOREVER)));
        let (builder, mut events) = Events::of(builder);
        let supervisor = builder.start(&hub).unwrap();
        for id in ["a", "b", "c"] {
            assert_eq!(events.next().await, format!("{id} started"));
        }
        let all = supervisor.stop().await;
        let mut stopped = events.so_far();
        stopped.sort_unstable();
        assert_eq!(stopped, ["a stopped 143", "b stopped 143", "c stopped 143"]);
        assert!(
            all.iter()
                .all(|p| p.status == Status::Stopped && p.code == 143 && p.pid.is_none())
        );
    })
    .await;
}

#[tokio::test]
async fn a_process_ends_before_the_one_that_it_starts_after() {
    bounded(async {
        let hub = Hub::new();
        // Each tells its end to a file. The database needs no time for its own.
        let scratch = Scratch::new();
        let ends = scratch.path("ends");
        let script = |id: &str, pause: &str| {
            format!(
                "trap 'sleep {pause}; echo {id} >> {ends}; exit 0' TERM; echo up; \
                 while :; do sleep 0.02; done"
            )
        };
        let url = serve(&hub).await;
        let mut ups = Vec::new();
        for id in ["db", "web", "worker"] {
            ups.push(JsonClient::subscribed(&url, &format!("process:{id}")).await);
        }
        let supervisor = Supervisor::builder()
            .process(shell("db", &script("db", "0")))
            .process(shell("web", &script("web", "0.3")).start_after("db"))
            .process(shell("worker", &script("worker", "0.1")).start_after("web"))
            .grace_period(AN_HOUR)
            .start(&hub)
            .unwrap();
        for client in &mut ups {
            client.until_line("up").await;
        }
        supervisor.stop().await;
        assert_eq!(std::fs::read_to_string(&ends).unwrap(), "worker\nweb\ndb\n");
    })
    .await;
}

#[tokio::test]
async fn a_stop_that_takes_too_long_kills_also_those_whose_turn_has_not_come() {
    bounded(async {
        let hub = Hub::new();
        let url = serve(&hub).await;
        let mut last = JsonClient::subscribed(&url, "process:c").await;
        let supervisor = Supervisor::builder()
            .process(shell("a", STUBBORN))
            .process(shell("b", STUBBORN).start_after("a"))
            .process(shell("c", STUBBORN).start_after("b"))
            .grace_period(AN_HOUR)
            .stop_timeout(Duration::from_millis(50))
            .start(&hub)
            .unwrap();
        last.until_line("up").await;
        let all = supervisor.stop().await;
        assert!(all.iter().all(|p| p.status == Status::Stopped), "{all:?}");
    })
    .await;
}

#[tokio::test]
async fn a_suspended_process_has_that_status_and_can_be_stopped() {
    bounded(async {
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(shell("it", FOREVER))
            .grace_period(AN_HOUR)
            .start(&hub)
            .unwrap();
        let control = supervisor.control();
        status(&control, "it", "running").await;
        supervisor.signal_all(Signal::Stop);
        status(&control, "it", "suspended").await;
        supervisor.signal_all(Signal::Continue);
        status(&control, "it", "running").await;
        supervisor.signal_all(Signal::Stop);
        status(&control, "it", "suspended").await;
        let all = supervisor.stop().await;
        assert_eq!((all[0].status.clone(), all[0].code), (Status::Stopped, 143));
    })
    .await;
}

#[tokio::test]
async fn an_input_is_empty_or_held_open_as_the_program_says() {
    bounded(async {
        let hub = Hub::new();
        let program = |stdin| Program::shell("cat; exit 3").stdin(stdin);
        let supervisor = Supervisor::builder()
            .process(Supervised::new("empty", program(ProgramInput::Empty)).unwrap())
            .process(Supervised::new("open", program(ProgramInput::HeldOpen)).unwrap())
            .start(&hub)
            .unwrap();
        let control = supervisor.control();
        status(&control, "empty", "exited").await;
        status(&control, "open", "running").await;
        let all = supervisor.stop().await;
        assert_eq!((all[0].code, all[1].code), (3, 143));
    })
    .await;
}

#[tokio::test]
async fn one_starts_after_the_process_it_names_and_its_delay() {
    bounded(async {
        let hub = Hub::new();
        let (builder, mut events) = Events::of(
            Supervisor::builder()
                .process(shell("db", FOREVER))
                .process(shell("slow", FOREVER).start_delay(AN_HOUR))
                .process(
                    shell("web", FOREVER)
                        .start_after("db")
                        .start_delay(Duration::from_millis(1)),
                ),
        );
        let supervisor = builder.start(&hub).unwrap();
        assert_eq!(
            [events.next().await, events.next().await],
            ["db started", "web started"]
        );
        assert_eq!(supervisor.control().list()[1].status.as_str(), "waiting");
        // A start by order ends the delay.
        supervisor.control().start("slow").await.unwrap();
        assert_eq!(events.next().await, "slow started");
        supervisor.stop().await;
    })
    .await;
}

#[test]
fn two_of_one_id_and_an_order_that_cannot_be_are_refused() {
    let hub = Hub::new();
    let twice = Supervisor::builder()
        .process(shell("a", "true"))
        .process(shell("a", "true"))
        .start(&hub);
    assert!(matches!(twice, Err(SupervisorError::DuplicateId(id)) if id.as_str() == "a"));
    for after in ["b", "a", "nobody"] {
        let builder = Supervisor::builder()
            .process(shell("a", "true").start_after(after))
            .process(shell("b", "true"));
        assert!(
            matches!(builder.start(&hub), Err(SupervisorError::StartOrder { .. })),
            "a after {after}"
        );
    }
}

#[tokio::test]
async fn a_failing_process_is_restarted_until_it_succeeds_and_its_channel_has_every_status() {
    bounded(async {
        let scratch = Scratch::new();
        let count = scratch.path("count");
        let script = format!(
            "echo run >> {count}; echo run $(wc -l < {count}); [ $(wc -l < {count}) -ge 3 ]"
        );
        let hub = Hub::builder()
            .history(1000)
            .history_bytes(1 << 20)
            .build()
            .unwrap();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let supervisor = Supervisor::builder()
            .process(shell("it", &script).restart(Restart::OnFailure))
            .start(&hub)
            .unwrap();
        let all = supervisor.wait().await;
        assert_eq!(
            (all[0].status.clone(), all[0].code, all[0].restarts),
            (Status::Exited, 0, 2)
        );
        assert_eq!(supervisor.first_failure(), None, "it was started again");
        let mut story = Vec::new();
        while story.last().is_none_or(|last| last != "exited 0") {
            let message = client.message_or_end().await.unwrap();
            story.push(match message["data"].as_str() {
                Some(line) => line.to_owned(),
                None => format!(
                    "{} {}",
                    message["data"]["status"].as_str().unwrap(),
                    message["data"]["exitCode"]
                ),
            });
        }
        let expected = "running 0,run 1,exited 1,restarting 0,\
                        running 0,run 2,exited 1,restarting 0,\
                        running 0,run 3,exited 0";
        assert_eq!(story.join(","), expected);
        // One numbering for all runs: three lines and eight statuses.
        assert_eq!(hub.channels().next().unwrap().seq, 11);
    })
    .await;
}

#[tokio::test]
async fn the_numbering_goes_on_from_run_to_run_without_a_history_or_subscribers() {
    bounded(async {
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(shell("it", "echo line").restart(Restart::Always))
            .start(&hub)
            .unwrap();
        supervisor
            .control()
            .wait_until(|all| all[0].restarts >= 3)
            .await;
        supervisor.stop().await;
        let channel = hub.channels().next().unwrap();
        assert!(
            channel.published >= 3 * 4,
            "three runs of a line and three statuses: {}",
            channel.published
        );
    })
    .await;
}

#[tokio::test]
async fn a_process_that_cannot_be_started_has_crashed_and_is_tried_again_by_its_policy() {
    bounded(async {
        let hub = Hub::new();
        let missing = |id, restart| {
            Supervised::new(id, Program::new("/no/such/program"))
                .unwrap()
                .restart(restart)
                .restart_delay(RestartDelay::new(Duration::ZERO))
        };
        let (builder, mut events) = Events::of(
            Supervisor::builder()
                .process(missing("once", Restart::Never))
                .process(missing("again", Restart::OnFailure)),
        );
        let supervisor = builder.start(&hub).unwrap();
        supervisor
            .control()
            .wait_until(|all| all[1].restarts >= 2)
            .await;
        let all = supervisor.stop().await;
        assert_eq!((all[0].status.clone(), all[0].code), (Status::Crashed, 127));
        assert_eq!(all[0].restarts, 0);
        let failed = supervisor.first_failure().unwrap();
        assert_eq!((failed.id.as_str(), failed.code), ("once", 127));
        assert!(
            events
                .next()
                .await
                .starts_with("once not started: /no/such/program: not found")
        );
    })
    .await;
}

#[tokio::test]
async fn a_stopped_process_stays_stopped_and_can_be_started_again() {
    bounded(async {
        let hub = Hub::new();
        let mut client = JsonClient::subscribed(&serve(&hub).await, "process:it").await;
        let supervisor = Supervisor::builder()
            .process(shell("it", FOREVER).restart(Restart::Always))
            .process(shell("other", FOREVER))
            .start(&hub)
            .unwrap();
        let control = supervisor.control();
        client.until_line("up").await;
        control.stop("it").await.unwrap();
        assert_eq!(client.final_status().await.1, ("stopped".into(), 0));
        let info = control.list().remove(0);
        assert_eq!(
            (info.status, info.code, info.pid, info.restarts),
            (Status::Stopped, 143, None, 0)
        );
        control.stop("it").await.unwrap();
        control.start("it").await.unwrap();
        client.until_line("up").await;
        let first = control.list().remove(0).pid.unwrap();
        control.start("it").await.unwrap();
        assert_eq!(control.list()[0].pid, Some(first), "it runs already");
        control.restart("it").await.unwrap();
        client.until_line("up").await;
        let info = control.list().remove(0);
        assert_eq!((info.status, info.restarts), (Status::Running, 2));
        assert_ne!(info.pid, Some(first));
        assert_eq!(control.list()[1].restarts, 0);
        supervisor.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_stop_ends_the_pause_before_a_restart_and_a_start_shortens_it() {
    bounded(async {
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(
                shell("it", "exit 3")
                    .restart(Restart::OnFailure)
                    .restart_delay(RestartDelay::new(AN_HOUR)),
            )
            .start(&hub)
            .unwrap();
        let control = supervisor.control();
        status(&control, "it", "restarting").await;
        control.start("it").await.unwrap();
        control
            .wait_until(|all| all[0].restarts == 1 && all[0].status.as_str() == "restarting")
            .await;
        control.stop("it").await.unwrap();
        let all = supervisor.wait().await;
        assert_eq!((all[0].status.clone(), all[0].code), (Status::Stopped, 3));
        assert_eq!(
            hub.channels().next().unwrap().status.unwrap().status,
            Status::Stopped
        );
    })
    .await;
}

#[tokio::test]
async fn after_the_grace_the_whole_group_is_killed() {
    bounded(async {
        let scratch = Scratch::new();
        let child = scratch.path("child");
        let script = format!(
            "trap '' TERM; \
             (trap '' TERM; sh -c 'echo $PPID' > {child}; while :; do sleep 0.01; done) & \
             {STUBBORN}"
        );
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(shell("it", &script))
            .grace_period(Duration::from_millis(50))
            .start(&hub)
            .unwrap();
        let child = written(&child).await;
        assert!(runs(&child));
        let all = supervisor.stop().await;
        assert_eq!((all[0].status.clone(), all[0].code), (Status::Stopped, 137));
        assert!(!runs(&child), "a child outlived its group");
    })
    .await;
}

#[tokio::test]
async fn the_grace_is_for_the_whole_group_though_its_leader_ends_at_once() {
    bounded(async {
        let scratch = Scratch::new();
        let (up, bye) = (scratch.path("up"), scratch.path("bye"));
        // The signal ends the shell. Its child cleans up first, and writes elsewhere.
        let child = format!(
            "trap 'sleep 0.3; echo bye > {bye}; exit 0' TERM; echo up > {up}; \
             while :; do sleep 0.02; done"
        );
        let script = format!("sh -c \"{child}\" > /dev/null 2>&1; echo never");
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(shell("it", &script))
            .grace_period(AN_HOUR)
            .start(&hub)
            .unwrap();
        written(&up).await;
        supervisor.stop().await;
        assert_eq!(
            std::fs::read_to_string(&bye).unwrap(),
            "bye\n",
            "the child was not waited for"
        );
    })
    .await;
}

#[tokio::test]
async fn processes_that_a_run_left_behind_end_before_the_next() {
    bounded(async {
        let scratch = Scratch::new();
        let (children, again) = (scratch.path("children"), scratch.path("again"));
        // The second run reports whether the child of the first run is still alive.
        let script = format!(
            "if [ -e {children} ]; then kill -0 $(cat {children}) 2>/dev/null && \
             ! grep -q 'State:.Z' /proc/$(cat {children})/status && \
             echo runs > {again} || echo gone > {again}; \
             exit 0; fi; sleep 1000 > /dev/null 2>&1 & echo $! > {children}; exit 1"
        );
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(shell("it", &script).restart(Restart::OnFailure))
            .start(&hub)
            .unwrap();
        let all = supervisor.wait().await;
        assert_eq!((all[0].code, all[0].restarts), (0, 1));
        assert_eq!(written(&again).await, "gone");
    })
    .await;
}

#[tokio::test]
async fn the_first_failure_stops_all_if_asked_to_and_only_then() {
    bounded(async {
        let build = |stop| {
            Supervisor::builder()
                .process(shell("web", FOREVER))
                .process(shell("job", "exit 7"))
                .process(shell("fine", "exit 0"))
                .stop_all_on_failure(stop)
        };
        let hub = Hub::new();
        let (builder, mut events) = Events::of(build(true));
        let supervisor = builder.start(&hub).unwrap();
        let all = supervisor.wait().await;
        assert_eq!(all[0].status, Status::Stopped);
        let failed = supervisor.first_failure().unwrap();
        assert_eq!((failed.id.as_str(), failed.code), ("job", 7));
        assert_eq!(
            supervisor.control().start("web").await,
            Err(ControlError::Stopping)
        );
        assert!(events.so_far().contains(&"web stopped 143".to_owned()));

        let hub = Hub::new();
        let (builder, mut events) = Events::of(build(false));
        let supervisor = builder.start(&hub).unwrap();
        events.until("job exited 7").await;
        status(&supervisor.control(), "fine", "exited").await;
        assert_eq!(supervisor.control().list()[0].status, Status::Running);
        supervisor.stop().await;
        assert_eq!(supervisor.first_failure().unwrap().id.as_str(), "job");
    })
    .await;
}

#[tokio::test]
async fn killing_waits_for_no_grace() {
    bounded(async {
        let hub = Hub::new();
        let builder = Supervisor::builder()
            .process(shell("a", STUBBORN))
            .process(shell("b", STUBBORN));
        let (builder, _events) = Events::of(builder.grace_period(AN_HOUR));
        let url = serve(&hub).await;
        let (mut a, mut b) = (
            JsonClient::subscribed(&url, "process:a").await,
            JsonClient::subscribed(&url, "process:b").await,
        );
        let supervisor = builder.start(&hub).unwrap();
        a.until_line("up").await;
        b.until_line("up").await;
        supervisor.begin_stop(Signal::Terminate);
        supervisor.kill();
        let all = supervisor.wait().await;
        assert!(
            all.iter()
                .all(|p| p.status == Status::Stopped && p.code == 137),
            "{all:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn orders_that_cannot_be_carried_out_are_refused_by_name() {
    bounded(async {
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(shell("it", FOREVER))
            .start(&hub)
            .unwrap();
        let control = supervisor.control();
        assert_eq!(
            control.restart("nobody").await,
            Err(ControlError::UnknownProcess("nobody".into()))
        );
        assert!(control.contains("it") && !control.contains("nobody"));
        supervisor.stop().await;
        assert_eq!(control.start("it").await, Err(ControlError::Stopping));
        drop(supervisor);
        assert_eq!(
            control.list()[0].status,
            Status::Stopped,
            "what is known stays"
        );
        assert_eq!(control.start("it").await, Err(ControlError::Stopping));
    })
    .await;
}

#[tokio::test]
async fn dropping_the_supervisor_leaves_its_processes_running_and_restarts_none_unless_it_is_to_kill_them()
 {
    bounded(async {
        let hub = Hub::new();
        let url = serve(&hub).await;
        let scratch = Scratch::new();
        for kill in [false, true] {
            let go = scratch.path(&format!("go-{kill}"));
            let script =
                format!("echo up; until [ -e {go} ]; do sleep 0.01; done; echo went; exit 1");
            let mut client = JsonClient::subscribed(&url, "process:it").await;
            let supervisor = Supervisor::builder()
                .process(shell("it", &script).restart(Restart::Always))
                .kill_on_drop(kill)
                .start(&hub)
                .unwrap();
            client.until_line("up").await;
            drop(supervisor);
            if !kill {
                std::fs::write(&go, "").unwrap();
            }
            let (lines, end) = client.final_status().await;
            if kill {
                assert_eq!((lines.len(), end), (0, ("crashed".into(), 137)));
            } else {
                assert_eq!(
                    (lines, end),
                    (vec!["went".to_owned()], ("exited".into(), 1))
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_callback_that_panics_ends_nothing() {
    bounded(async {
        let hub = Hub::new();
        let supervisor = Supervisor::builder()
            .process(shell("it", "exit 5"))
            .on_event(|_, _| panic!("in a callback"))
            .start(&hub)
            .unwrap();
        assert_eq!(supervisor.wait().await[0].code, 5);
    })
    .await;
}
