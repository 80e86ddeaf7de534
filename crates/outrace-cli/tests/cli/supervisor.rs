//! `outrace run` with several processes, watched over real sockets.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use outrace_testkit::{JsonClient, bounded};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::program::{Outrace, in_terminal, outrace, run};

const FOREVER: &str = "echo up; while :; do sleep 1000 & wait; done";
const STUBBORN: &str = "trap '' TERM INT; echo up; while :; do sleep 1000 & wait; done";

/// Returns the arguments of a run that prints nothing of its own.
fn quiet<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--quiet", "--listen", "127.0.0.1:0"], arguments].concat()
}

/// Returns the lines of a text in an order that does not depend on which process was first.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Sends a request to the server at `url`. Returns the status and the body.
async fn http(url: &str, request: &str, body: &str) -> (u16, String) {
    http_as(url, "", request, body).await
}

/// As [`http`], with a token.
async fn http_as(url: &str, token: &str, request: &str, body: &str) -> (u16, String) {
    let address = url.trim_start_matches("ws://").trim_end_matches("/ws");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    (status, reply.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn processes(url: &str) -> Vec<Value> {
    let (status, body) = http(url, "GET /api/processes", "").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn order(url: &str, action: &str, id: &str) -> (u16, String) {
    http(
        url,
        "POST /api/actions",
        &json!({"action": action, "process_id": id}).to_string(),
    )
    .await
}

/// Reads standard output until a line is `expected`.
async fn until_line(server: &mut Outrace, expected: &str) {
    let mut line = String::new();
    while line.trim_end() != expected {
        line.clear();
        assert_ne!(
            server.stdout.read_line(&mut line).await.unwrap(),
            0,
            "{expected} was never said"
        );
    }
}

#[tokio::test]
async fn several_processes_write_whole_lines_with_their_names_and_each_has_its_channel() {
    bounded(async {
        let arguments = quiet(&["a=echo out; printf unfinished", "long-name=echo err >&2"]);
        let (code, stdout, stderr) = run(&arguments).await;
        assert_eq!(code, Some(0));
        assert_eq!(
            sorted(&stdout),
            ["a         | out", "a         | unfinished"]
        );
        assert_eq!(stderr, "long-name | err\n");

        let mut server = Outrace::serving(&[
            "run",
            "a=until read go < /dev/null; do sleep 0.02; done",
            "b=echo b; exit 5",
        ])
        .await;
        while server.complaint().await != "outrace: b exited with code 5" {}
        let (_, channels) = http(&server.url, "GET /api/channels", "").await;
        let channels: Value = serde_json::from_str(&channels).unwrap();
        let shown: Vec<_> = channels
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (&c["channel"], &c["published"]))
            .collect();
        assert_eq!(
            shown,
            [
                (&json!("process:a"), &json!(1)),
                (&json!("process:b"), &json!(3))
            ]
        );
        server.signal(Signal::TERM);
        server.child.wait().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn lines_of_many_writers_are_never_mixed() {
    bounded(async {
        let script = |c: char| {
            let line = c.to_string().repeat(300);
            format!(
                "{c}=for i in 1 2 3 4 5 6 7 8 9 10; do printf '{line}'; printf '{line}\\n{line}\\n'; done"
            )
        };
        let scripts = ['a', 'b', 'c', 'd'].map(script);
        let scripts: Vec<_> = scripts.iter().map(String::as_str).collect();
        // Both outputs go into one pipe, as in a terminal.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = outrace(&quiet(&scripts));
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let mut child = command.spawn().unwrap();
        drop(command);
        let output = tokio::task::spawn_blocking(move || {
            let mut output = String::new();
            std::io::Read::read_to_string(&mut reader, &mut output).unwrap();
            output
        });
        assert!(child.wait().await.unwrap().success());
        let output = output.await.unwrap();
        assert_eq!(output.lines().count(), 4 * 20);
        for line in output.lines() {
            let (name, text) = line.split_once(" | ").unwrap();
            assert!(text.len() % 300 == 0 && text.chars().all(|c| name == c.to_string()), "{line}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_procfile_names_processes_that_run_in_its_folder() {
    bounded(async {
        let folder = std::env::temp_dir().join(format!("outrace-procfile-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("Procfile");
        std::fs::write(&file, "# two\nweb: ls Procfile\n\nworker: exit 3\n").unwrap();
        let path = file.to_str().unwrap();
        let (code, stdout, _) = run(&quiet(&["-f", path])).await;
        assert_eq!((code, stdout.as_str()), (Some(3), "web    | Procfile\n"));

        std::fs::write(&file, "web ls\n").unwrap();
        let (code, _, stderr) = run(&quiet(&["-f", path])).await;
        assert_eq!(code, Some(2));
        assert!(
            stderr.starts_with(&format!("outrace: {path}:1: ")),
            "{stderr}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
        let (code, _, stderr) = run(&quiet(&["-f", path])).await;
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
    })
    .await;
}

#[tokio::test]
async fn a_wrong_command_line_gives_one_sentence_and_code_2() {
    bounded(async {
        for (arguments, part) in [
            (&["npm", "start"][..], "ID=COMMAND"),
            (&["a b=true"], "process id"),
            (&["a="], "no command"),
            (&["a=true", "a=false"], "two processes a"),
            (&["--id", "x", "a=true"], "--id"),
            (&["-f", "Procfile", "--", "true"], "--file"),
            (&["--restart", "sometimes", "a=true"], "sometimes"),
        ] {
            let (code, _, stderr) = run(&quiet(arguments)).await;
            assert_eq!(
                (code, stderr.lines().count()),
                (Some(2), 1),
                "{arguments:?}: {stderr}"
            );
            assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_exit_code_is_that_of_the_first_that_failed() {
    bounded(async {
        for (arguments, code) in [
            (&["a=exit 0", "b=exit 0"][..], 0),
            (&["a=exit 0", "b=exit 7"], 7),
            (&["a=kill -9 $$", "b=exit 0"], 137),
            (&["a=/no/such/program", "b=true"], 127),
            (
                &[
                    "--restart",
                    "on-failure",
                    "--restart-delay",
                    "0s",
                    "--",
                    "sh",
                    "-c",
                    "[ $(cat $0 | wc -l) -ge 3 ] || { echo >> $0; exit 1; }",
                    "COUNT",
                ],
                0,
            ),
        ] {
            let count = std::env::temp_dir().join(format!("outrace-count-{}", std::process::id()));
            std::fs::write(&count, "").unwrap();
            let arguments: Vec<_> = arguments
                .iter()
                .map(|&a| {
                    if a == "COUNT" {
                        count.to_str().unwrap()
                    } else {
                        a
                    }
                })
                .collect();
            let (ended, _, stderr) = run(&quiet(&arguments)).await;
            assert_eq!(ended, Some(code), "{arguments:?}: {stderr}");
            std::fs::remove_file(&count).unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_failure_stops_all_only_if_asked_to() {
    bounded(async {
        let forever = format!("web={FOREVER}");
        let (code, ..) = run(&quiet(&["--stop-on-failure", &forever, "job=exit 4"])).await;
        assert_eq!(code, Some(4));
        let mut server = Outrace::serving(&["run", &forever, "job=exit 4"]).await;
        while server.complaint().await != "outrace: job exited with code 4" {}
        assert_eq!(processes(&server.url).await[0]["status"], "running");
        server.signal(Signal::TERM);
        assert_eq!(server.child.wait().await.unwrap().code(), Some(4));
    })
    .await;
}

#[tokio::test]
async fn a_signal_stops_all_side_by_side_with_the_commands_own_end() {
    bounded(async {
        for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT")] {
            let script = |id| {
                format!(
                    "{id}=trap 'echo bye; exit 0' {name}; echo up; while :; do sleep 0.02; done"
                )
            };
            let mut server =
                Outrace::serving(&["run", "--grace", "1h", &script("a"), &script("b")]).await;
            assert_eq!(processes(&server.url).await[0]["controllable"], false);
            // Both processes set their traps before they print that they are up.
            loop {
                let (_, body) = http(&server.url, "GET /api/channels", "").await;
                let channels: Vec<Value> = serde_json::from_str(&body).unwrap();
                if channels.len() == 2
                    && channels
                        .iter()
                        .all(|channel| channel["published"].as_u64() >= Some(2))
                {
                    break;
                }
            }
            let mut client = JsonClient::subscribed(&server.url, "process:a").await;
            server.signal(signal);
            let mut byes = [server.printed().await, server.printed().await];
            while byes.iter().any(|line| line.ends_with("up\n")) {
                byes.rotate_left(1);
                byes[1] = server.printed().await;
            }
            byes.sort_unstable();
            assert_eq!(byes, ["a | bye\n", "b | bye\n"]);
            assert_eq!(server.child.wait().await.unwrap().code(), Some(0));
            client.until_line("bye").await;
            assert_eq!(client.final_status().await.1, ("stopped".into(), 0));
            assert_eq!(
                client.message_or_end().await,
                None,
                "the status is the last message"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_second_signal_kills_at_once() {
    bounded(async {
        let stubborn = ["a", "b"].map(|id| format!("{id}={STUBBORN}"));
        let mut server =
            Outrace::serving(&["run", "--grace", "1h", &stubborn[0], &stubborn[1]]).await;
        until_line(&mut server, "b | up").await;
        server.signal(Signal::INT);
        // Two signals in one moment count as one, so the second must come after the program has
        // seen the first.
        loop {
            server.signal(Signal::TERM);
            let ended =
                tokio::time::timeout(std::time::Duration::from_millis(50), server.child.wait())
                    .await;
            if let Ok(ended) = ended {
                assert_eq!(ended.unwrap().code(), Some(137));
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn processes_are_controlled_over_http_only_where_it_is_allowed() {
    bounded(async {
        let process = format!("web={FOREVER}");
        let mut server = Outrace::serving(&["run", &process]).await;
        for action in ["process.start", "process.stop", "process.restart"] {
            let (status, body) = order(&server.url, action, "web").await;
            assert_eq!(status, 403);
            assert!(body.starts_with(action) && body.contains("--control"), "{body}");
        }
        let (_, stats) = http(&server.url, "GET /api/stats", "").await;
        let stats: Value = serde_json::from_str(&stats).unwrap();
        assert_eq!(stats["refused"]["forbidden"], 3);
        server.signal(Signal::TERM);
        server.child.wait().await.unwrap();

        let mut server = Outrace::serving(&["run", "--control", &process]).await;
        until_line(&mut server, "web | up").await;
        let mut client = JsonClient::subscribed(&server.url, "process:web").await;
        assert_eq!(order(&server.url, "process.stop", "nobody").await.0, 400);
        assert_eq!(order(&server.url, "process.stop", "").await.1, "process.stop: process_id is required");
        // One bad action refuses the whole request, so the process is not stopped.
        let both =
            r#"[{"action":"process.stop","process_id":"web"},{"action":"process.stop","process_id":"x"}]"#;
        assert_eq!(http(&server.url, "POST /api/actions", both).await.0, 400);
        let web = processes(&server.url).await.remove(0);
        let since = web["since"].as_str().unwrap();
        assert!(since.ends_with('Z') && since.len() == 24, "{web}");
        assert_eq!(
            web,
            json!({
                "id": "web", "channel": "process:web", "status": "running", "exitCode": 0, "pid": web["pid"],
                "restarts": 0, "since": since, "controllable": true,
            })
        );

        assert_eq!(
            order(&server.url, "process.restart", "web").await,
            (200, r#"{"accepted":true}"#.to_owned())
        );
        until_line(&mut server, "web | up").await;
        assert_ne!(processes(&server.url).await[0]["pid"], web["pid"]);
        order(&server.url, "process.stop", "web").await;
        while client.final_status().await.1 != ("stopped".into(), 0) {}
        // All processes are stopped by order. The program still serves, because an order can start
        // one again.
        loop {
            if processes(&server.url).await[0]["status"] == "stopped" {
                break;
            }
        }
        order(&server.url, "process.start", "web").await;
        until_line(&mut server, "web | up").await;
        server.signal(Signal::TERM);
        let ended = server.child.wait().await.unwrap();
        assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()));
    })
    .await;
}

#[tokio::test]
async fn without_a_supervisor_there_are_no_processes() {
    bounded(async {
        let server = Outrace::serving(&["serve"]).await;
        assert_eq!(processes(&server.url).await, [] as [Value; 0]);
        assert_eq!(order(&server.url, "process.start", "web").await.0, 403);
    })
    .await;
}

#[tokio::test]
async fn with_stay_the_program_serves_latecomers() {
    bounded(async {
        let mut server = Outrace::serving(&["run", "--stay", "a=echo past", "b=exit 3"]).await;
        while server.complaint().await != "outrace: all processes have ended, still serving" {}
        let (_, channels) = http(&server.url, "GET /api/channels", "").await;
        let channels: Value = serde_json::from_str(&channels).unwrap();
        assert_eq!(
            channels[0]["status"],
            json!({"status": "exited", "exitCode": 0})
        );
        assert_eq!(
            channels[1]["status"],
            json!({"status": "exited", "exitCode": 3})
        );
        server.signal(Signal::TERM);
        assert_eq!(server.child.wait().await.unwrap().code(), Some(3));
    })
    .await;
}

/// Runs the program in a terminal of its own. `before` precedes the command in the shell. Returns
/// the text on the screen.
async fn in_a_terminal(before: &str, arguments: &str) -> Option<String> {
    let line = format!(
        "{before} exec {} run --quiet --listen 127.0.0.1:0 {arguments}",
        env!("CARGO_BIN_EXE_outrace")
    );
    let output = tokio::process::Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match output {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(_) => {
            eprintln!("skipped: there is no script(1)");
            None
        }
    }
}

#[tokio::test]
async fn names_are_coloured_in_a_terminal_that_may_have_colours() {
    bounded(async {
        let Some(shown) = in_a_terminal("unset NO_COLOR;", "a='echo x'").await else {
            return;
        };
        assert!(shown.contains("\x1b[0;36ma |\x1b[0m x"), "{shown:?}");
        let Some(shown) = in_a_terminal("NO_COLOR=1", "a='echo x'").await else {
            return;
        };
        assert!(
            shown.contains("a | x") && !shown.contains('\x1b'),
            "{shown:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_pattern_watches_all_processes_and_those_that_come_later() {
    bounded(async {
        let server = Outrace::serving(&["serve"]).await;
        let publish = async |id: &str, line: &str| {
            let action =
                json!({"action": "ws.send_process_output", "process_id": id, "output": line});
            assert_eq!(
                http(&server.url, "POST /api/actions", &action.to_string())
                    .await
                    .0,
                200
            );
        };
        publish("web", "here before").await;
        http(
            &server.url,
            "POST /api/actions",
            r#"{"action":"ws.send_channel","channel":"other","type":"x"}"#,
        )
        .await;
        let mut watcher = Outrace::start(&["watch", "--tail", "10", &server.url, "process:*"]);
        until_line(&mut watcher, "process:web: here before").await;
        publish("worker", "came later").await;
        until_line(&mut watcher, "process:worker: came later").await;
        publish("web", "and goes on").await;
        until_line(&mut watcher, "process:web: and goes on").await;
        let (_, channels) = http(&server.url, "GET /api/channels", "").await;
        let channels: Vec<Value> = serde_json::from_str(&channels).unwrap();
        let watched: Vec<_> = channels
            .iter()
            .map(|c| (c["channel"].as_str().unwrap(), &c["subscribers"]))
            .collect();
        assert_eq!(
            watched,
            [
                ("other", &json!(0)),
                ("process:web", &json!(1)),
                ("process:worker", &json!(1))
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn with_tokens_processes_are_listed_for_subscribers_and_controlled_by_holders_of_the_right() {
    use std::os::unix::fs::OpenOptionsExt;

    bounded(async {
        let path = std::env::temp_dir().join(format!("outrace-tokens-{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        let tokens = "client client-client-client publish=*\n\
                      owner owner-owner-owner-owner subscribe=process:web control=process:web\n";
        std::io::Write::write_all(&mut file, tokens.as_bytes()).unwrap();
        let (web, db) = (format!("web={FOREVER}"), format!("db={FOREVER}"));
        let arguments = [
            "run",
            "--control",
            "--token-file",
            path.to_str().unwrap(),
            &web,
            &db,
        ];
        let mut server = Outrace::serving(&arguments).await;
        let seen = async |token: &str| {
            let (status, body) = http_as(&server.url, token, "GET /api/processes", "").await;
            assert_eq!(status, 200, "{body}");
            let list: Vec<Value> = serde_json::from_str(&body).unwrap();
            let shown = |p: &Value| {
                (
                    p["id"].as_str().unwrap().to_owned(),
                    p["controllable"].as_bool().unwrap(),
                )
            };
            list.iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(http(&server.url, "GET /api/processes", "").await.0, 401);
        assert_eq!(
            seen("client-client-client").await,
            [("web".into(), false), ("db".into(), false)]
        );
        assert_eq!(
            seen("owner-owner-owner-owner").await,
            [("web".into(), true)]
        );
        for (token, id, status) in [
            ("", "web", 401),
            ("client-client-client", "web", 403),
            ("owner-owner-owner-owner", "db", 403),
            ("owner-owner-owner-owner", "web", 200),
        ] {
            let action = json!({"action": "process.restart", "process_id": id}).to_string();
            assert_eq!(
                http_as(&server.url, token, "POST /api/actions", &action)
                    .await
                    .0,
                status,
                "{token} {id}"
            );
        }
        // With the token, a pattern finds the channels that the client may see.
        let mut watcher = outrace(&["watch", "-n", "9", &server.url, "*"])
            .env("OUTRACE_TOKEN", "client-client-client")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::BufReader::new(watcher.stdout.take().unwrap()).lines();
        while lines.next_line().await.unwrap().unwrap() != "process:db: up" {}
        server.signal(Signal::TERM);
        server.child.wait().await.unwrap();
        std::fs::remove_file(&path).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_ctrl_c_of_the_terminal_comes_to_each_process_once() {
    bounded(async {
        // The script counts the signals of Ctrl-C for a while after the first.
        let count = "n=0; trap 'n=$((n+1))' INT; echo up; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.3; exit $((40+n))";
        let quoted = count.replace('\'', r"'\''");
        let (mut terminal, mut keyboard, mut screen) =
            in_terminal(&format!("run --quiet --grace 1m --listen 127.0.0.1:0 a='{quoted}' b='{quoted}'"));
        let mut up = 0;
        while up < 2 {
            up += usize::from(screen.next_line().await.unwrap().expect("both say so").ends_with("up"));
        }
        keyboard.write_all(b"\x03").await.unwrap();
        assert_eq!(terminal.wait().await.unwrap().code(), Some(41));
    })
    .await;
}
