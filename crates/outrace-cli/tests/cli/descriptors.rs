//! The limit of open files: raised, given back to children, named where it is met, and a reserve.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::{Command, Output};

use outrace_testkit::{Scratch, Socket, http, until};
use rustix::process::Signal;

use crate::program::{Blocking, PATH};

/// Runs the program to its end, after `ulimit` with these arguments.
fn run(ulimit: &str, arguments: &[&str]) -> Output {
    Command::new("sh")
        .args(["-c", &format!("ulimit {ulimit}; exec \"$0\" \"$@\"")])
        .arg(PATH)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the soft and the hard limit of open files of a process.
fn limits(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open"));
    let mut words = line.unwrap().split_whitespace().skip(3);
    let mut next = || words.next().unwrap().to_owned();
    (next(), next())
}

/// Returns the number of open descriptors below `limit`. Inherited ones may lie beyond it.
fn open(server: &Blocking, limit: usize) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.child.id()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_str().unwrap().parse::<usize>().unwrap() < limit)
        .count()
}

/// Connects until the program has no descriptor left but its reserve.
fn crowd(server: &Blocking, limit: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    // A reserve may be released before it is needed, so that one descriptor stays free.
    while open(server, limit) < limit - 1 {
        let before = open(server, limit);
        crowd.push(TcpStream::connect(server.address).unwrap());
        until("it is accepted", || open(server, limit) > before);
    }
    crowd.extend((0..2).map(|_| TcpStream::connect(server.address).unwrap()));
    // The last one has a descriptor of the reserve, which it does not keep for long.
    let last = crowd.last_mut().unwrap();
    assert!(matches!(last.read(&mut [0]), Ok(0) | Err(_)));
    crowd
}

#[test]
fn the_program_raises_its_limit_and_a_single_command_gets_the_original() {
    let arguments = [
        "run",
        "--quiet",
        "--listen",
        "127.0.0.1:0",
        "--",
        "sh",
        "-c",
    ];
    let script = "ulimit -Sn; awk '/open files/ { print ($4 == $5) }' /proc/$PPID/limits";
    let done = run("-Sn 200", &[&arguments[..], &[script]].concat());
    assert_eq!(text(&done.stdout), "200\n1\n", "{done:?}");
}

#[test]
fn each_of_several_commands_gets_the_original_limit_also_when_it_is_restarted() {
    let folder = Scratch::new();
    let file = folder.path("Procfile");
    let again = folder.path("again");
    let web = format!(
        "ulimit -Sn; test -e {again} || {{ touch {again}; exit 1; }}",
        again = again
    );
    std::fs::write(&file, format!("web: {web}\nworker: ulimit -Sn\n")).unwrap();
    let file = file.as_str();
    let done = run(
        "-Sn 200",
        &[
            "run",
            "--quiet",
            "--listen",
            "127.0.0.1:0",
            "--restart",
            "on-failure",
            "-f",
            file,
        ],
    );
    let mut lines: Vec<_> = text(&done.stdout).lines().map(str::to_owned).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["web    | 200", "web    | 200", "worker | 200"],
        "{done:?}"
    );
}

#[test]
fn four_hundred_processes_start_at_a_soft_limit_of_1024() {
    let folder = Scratch::new();
    let file = folder.path("Procfile");
    let mut processes = String::new();
    for number in 0..400 {
        writeln!(processes, "p{number}: exec sleep 1000").unwrap();
    }
    std::fs::write(&file, processes).unwrap();
    let file = file.as_str();
    let mut server = Blocking::limited("-Sn 1024", &["run", "-f", file]);
    until("all of them run", || {
        let processes = http::get(server.address, "/api/processes").json();
        let running = processes.as_array().unwrap().iter();
        running
            .filter(|process| process["status"] == "running")
            .count()
            == 400
    });
    let (soft, hard) = limits(server.child.id());
    assert_eq!(soft, hard);
    server.signal(Signal::TERM);
    server.ended();
}

#[test]
fn without_descriptors_requests_are_answered_from_a_reserve() {
    // The hard limit too, so that it cannot be raised.
    let server = Blocking::limited("-n 64", &["serve", "--header-timeout", "60s"]);
    let crowd = crowd(&server, 64);
    for _ in 0..5 {
        let health = http::get(server.address, "/healthz");
        assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
        assert_eq!(http::get(server.address, "/").status, 200, "the viewer");
        let stream = http::get(server.address, "/api/channels/c/stream");
        assert_eq!(stream.status, 503);
        assert!(
            stream.body.contains("Too many open files"),
            "{}",
            stream.body
        );
    }
    let stats = http::get(server.address, "/api/stats").json();
    assert_eq!(stats["refused"]["descriptor limit"], 5);
    drop(crowd);
    until("the crowd is gone", || open(&server, 64) < 32);
    Socket::connect(server.address).subscribe("c");
}

#[test]
fn viewers_find_a_place_in_half_of_a_larger_reserve() {
    // One descriptor in 64 is a reserve of eight.
    let server = Blocking::limited("-n 512", &["serve", "--header-timeout", "60s"]);
    let crowd = crowd(&server, 512);
    let mut viewer = Socket::connect(server.address);
    viewer.subscribe("process:p");
    let action = r#"{"action":"ws.send_process_output","process_id":"p","output":"line"}"#;
    assert_eq!(http::act(server.address, action).status, 200);
    assert_eq!(viewer.json()["data"], "line");
    drop(crowd);
}

#[test]
fn a_process_that_finds_no_descriptor_says_so() {
    let folder = Scratch::new();
    let file = folder.path("Procfile");
    let mut processes = String::new();
    for number in 0..40 {
        writeln!(processes, "p{number}: sleep 1000").unwrap();
    }
    std::fs::write(&file, processes).unwrap();
    let done = run(
        "-n 48",
        &[
            "run",
            "--listen",
            "127.0.0.1:0",
            "--stop-on-failure",
            "-f",
            &file,
        ],
    );
    let said = text(&done.stderr);
    assert!(
        said.contains("cannot be started: too many open files"),
        "{said}"
    );
    assert_eq!(done.status.code(), Some(126), "{said}");
}

#[test]
fn whatever_the_limit_a_program_that_cannot_start_names_it() {
    let folder = Scratch::new();
    let tokens = folder.path("tokens");
    std::fs::write(&tokens, "web 0123456789abcdef0123\n").unwrap();
    let tokens = tokens.as_str();
    let mut starts = 0;
    for limit in 7..30 {
        for arguments in [
            &[
                "run",
                "--listen",
                "127.0.0.1:0",
                "--token-file",
                tokens,
                "--",
                "true",
            ][..],
            &["watch", "--no-retry", "ws://127.0.0.1:1/ws", "c"],
        ] {
            let done = run(&format!("-n {limit}"), arguments);
            let said = text(&done.stderr);
            assert!(!said.contains("panicked"), "{limit}: {said}");
            if done.status.success() {
                starts += 1;
            } else if arguments[0] == "run" {
                assert!(
                    said.to_lowercase().contains("too many open files"),
                    "{limit}: {said}"
                );
            }
        }
    }
    assert!(starts > 0, "with thirty it starts");
}
