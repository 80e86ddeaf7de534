//! `outrace run` owns what it starts: however it ends, nothing of it runs on.
#![cfg(target_os = "linux")]

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use outrace_testkit::{JsonClient, Scratch, bounded};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::sleep;

use crate::program::{Outrace, PATH, outrace, run};

/// Processes that report their pids in files of a folder, one for each name.
pub(crate) struct Family {
    scratch: Scratch,
}

impl Family {
    pub(crate) fn new() -> Self {
        Self {
            scratch: Scratch::new(),
        }
    }

    /// Returns the script of a process that reports its pid under `name` and then sleeps.
    pub(crate) fn sleeper(&self, name: &str) -> String {
        let path = self.scratch.path(name);
        format!("sh -c 'echo $$ > {path}.new; mv {path}.new {path}; exec sleep 1000'")
    }

    /// Waits until the process has reported its pid.
    pub(crate) async fn pid(&self, name: &str) -> i32 {
        loop {
            if let Ok(text) = std::fs::read_to_string(self.scratch.path(name)) {
                return text.trim().parse().unwrap();
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the processes have ended that have reported under these names.
    pub(crate) async fn gone(&self, names: &[&str]) {
        for name in names {
            let pid = self.pid(name).await;
            while state(pid).is_some_and(|state| state != 'Z') {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Asserts that the processes have ended already.
    async fn assert_gone(&self, names: &[&str], when: &str) {
        for name in names {
            let state = state(self.pid(name).await).filter(|&state| state != 'Z');
            assert_eq!(state, None, "{name} {when}");
        }
    }
}

/// Returns the state of a process as in ps, or `None` if there is none.
pub(crate) fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

async fn ended(server: &mut Outrace) -> ExitStatus {
    server.child.wait().await.unwrap()
}

#[tokio::test]
async fn a_signal_that_ends_outrace_ends_all_it_has_started_and_outrace_ends_by_it() {
    bounded(async {
        for signal in [
            Signal::HUP,
            Signal::INT,
            Signal::QUIT,
            Signal::USR1,
            Signal::USR2,
            Signal::ALARM,
            Signal::TERM,
            Signal::XFSZ,
            Signal::XCPU,
            Signal::VTALARM,
            Signal::PROF,
        ] {
            for several in [false, true] {
                let family = Family::new();
                let script = format!(
                    "{} & setsid {} & exec {}",
                    family.sleeper("group"),
                    family.sleeper("session"),
                    family.sleeper("leader")
                );
                let named = format!("it={script}");
                let mut server = if several {
                    Outrace::serving(&["run", &named]).await
                } else {
                    Outrace::serving(&["run", "--", "sh", "-c", &script]).await
                };
                let names = ["group", "session", "leader"];
                for name in names {
                    family.pid(name).await;
                }
                server.signal(signal);
                let ended = ended(&mut server).await;
                assert_eq!(ended.signal(), Some(signal.as_raw()), "{several} {ended}");
                family
                    .assert_gone(&names, &format!("outlived {signal:?}, {several}"))
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn real_time_signals_leave_nothing_behind_either() {
    bounded(async {
        for number in [34, 64] {
            let family = Family::new();
            let script = family.sleeper("it");
            let mut server = Outrace::serving(&["run", "--", "sh", "-c", &script]).await;
            family.pid("it").await;
            let pid = server.child.id().unwrap().to_string();
            let sent = Command::new("sh")
                .args(["-c", &format!("kill -{number} {pid}")])
                .status();
            assert!(sent.await.unwrap().success());
            assert_eq!(ended(&mut server).await.code(), Some(128 + number));
            family.assert_gone(&["it"], "outlived it").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_killed_outrace_leaves_nothing_behind() {
    bounded(async {
        for several in [false, true] {
            let family = Family::new();
            let script = format!(
                "(setsid {} &) ; timeout 900 {} & {}; true",
                family.sleeper("orphan"),
                family.sleeper("timeout"),
                family.sleeper("child")
            );
            let named = format!("it={script}");
            let mut server = if several {
                Outrace::serving(&["run", &named, "other=sleep 1000"]).await
            } else {
                Outrace::serving(&["run", "--", "sh", "-c", &script]).await
            };
            let names = ["orphan", "timeout", "child"];
            for name in names {
                family.pid(name).await;
            }
            server.signal(Signal::KILL);
            ended(&mut server).await;
            family.gone(&names).await;
        }
    })
    .await;
}

#[tokio::test]
async fn signals_with_a_meaning_reach_a_single_command() {
    bounded(async {
        let script = "for s in HUP USR1 USR2 QUIT WINCH; do trap \"echo got $s\" $s; done; \
                      echo ready; while :; do sleep 0.02; done";
        let mut server = Outrace::serving(&["run", "--", "sh", "-c", script]).await;
        assert_eq!(server.printed().await, "ready\n");
        for (signal, name) in [
            (Signal::HUP, "HUP"),
            (Signal::USR1, "USR1"),
            (Signal::USR2, "USR2"),
            (Signal::QUIT, "QUIT"),
            (Signal::WINCH, "WINCH"),
        ] {
            server.signal(signal);
            // The shell tells of children that the signal has ended.
            while server.printed().await != format!("got {name}\n") {}
        }
        server.signal(Signal::TERM);
        assert_eq!(ended(&mut server).await.signal(), Some(15));
    })
    .await;
}

#[tokio::test]
async fn with_a_token_file_a_hangup_reloads_and_the_command_goes_on() {
    bounded(async {
        let folder = Scratch::new();
        let tokens = folder.file("tokens", "alice alice-alice-alice-alice\n");
        let script = "trap 'echo hung up' HUP; echo ready; read go; echo $go";
        let arguments = [
            "run",
            "--token-file",
            &tokens,
            "--log",
            "info",
            "--",
            "sh",
            "-c",
            script,
        ];
        let mut server = Outrace::serving(&arguments).await;
        assert_eq!(server.printed().await, "ready\n");
        server.signal(Signal::HUP);
        server
            .complaint_with("read the tokens and keys again")
            .await;
        server.say("on\n").await;
        assert_eq!(server.printed().await, "on\n");
        assert_eq!(server.code().await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_window_that_closes_ends_all_even_with_a_token_file() {
    bounded(async {
        let folder = Scratch::new();
        let tokens = folder.file("tokens", "alice alice-alice-alice-alice\n");
        for options in [String::new(), format!("--token-file {tokens}")] {
            let family = Family::new();
            let quoted = family.sleeper("child").replace('\'', r"'\''");
            let command = format!("trap \"\" HUP; {quoted}; sleep 1000");
            let (mut terminal, _keyboard, _screen) = crate::program::in_terminal(&format!(
                "run --quiet --grace 100ms --listen 127.0.0.1:0 {options} -- sh -c '{command}'"
            ));
            family.pid("child").await;
            terminal.kill().await.unwrap();
            family.gone(&["child"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_has_left_the_group_ends_at_a_stop() {
    bounded(async {
        let family = Family::new();
        let inner = format!(
            "{PATH} run --quiet --listen 127.0.0.1:0 -- {}",
            family.sleeper("inner")
        );
        let script = format!(
            "setsid {} & timeout 900 {} & (setsid {} &) ; {inner} & wait",
            family.sleeper("session"),
            family.sleeper("timeout"),
            family.sleeper("orphan"),
        );
        let names = ["session", "timeout", "orphan", "inner"];
        let mut server = Outrace::serving(&["run", "--", "sh", "-c", &script]).await;
        for name in names {
            family.pid(name).await;
        }
        server.signal(Signal::TERM);
        assert_eq!(ended(&mut server).await.signal(), Some(15));
        family.assert_gone(&names, "outlived the stop").await;
    })
    .await;
}

/// A process that has left its group, ignores SIGTERM, and is a child of one that does so too.
fn stubborn(family: &Family) -> String {
    format!(
        "trap \"\" TERM INT; setsid {} & {} & echo up; while :; do sleep 0.05; done",
        family.sleeper("session"),
        family.sleeper("group"),
    )
}

#[tokio::test]
async fn what_ignores_the_stop_is_killed_wherever_it_went_at_the_end_of_the_grace() {
    bounded(async {
        let family = Family::new();
        let script = stubborn(&family);
        let arguments = ["run", "--grace", "100ms", "--", "sh", "-c", &script];
        let mut server = Outrace::serving(&arguments).await;
        for name in ["session", "group"] {
            family.pid(name).await;
        }
        server.signal(Signal::TERM);
        assert_eq!(ended(&mut server).await.code(), Some(137));
        family
            .assert_gone(&["session", "group"], "outlived the grace")
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_kills_wherever_it_went() {
    bounded(async {
        for several in [false, true] {
            let family = Family::new();
            let script = stubborn(&family);
            let named = format!("it={script}");
            let mut server = if several {
                Outrace::serving(&["run", "--grace", "1h", &named]).await
            } else {
                Outrace::serving(&["run", "--grace", "1h", "--", "sh", "-c", &script]).await
            };
            for name in ["session", "group"] {
                family.pid(name).await;
            }
            server.signal(Signal::INT);
            sleep(Duration::from_millis(50)).await;
            server.signal(Signal::TERM);
            assert_eq!(ended(&mut server).await.code(), Some(137));
            family
                .assert_gone(&["session", "group"], "outlived the second")
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_run_has_left_behind_ends_before_the_restart() {
    bounded(async {
        let family = Family::new();
        // The second run tells the state of the daemon that the first one has started.
        let (daemon, path) = (family.sleeper("daemon"), family.scratch.path("daemon"));
        let script = format!(
            "if [ -e {path} ]; then grep -qs 'State:.[^ZX]' /proc/$(cat {path})/status \
             && echo runs || echo gone; exit 0; fi; \
             (setsid {daemon} > /dev/null 2>&1 &); while [ ! -e {path} ]; do sleep 0.01; done; exit 1"
        );
        let arguments = [
            "run", "--quiet", "--listen", "127.0.0.1:0", "--restart", "on-failure",
            "--restart-delay", "0s", "--", "sh", "-c", &script,
        ];
        let (code, stdout, stderr) = run(&arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(0), "gone\n"), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn a_restart_ends_only_what_its_own_process_has_left_behind() {
    bounded(async {
        let family = Family::new();
        let keeper = format!(
            "keeper=(setsid {} &) ; sleep 1000",
            family.sleeper("keeper")
        );
        let path = family.scratch.path("keeper");
        let other = format!(
            "other=while [ ! -e {path} ]; do sleep 0.01; done; (setsid {} &); exit 0",
            family.sleeper("other")
        );
        let mut server = Outrace::serving(&["run", &keeper, &other]).await;
        server.complaint_with("other exited with code 0").await;
        family.gone(&["other"]).await;
        assert!(state(family.pid("keeper").await).is_some_and(|state| state != 'Z'));
        server.signal(Signal::TERM);
        ended(&mut server).await;
        family.assert_gone(&["keeper"], "outlived the stop").await;
    })
    .await;
}

#[tokio::test]
async fn a_single_command_takes_what_it_leaves_behind_with_it_unless_that_is_to_be_kept() {
    bounded(async {
        for keep in [false, true] {
            let family = Family::new();
            let script = format!(
                "{} & (setsid {} > /dev/null 2>&1 &) ; while [ ! -e {} ]; do sleep 0.01; done; exit 6",
                family.sleeper("job"),
                family.sleeper("daemon"),
                family.scratch.path("daemon"),
            );
            let mut arguments = vec!["run", "--quiet", "--listen", "127.0.0.1:0"];
            arguments.extend(keep.then_some("--keep-descendants"));
            arguments.extend(["--", "sh", "-c", &script]);
            let (code, ..) = run(&arguments).await;
            assert_eq!(code, Some(6));
            if keep {
                for name in ["job", "daemon"] {
                    let pid = family.pid(name).await;
                    assert!(state(pid).is_some_and(|state| state != 'Z'), "{name} was ended");
                    kill(pid, Signal::KILL);
                }
            } else {
                family.assert_gone(&["job", "daemon"], "was left behind").await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_that_clears_its_environment_is_ended_too() {
    bounded(async {
        let family = Family::new();
        let script = format!(
            "it=(env -i /usr/bin/env PATH=/usr/bin:/bin setsid {} &); sleep 1000",
            family.sleeper("bare")
        );
        let mut server = Outrace::serving(&["run", &script]).await;
        family.pid("bare").await;
        server.signal(Signal::TERM);
        ended(&mut server).await;
        family.assert_gone(&["bare"], "outlived the stop").await;
    })
    .await;
}

#[tokio::test]
async fn as_process_1_outrace_reaps_orphans() {
    bounded(async {
        let script = "for i in 1 2 3; do (setsid sleep .2 &); done; sleep 1; ps -eo stat";
        let ended = Command::new("unshare")
            .args([
                "-pf",
                "--mount-proc",
                PATH,
                "run",
                "--quiet",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let (stdout, stderr) = (
            String::from_utf8(ended.stdout).unwrap(),
            String::from_utf8(ended.stderr).unwrap(),
        );
        if stderr.starts_with("unshare:") {
            eprintln!("skipped: no namespace of processes may be made: {stderr}");
            return;
        }
        assert!(stdout.starts_with("STAT\n"), "{stdout}{stderr}");
        assert!(!stdout.contains('Z'), "{stdout}");
    })
    .await;
}

#[tokio::test]
async fn a_stopped_child_is_continued_so_that_it_can_end() {
    bounded(async {
        for several in [false, true] {
            let script = "trap 'echo bye; exit 3' TERM; echo $$; while :; do sleep 0.02; done";
            let named = format!("it={script}");
            let mut server = if several {
                Outrace::serving(&["run", "--grace", "1h", &named]).await
            } else {
                Outrace::serving(&["run", "--grace", "1h", "--", "sh", "-c", script]).await
            };
            let line = server.printed().await;
            let pid: i32 = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
            let group = Pid::from_raw(pid).unwrap();
            kill_process_group(group, Signal::STOP).unwrap();
            // D: the shell has a child that was stopped between vfork and exec, and waits for it.
            while !matches!(state(pid), Some('T' | 'D')) {
                sleep(Duration::from_millis(5)).await;
            }
            server.signal(Signal::TERM);
            assert_eq!(ended(&mut server).await.code(), Some(3));
        }
    })
    .await;
}

#[tokio::test]
async fn a_process_that_may_not_be_signaled_is_named_with_the_error_and_not_called_stopped() {
    use std::os::unix::fs::PermissionsExt;

    bounded(async {
        // setpriv with the set-user-id bit becomes root's for good, as sudo does.
        let scratch = Scratch::new();
        let setpriv = scratch.path("setpriv");
        let mode = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::copy("/usr/bin/setpriv", &setpriv).unwrap();
        mode(setpriv.as_ref(), 0o4755);
        mode(scratch.folder(), 0o755);
        let program = scratch.path("outrace");
        std::fs::copy(PATH, &program).unwrap();
        mode(program.as_ref(), 0o755);
        for single in [true, false] {
            let named = format!("it=exec {setpriv} --reuid 0 sleep 1000");
            let mut command = Command::new("/usr/bin/setpriv");
            command
                .args([
                    "--reuid",
                    "65534",
                    "--regid",
                    "65534",
                    "--clear-groups",
                    &program,
                ])
                .args(["run", "--grace", "50ms", "--listen", "127.0.0.1:0"]);
            match single {
                true => command.args(["--", &setpriv, "--reuid", "0", "sleep", "1000"]),
                false => command.arg(&named),
            };
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut stderr = tokio::io::BufReader::new(child.stderr.take().unwrap());
            let mut said = String::new();
            tokio::io::AsyncBufReadExt::read_line(&mut stderr, &mut said)
                .await
                .unwrap();
            if !said.contains("listening") {
                eprintln!("skipped: this test has to change its user: {said}");
                return;
            }
            let outrace = child.id().unwrap().cast_signed();
            let sleeper = loop {
                let children =
                    std::fs::read_to_string(format!("/proc/{outrace}/task/{outrace}/children"));
                let mut pids: Vec<i32> = children
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(|pid| pid.parse().unwrap())
                    .collect();
                // The threads of the program have children too.
                for thread in std::fs::read_dir(format!("/proc/{outrace}/task")).unwrap() {
                    let path = thread.unwrap().path().join("children");
                    let children = std::fs::read_to_string(path).unwrap_or_default();
                    pids.extend(
                        children
                            .split_whitespace()
                            .map(|pid| pid.parse::<i32>().unwrap()),
                    );
                }
                let is_sleep = |pid: &i32| {
                    std::fs::read_to_string(format!("/proc/{pid}/comm"))
                        .is_ok_and(|c| c == "sleep\n")
                };
                if let Some(pid) = pids.into_iter().find(is_sleep) {
                    break pid;
                }
                sleep(Duration::from_millis(5)).await;
            };
            kill(outrace, Signal::TERM);
            stderr.read_to_string(&mut said).await.unwrap();
            assert_eq!(child.wait().await.unwrap().code(), Some(1), "{said}");
            assert!(
                said.contains(&format!("process {sleeper} (sleep) may not be signaled: "))
                    && said.contains("it still runs")
                    && !said.contains("stopped"),
                "{said}"
            );
            kill(sleeper, Signal::KILL);
        }
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_sleeps_does_not_hold_up_the_stop() {
    bounded(async {
        for arguments in [&["a=yes", "b=yes"][..], &["--", "yes"]] {
            let (reader, writer) = std::io::pipe().unwrap();
            let mut child = outrace(&["run", "--grace", "1h", "--listen", "127.0.0.1:0"])
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(writer.try_clone().unwrap())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            // The pipe is full when it takes no more.
            let full = || {
                let mut fds = [rustix::event::PollFd::new(
                    &writer,
                    rustix::event::PollFlags::OUT,
                )];
                rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())) == Ok(0)
            };
            while !full() {
                sleep(Duration::from_millis(5)).await;
            }
            kill(child.id().unwrap().cast_signed(), Signal::TERM);
            // A grace of an hour: the end of the processes is seen although the output waits.
            assert_eq!(
                child.wait().await.unwrap().signal(),
                Some(15),
                "{arguments:?}"
            );
            drop(reader);
        }
    })
    .await;
}

#[tokio::test]
async fn the_whole_stop_has_one_bound_however_many_processes() {
    bounded(async {
        let scripts: Vec<_> = (0..8)
            .map(|i| format!("p{i}=trap '' TERM; echo up; while :; do sleep 0.1; done"))
            .collect();
        let mut arguments = vec!["run", "--grace", "1h", "--stop-timeout", "200ms"];
        arguments.extend(scripts.iter().map(String::as_str));
        let mut server = Outrace::serving(&arguments).await;
        for _ in 0..8 {
            assert!(server.printed().await.ends_with("up\n"));
        }
        server.signal(Signal::TERM);
        assert_eq!(ended(&mut server).await.code(), Some(137));
    })
    .await;
}

#[tokio::test]
async fn a_loop_of_a_shell_ends_at_ctrl_c() {
    bounded(async {
        for command in ["-- sleep 1000", "a='sleep 1000'"] {
            let script = format!(
                "for i in 1 2 3; do echo $i; {PATH} run --listen 127.0.0.1:0 {command}; done; echo on"
            );
            let mut shell = Command::new("bash")
                .args(["-c", &script])
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut stderr = shell.stderr.take().unwrap();
            // The address: from then on the program receives signals itself.
            assert_ne!(stderr.read(&mut [0; 100]).await.unwrap(), 0);
            let group = Pid::from_raw(shell.id().unwrap().cast_signed()).unwrap();
            kill_process_group(group, Signal::INT).unwrap();
            let mut stdout = String::new();
            shell.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
            assert_eq!(stdout, "1\n", "{command}");
            assert_eq!(shell.wait().await.unwrap().signal(), Some(2));
        }
    })
    .await;
}

#[tokio::test]
async fn a_ctrl_c_that_a_wrapper_passes_on_counts_once_and_a_later_one_hurries() {
    bounded(async {
        let script = "trap 'echo heard' INT; read go; echo ready; read more; exit 5";
        let arguments = [
            "run", "--id", "it", "--grace", "1h", "--", "sh", "-c", script,
        ];
        let mut server = Outrace::serving(&arguments).await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.say("go\n").await;
        assert_eq!(server.printed().await, "ready\n");
        server.signal(Signal::INT);
        client.until_line("heard").await;
        server.signal(Signal::INT);
        server.say("go\n").await;
        assert_eq!(
            server.code().await,
            Some(5),
            "the second was the same Ctrl-C"
        );

        let script = "trap 'echo heard' INT; read go; echo ready; while :; do sleep 0.02; done";
        let arguments = [
            "run", "--id", "it", "--grace", "1h", "--", "sh", "-c", script,
        ];
        let mut server = Outrace::serving(&arguments).await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.say("go\n").await;
        assert_eq!(server.printed().await, "ready\n");
        server.signal(Signal::INT);
        client.until_line("heard").await;
        // The time itself is what is tested.
        sleep(Duration::from_millis(350)).await;
        server.signal(Signal::INT);
        assert_eq!(server.code().await, Some(137));
    })
    .await;
}

#[tokio::test]
async fn a_fault_that_another_process_sends_ends_outrace_and_all_it_has_started() {
    bounded(async {
        for signal in [Signal::SEGV, Signal::BUS, Signal::ILL, Signal::FPE] {
            let family = Family::new();
            let script = format!(
                "setsid {} & exec {}",
                family.sleeper("session"),
                family.sleeper("leader")
            );
            let mut server = Outrace::serving(&["run", "--", "sh", "-c", &script]).await;
            for name in ["session", "leader"] {
                family.pid(name).await;
            }
            // The standard library lets the first SIGSEGV or SIGBUS pass.
            server.signal(signal);
            assert_eq!(ended(&mut server).await.signal(), Some(signal.as_raw()));
            family.gone(&["session", "leader"]).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_signal_in_the_pause_before_a_restart_ends_outrace_by_it() {
    bounded(async {
        for command in [&["--", "false"][..], &["a=exit 3", "b=sleep 1000"]] {
            let options = ["run", "--restart", "always", "--restart-delay", "1h"];
            let mut server = Outrace::serving(&[&options, command].concat()).await;
            server.complaint_with("starts again in").await;
            server.signal(Signal::INT);
            assert_eq!(ended(&mut server).await.signal(), Some(2), "{command:?}");
        }
    })
    .await;
}
