//! `outrace load` as a whole. Honest servers pass. A wire that loses, repeats, swaps or changes a
//! single line fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::program::{self, Blocking};

fn outrace() -> Command {
    Command::new(program::PATH)
}

/// Runs `outrace load`. Returns its output and its figures.
fn load(args: &[&str]) -> (Output, Value) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "outrace-load-{}-{}.json",
        std::process::id(),
        RUNS.fetch_add(1, Ordering::Relaxed)
    );
    let file = std::env::temp_dir().join(name);
    let output = outrace()
        .args(["load", "--quiet", "--json"])
        .arg(&file)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let figures = std::fs::read(&file)
        .map(|json| serde_json::from_slice(&json).unwrap())
        .unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    (output, figures)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn outcomes(figures: &Value) -> Vec<&Value> {
    let comparisons = figures["suite"]["comparisons"].as_array().unwrap();
    comparisons
        .iter()
        .flat_map(|comparison| comparison["outcomes"].as_array().unwrap())
        .collect()
}

fn number(outcome: &Value, figure: &str) -> u64 {
    outcome[figure]
        .as_u64()
        .unwrap_or_else(|| panic!("{figure} of {outcome}"))
}

#[test]
fn the_books_of_engine_baseline_and_floor_close() {
    let (output, figures) = load(&[
        "-n",
        "7",
        "--rate",
        "2000",
        "--seconds",
        "0.5",
        "--warmup",
        "0.1",
        "--against",
        "both",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let outcomes = outcomes(&figures);
    let systems: Vec<&str> = outcomes
        .iter()
        .map(|outcome| outcome["system"].as_str().unwrap())
        .collect();
    assert_eq!(systems, ["engine", "baseline", "floor"]);
    for outcome in outcomes {
        let published = number(outcome, "published");
        assert!((1_000..=1_200).contains(&published), "{outcome}");
        assert_eq!(number(outcome, "expected"), 7 * published);
        assert_eq!(
            number(outcome, "received") + number(outcome, "skipped"),
            7 * published
        );
        assert_eq!(number(outcome, "fault_count"), 0);
        assert!(number(&outcome["latency_us"], "lines") > 0);
        assert!(number(outcome, "server_cpu_ns") > 0);
    }
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.contains("| engine ") && table.contains("engine / floor:"),
        "{table}"
    );
}

#[test]
fn stalled_clients_are_accounted_for_to_the_line() {
    let (output, figures) = load(&[
        "-n",
        "6",
        "--stalled",
        "2",
        "--queue",
        "16",
        "--rate",
        "max",
        // Long enough that a busy machine too fills the buffers of the kernel.
        "--line-bytes",
        "16000",
        "--seconds",
        "0.7",
        "--warmup",
        "0",
        "--against",
        "baseline",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    for outcome in outcomes(&figures) {
        let skipped = number(outcome, "skipped");
        assert!(skipped > 0, "{outcome}");
        assert_eq!(number(outcome, "server_skipped"), skipped);
        assert_eq!(
            number(outcome, "received") + skipped,
            number(outcome, "expected")
        );
    }
}

#[test]
fn clients_of_several_channels_and_clients_that_come_and_go_pass() {
    let (output, figures) = load(&[
        "-n",
        "4",
        "--channels",
        "6",
        "--per-client",
        "3",
        "--churn",
        "3",
        "--churn-stay",
        "50ms",
        "--rate",
        "3000",
        "--burst",
        "10",
        "--seconds",
        "0.7",
        "--warmup",
        "0",
        "--threads",
        "2",
        "--against",
        "baseline",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    for outcome in outcomes(&figures) {
        assert!(number(outcome, "visits") >= 3, "{outcome}");
        assert_eq!(
            number(outcome, "received") + number(outcome, "skipped"),
            number(outcome, "expected")
        );
        assert_eq!(
            number(outcome, "expected"),
            4 * 3 * number(outcome, "published") / 6
        );
    }
}

#[test]
fn every_client_accounts_for_every_line_of_a_flood_and_all_kinds_of_loss_occur() {
    let (output, figures) = load(&["--verify", "--seconds", "1"]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words}{}", said(&output));
    assert!(
        words.contains("verified: every client accounts for every line"),
        "{words}"
    );
    let outcomes = outcomes(&figures);
    for outcome in &outcomes {
        assert_eq!(number(outcome, "fault_count"), 0);
        assert_eq!(
            number(outcome, "received") + number(outcome, "skipped"),
            number(outcome, "expected")
        );
        assert!(
            number(&outcome["announced"], "gaps") > 0
                && number(&outcome["announced"], "resumed") > 0
        );
    }
    for loss in ["skipped", "replayed", "lost"] {
        assert!(
            outcomes
                .iter()
                .any(|outcome| number(&outcome["announced"], loss) > 0),
            "{loss}"
        );
    }
}

#[test]
fn a_short_soak_passes_accounts_for_every_line_and_says_that_drift_is_not_judged() {
    let (output, figures) = load(&["--soak", "3s"]);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words}{}", said(&output));
    assert!(
        words
            .lines()
            .last()
            .unwrap()
            .starts_with("soaked: every client accounts for every line"),
        "{words}"
    );
    let soak = &figures["soak"];
    let outcome = &soak["outcome"];
    assert_eq!(number(outcome, "fault_count"), 0, "{outcome}");
    assert_eq!(
        number(outcome, "received") + number(outcome, "skipped"),
        number(outcome, "expected")
    );
    assert!(
        number(outcome, "published") > 0 && number(outcome, "visits") > 0,
        "{outcome}"
    );
    let of_verdict = |verdict: &str| {
        let checks = soak["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["verdict"] == verdict)
            .map(|check| check["name"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of_verdict("fails"), [""; 0], "{words}");
    assert_eq!(of_verdict("not_judged").len(), 4, "{words}");
    for held in [
        "descriptors",
        "clients",
        "queues",
        "offered = written + queued + skipped + discarded",
    ] {
        assert!(of_verdict("holds").contains(&held), "{held}: {words}");
    }
    // Each kind of disturber has acted.
    for deed in [
        "resets in a handshake",
        "unmasked frames",
        "invalid UTF-8",
        "text streams",
        "actions",
        "looks",
    ] {
        assert!(
            number(&soak["disturbances"]["counts"], deed) > 0,
            "{deed}: {words}"
        );
    }
    assert!(!soak["samples"].as_array().unwrap().is_empty());
}

#[test]
fn batches_close_the_books_and_take_fewer_bytes() {
    let run = |options: &[&str]| {
        let common = [
            "-n",
            "5",
            "--rate",
            "4000",
            "--burst",
            "40",
            "--seconds",
            "0.5",
            "--warmup",
            "0",
            "--history",
            "0",
        ];
        let (output, figures) = load(&[&common[..], options].concat());
        assert!(output.status.success(), "{}", said(&output));
        outcomes(&figures)[0]["bytes_per_delivered"]
            .as_f64()
            .unwrap()
    };
    let (single, batch) = (run(&[]), run(&["--gaps", "--batch"]));
    assert!(
        batch < single * 0.75 && batch > 100.0,
        "{batch} bytes instead of {single}"
    );
}

#[test]
fn a_report_needs_nothing_from_elsewhere() {
    let file = std::env::temp_dir().join(format!("outrace-load-{}.html", std::process::id()));
    let report = file.to_str().unwrap();
    let (output, _) = load(&[
        "-n",
        "2",
        "--rate",
        "100,1000",
        "--seconds",
        "0.3",
        "--warmup",
        "0",
        "--report",
        report,
    ]);
    let page = std::fs::read_to_string(&file).unwrap();
    let _ = std::fs::remove_file(&file);
    assert!(output.status.success(), "{}", said(&output));
    // Latency and course for each of two rates, and one figure with the CPU time of both.
    assert_eq!(page.matches("<figure>").count(), 5);
    assert!(
        !page.contains("src=") && !page.contains("href=") && !page.contains("url("),
        "{page}"
    );
}

#[test]
fn a_load_that_cannot_be_run_is_refused_with_one_sentence_and_exit_code_2() {
    for args in [
        &["--line-bytes", "3"][..],
        &["--rate", "fast"],
        &["--per-client", "2"],
        &["-n", "0"],
        &["--soak", "0s"],
    ] {
        let (output, _) = load(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (output, _) = load(&["--url", &format!("ws://{nobody}/ws"), "-n", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains(&nobody.to_string()),
        "{}",
        said(&output)
    );
}

#[test]
fn an_untouched_wire_passes() {
    let (output, figures) = through_wire(|_| Fate::Pass);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(number(outcomes(&figures)[0], "skipped"), 0);
}

#[test]
fn one_lost_line_fails_the_run() {
    let (output, _) = through_wire(|n| if n == 50 { Fate::Lose } else { Fate::Pass });
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("clients miss 1 lines"),
        "{}",
        said(&output)
    );
}

#[test]
fn one_repeated_line_fails_the_run() {
    let (output, _) = through_wire(|n| if n == 50 { Fate::Repeat } else { Fate::Pass });
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("came twice"), "{}", said(&output));
}

#[test]
fn two_swapped_lines_fail_the_run() {
    let (output, _) = through_wire(|n| if n == 50 { Fate::AfterNext } else { Fate::Pass });
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("out of order"), "{}", said(&output));
}

#[test]
fn one_changed_byte_fails_the_run() {
    let (output, _) = through_wire(|n| if n == 50 { Fate::Change } else { Fate::Pass });
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("changed on its way"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_dropped_connection_fails_the_run() {
    let (output, _) = through_wire(|n| if n == 50 { Fate::Hang } else { Fate::Pass });
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("disconnected"), "{}", said(&output));
}

/// What the wire does to a server's frame.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Pass,
    Lose,
    Repeat,
    AfterNext,
    Change,
    /// The connection ends.
    Hang,
}

/// Runs a load against `outrace serve` through a wire. `fate` decides about the n-th line of all
/// clients.
fn through_wire(fate: impl Fn(u64) -> Fate + Send + Sync + 'static) -> (Output, Value) {
    let server = Blocking::serving(&["serve"]);
    let wire = wire(server.address, Arc::new(fate));
    load(&[
        "--url",
        &format!("ws://{wire}/ws"),
        "-n",
        "3",
        "--rate",
        "500",
        "--seconds",
        "0.4",
        "--warmup",
        "0",
    ])
}

/// Forwards connections to `server`. Frames from the server are forwarded one by one.
fn wire(server: SocketAddr, fate: Arc<dyn Fn(u64) -> Fate + Send + Sync>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let lines = Arc::new(Mutex::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (fate, lines) = (Arc::clone(&fate), Arc::clone(&lines));
            let (mut from_client, mut to_server) =
                (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(std::net::Shutdown::Write);
            });
            std::thread::spawn(move || {
                // The connection ends with either side.
                let _ = forward(&mut upstream, &mut client, &*fate, &lines);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}

fn forward(
    server: &mut TcpStream,
    client: &mut TcpStream,
    fate: &dyn Fn(u64) -> Fate,
    lines: &Mutex<u64>,
) -> std::io::Result<()> {
    let mut server = BufReader::new(server);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if server.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    client.write_all(&head)?;
    if !head.starts_with(b"HTTP/1.1 101") {
        return std::io::copy(&mut server, client).map(drop);
    }
    let mut held = Vec::new();
    loop {
        let mut frame = vec![0; 2];
        server.read_exact(&mut frame)?;
        let length = match frame[1] {
            126 => {
                let mut long = [0; 2];
                server.read_exact(&mut long)?;
                frame.extend_from_slice(&long);
                usize::from(u16::from_be_bytes(long))
            }
            short => usize::from(short),
        };
        let header = frame.len();
        frame.resize(header + length, 0);
        server.read_exact(&mut frame[header..])?;
        let is_line = memchr::memmem::find(&frame, b"process_output").is_some();
        let fate = if is_line {
            let mut lines = lines.lock().unwrap();
            *lines += 1;
            fate(*lines)
        } else {
            Fate::Pass
        };
        match fate {
            Fate::Pass => client.write_all(&frame)?,
            Fate::Lose => {}
            Fate::Repeat => client.write_all(&frame.repeat(2))?,
            Fate::AfterNext => {
                held = frame;
                continue;
            }
            Fate::Change => {
                let at = memchr::memmem::find(&frame, b"GET").unwrap();
                frame[at] = b'P';
                client.write_all(&frame)?;
            }
            Fate::Hang => return Ok(()),
        }
        client.write_all(&std::mem::take(&mut held))?;
    }
}
