//! The program's own outputs: closed, full, slow, or without a reader.
#![cfg(target_os = "linux")]

use std::fs::{self, File, OpenOptions};
use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use outrace_testkit::{JsonClient, Scratch, bounded, eventually, resident_bytes};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::program::{Outrace, PATH, outrace, run};

const SIGPIPE: Option<i32> = Some(13);

/// Runs a line of bash in which `outrace` is the program, to its end. Returns the outputs.
async fn bash(line: &str) -> (ExitStatus, String, String) {
    let script = format!("outrace() {{ {PATH} \"$@\"; }}; at='--listen 127.0.0.1:0'; {line}");
    let output = Command::new("bash")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status, text(output.stdout), text(output.stderr))
}

/// Takes over the program with this process, whose standard error is a pipe, and waits until it
/// listens.
async fn until_serving(mut child: Child) -> Outrace {
    let mut outrace = Outrace {
        stdin: child.stdin.take(),
        stdout: nothing(),
        stderr: lines_of(child.stderr.take().unwrap()),
        child,
        url: String::new(),
    };
    let said = outrace.complaint_with("ws://").await;
    let at = said.find("ws://").unwrap();
    outrace.url = said[at..].split([',', ' ']).next().unwrap().to_owned();
    outrace
}

/// Returns the standard output of a program that prints nothing.
fn nothing() -> BufReader<ChildStdout> {
    let mut silent = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(silent.stdout.take().unwrap())
}

/// Returns the standard error of a program that says nothing.
fn silence() -> Lines<BufReader<ChildStderr>> {
    let mut silent = Command::new("true").stderr(Stdio::piped()).spawn().unwrap();
    lines_of(silent.stderr.take().unwrap())
}

fn lines_of(stderr: ChildStderr) -> Lines<BufReader<ChildStderr>> {
    BufReader::new(stderr).lines()
}

async fn signal_of(child: &mut Child) -> Option<i32> {
    child.wait().await.unwrap().signal()
}

#[tokio::test]
async fn closed_streams_are_those_of_dev_null_and_the_command_runs() {
    bounded(async {
        let scratch = Scratch::new();
        let proof = scratch.path("proof");
        for closed in [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"] {
            let line = format!(
                "outrace run $at -- sh -c 'echo out; echo err >&2; echo ran >> {proof}' {closed}"
            );
            let (status, ..) = bash(&line).await;
            assert_eq!(status.code(), Some(0), "{closed}");
            let line =
                format!("outrace run $at 'a=echo out; echo err >&2; echo ran >> {proof}' {closed}");
            let (status, ..) = bash(&line).await;
            assert_eq!(status.code(), Some(0), "{closed}");
        }
        assert_eq!(fs::read_to_string(&proof).unwrap(), "ran\n".repeat(10));
        // No socket and no file takes the place of a closed stream.
        let script = "exec \"$0\" serve --listen 127.0.0.1:0 <&- >&-";
        let child = Command::new("sh")
            .args(["-c", script, PATH])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let server = until_serving(child).await;
        for number in [0, 1] {
            let fd = format!("/proc/{}/fd/{number}", server.child.id().unwrap());
            assert_eq!(fs::read_link(fd).unwrap(), Path::new("/dev/null"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_standard_error_takes_no_message_and_ends_nothing() {
    bounded(async {
        for (line, code, printed) in [
            ("outrace run $at -- echo hi 2>/dev/full", 0, "hi\n"),
            (
                "outrace run $at -- sh -c 'echo hi; exit 7' 2>/dev/full",
                7,
                "hi\n",
            ),
            (
                "outrace run $at 'a=echo hi; exit 3' 2>/dev/full",
                3,
                "a | hi\n",
            ),
            (
                "outrace run $at --restart never --stop-on-exit -- echo hi 2>/dev/full",
                0,
                "hi\n",
            ),
            (
                "echo hi | outrace pipe $at --id a --tee --log trace 2>/dev/full",
                0,
                "hi\n",
            ),
            ("outrace run $at -- /no/such/program 2>/dev/full", 127, ""),
            ("outrace run --no-such-option 2>/dev/full", 2, ""),
            ("outrace 2>/dev/full", 2, ""),
            ("outrace --version 2>/dev/full | cut -c 1-7", 0, "outrace\n"),
            (
                "outrace watch --retry-limit 1 ws://127.0.0.1:1/ws a 2>/dev/full",
                1,
                "",
            ),
            // What the command itself writes is output, and is lost.
            (
                "outrace run $at -- sh -c 'echo hi; echo err >&2' 2>/dev/full",
                1,
                "hi\n",
            ),
        ] {
            let (status, stdout, _) = bash(line).await;
            assert_eq!(
                (status.code(), stdout.as_str()),
                (Some(code), printed),
                "{line}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_is_followed_after_the_reader_of_the_messages_has_gone() {
    bounded(async {
        let scratch = Scratch::new();
        let file = scratch.file("log", "");
        let mut tail = Outrace::serving(&["tail", &file]).await;
        let mut client = JsonClient::subscribed(&tail.url, "file:log").await;
        // The reader goes after the first line, as `2>&1 | head -1` does.
        drop(std::mem::replace(&mut tail.stderr, silence()));
        for i in 0..5 {
            // Each file in place of the one before is worth a message.
            scratch.file("log", format!("line {i}\n"));
            assert_eq!(client.line().await, format!("line {i}"));
        }
        tail.signal(Signal::TERM);
        tail.child.wait().await.unwrap();
    })
    .await;
}

/// Fills a pipe, and leaves it in blocking mode.
fn full_pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mode = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, mode | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    fcntl_setfl(&writer, mode).unwrap();
    (reader, writer.into())
}

#[tokio::test]
async fn messages_that_nobody_reads_hold_nothing_up() {
    bounded(async {
        let scratch = Scratch::new();
        let proof = scratch.path("proof");
        let (_reader, full) = full_pipe();
        let script = format!("echo ran > {proof}; exit 5");
        let arguments = [
            "run",
            "--listen",
            "127.0.0.1:0",
            "--log",
            "trace",
            "--",
            "sh",
            "-c",
            &script,
        ];
        let mut child = outrace(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(full))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(5));
        assert_eq!(fs::read_to_string(proof).unwrap(), "ran\n");
    })
    .await;
}

#[tokio::test]
async fn one_message_is_one_write() {
    bounded(async {
        // A datagram is one write.
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let arguments = [
            "run",
            "--listen",
            "127.0.0.1:0",
            "a=exit 3",
            "b=/no/such/program",
        ];
        let status = outrace(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(OwnedFd::from(theirs)))
            .kill_on_drop(true)
            .status()
            .await
            .unwrap();
        assert!(matches!(status.code(), Some(3 | 127)), "{status}");
        ours.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let mut messages = Vec::new();
        while let Ok(n) = ours.recv(&mut buffer) {
            messages.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
        }
        assert!(messages.len() >= 3, "{messages:?}");
        for message in messages
            .iter()
            .filter(|message| message.starts_with("outrace"))
        {
            assert!(message.ends_with('\n'), "{messages:?}");
            assert_eq!(message.lines().count(), 1, "{messages:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn output_waits_for_a_full_pipe_in_non_blocking_mode() {
    bounded(async {
        let (mut reader, writer) = std::io::pipe().unwrap();
        // A command that shares a terminal with the program may set this mode.
        fcntl_setfl(&writer, fcntl_getfl(&writer).unwrap() | OFlags::NONBLOCK).unwrap();
        let arguments = [
            "run",
            "--quiet",
            "--listen",
            "127.0.0.1:0",
            "--",
            "seq",
            "100000",
        ];
        let mut command = outrace(&arguments);
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn().unwrap();
        drop(command);
        // Nothing is read until the pipe is full.
        eventually(|| {
            let mut fds = [rustix::event::PollFd::new(
                &writer,
                rustix::event::PollFlags::OUT,
            )];
            let now = rustix::event::Timespec::default();
            rustix::event::poll(&mut fds, Some(&now)).unwrap() == 0
        })
        .await;
        drop(writer);
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
        let expected: String = (1..=100_000).map(|i| format!("{i}\n")).collect();
        assert!(reading.await.unwrap() == expected);
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_told_once_what_it_did_not_take_is_counted_and_the_exit_code_says_so() {
    bounded(async {
        for (line, code) in [
            ("outrace run --quiet $at -- seq 5 > /dev/full", 1),
            (
                "outrace run --quiet $at -- sh -c 'seq 5; exit 7' > /dev/full",
                7,
            ),
            (
                "outrace run --quiet $at --restart never --stop-on-failure -- seq 5 > /dev/full",
                1,
            ),
            ("outrace run --quiet $at 'a=seq 5' > /dev/full", 1),
            (
                "seq 5 | outrace pipe --quiet $at --id a --tee > /dev/full",
                1,
            ),
            (
                "seq 5 > f; outrace pipe --quiet $at --id a --tee > /dev/full < f",
                1,
            ),
        ] {
            let scratch = Scratch::new();
            let line = format!("cd {}; {line}", scratch.folder().display());
            let (status, _, said) = bash(&line).await;
            assert_eq!(status.code(), Some(code), "{line}: {said}");
            let said: Vec<_> = said.lines().collect();
            assert_eq!(said.len(), 2, "{line}: {said:?}");
            assert_eq!(
                said[0],
                "outrace: cannot write to standard output: no space left on device; lines are left \
                 out until it can be written again"
            );
            assert!(
                said[1].starts_with("outrace: standard output: 5 lines ("),
                "{said:?}"
            );
        }
        let line = "outrace load -q -n 1 -r 100 --seconds 0.1 --warmup 0.1 > /dev/full";
        let (status, _, said) = bash(line).await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("outrace: cannot write to standard output: no space"),
            "{said}"
        );
        for line in [
            "outrace --help > /dev/full",
            "outrace run --help > /dev/full",
            "outrace --version > /dev/full",
        ] {
            let (status, _, said) = bash(line).await;
            assert_eq!(status.code(), Some(1), "{line}");
            assert!(
                said.starts_with("outrace: cannot write to standard output: no space"),
                "{said}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn output_goes_on_when_there_is_room_again_and_every_line_is_whole_or_counted() {
    bounded(async {
        let scratch = Scratch::new();
        let path = scratch.file("out", "");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        // A limit of the size of files stands for a full disk.
        let echo = "while read line; do echo \"$line\"; done";
        let script = "trap '' XFSZ; ulimit -f 4; exec \"$0\" run --listen 127.0.0.1:0 --id it -- sh -c \"$1\"";
        let child = Command::new("bash")
            .args(["-c", script, PATH, echo])
            .stdin(Stdio::piped())
            .stdout(Stdio::from(file))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut outrace = until_serving(child).await;
        let mut client = JsonClient::subscribed(&outrace.url, "process:it").await;
        let mut sent = 0;
        let mut next = |count: usize| {
            let lines: String = (sent..sent + count)
                .map(|i| format!("line number {i}\n"))
                .collect();
            sent += count;
            lines
        };
        // More than the file may hold.
        outrace.say(next(400)).await;
        let said = outrace.complaint().await;
        assert!(
            said.contains("cannot write to standard output: file too large"),
            "{said}"
        );
        let mut content = fs::read_to_string(&path).unwrap();
        outrace.say(next(50)).await;
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        client.until_line("line number 449").await;
        // Each line is published before it is passed through. So the second of two that clients
        // have got shows that the first was passed through.
        for i in 450..460 {
            outrace.say(next(1)).await;
            client.until_line(&format!("line number {i}")).await;
        }
        assert_eq!(outrace.code().await, Some(1));
        content += &fs::read_to_string(&path).unwrap();
        let last = outrace.complaint().await;
        let count = |text: &str| -> usize {
            text.split("standard output: ")
                .nth(1)
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        let lines: Vec<_> = content.lines().collect();
        let numbers: Vec<usize> = lines
            .iter()
            .map(|line| {
                line.strip_prefix("line number ")
                    .expect(line)
                    .parse()
                    .unwrap()
            })
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert_eq!(numbers.len() + count(&last), sent, "{last}");
    })
    .await;
}

#[tokio::test]
async fn without_a_reader_the_program_ends_as_any_other_in_a_pipe() {
    bounded(async {
        for line in [
            "outrace run --quiet $at -- yes",
            "outrace run --quiet $at --restart always -- yes",
            "outrace run --quiet $at 'a=yes' 'b=sleep 1000'",
            "outrace run --quiet $at -- sh -c 'trap \"\" PIPE; while :; do echo y; sleep 0.01; done'",
            "yes | outrace pipe --quiet $at --id a --tee",
            "outrace load -q -n 1 -r 100 --seconds 0.1 --warmup 0.1",
            "outrace run --quiet $at -- sh -c 'while :; do echo y >&2; sleep 0.01; done' 2>&1",
        ] {
            // A reader that is gone from the start, for what prints one text, and one that goes.
            for reader in ["head -n 1 > /dev/null", "exec true"] {
                if reader.starts_with("head") && line.contains("load") {
                    continue;
                }
                let (_, status, said) = bash(&format!("{line} | {reader}; echo ${{PIPESTATUS[-2]}}")).await;
                assert_eq!(status.trim(), "141", "{line} | {reader}: {said}");
                assert_eq!(said, "", "{line}");
            }
        }
        // A pipe whose reader has gone for certain.
        for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let status = outrace(arguments).stdout(writer).status().await.unwrap();
            assert_eq!(status.signal(), SIGPIPE, "{arguments:?}");
        }
        // The same for a socket.
        let (ours, theirs) = UnixStream::pair().unwrap();
        let arguments = ["run", "--quiet", "--listen", "127.0.0.1:0", "--", "yes"];
        let mut child = outrace(&arguments)
            .stdout(OwnedFd::from(theirs))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        tokio::task::spawn_blocking(move || (&ours).read(&mut [0; 100]).unwrap())
            .await
            .unwrap();
        assert_eq!(signal_of(&mut child).await, SIGPIPE);
    })
    .await;
}

#[tokio::test]
async fn without_a_reader_a_command_runs_on_for_its_viewers_until_the_last_has_gone() {
    bounded(async {
        let script = "while read line; do echo $line; done";
        for arguments in [
            &["run", "--id", "it", "--", "sh", "-c", script][..],
            &["pipe", "--id", "it", "--tee"],
        ] {
            let mut server = Outrace::serving(arguments).await;
            let mut client = JsonClient::subscribed(&server.url, "process:it").await;
            server.say("one\n").await;
            assert_eq!(client.line().await, "one");
            assert_eq!(server.printed().await, "one\n");
            server.stdout = nothing();
            for i in 0..5 {
                server.say(format!("{i}\n")).await;
                assert_eq!(client.line().await, i.to_string());
            }
            drop(client);
            // The next output that reaches nobody ends it.
            let stdin = server.stdin.as_mut().unwrap();
            while server.child.try_wait().unwrap().is_none() {
                let _ = stdin.write_all(b"more\n").await;
                tokio::task::yield_now().await;
            }
            assert_eq!(signal_of(&mut server.child).await, SIGPIPE, "{arguments:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn with_stay_a_command_runs_on_without_a_reader() {
    bounded(async {
        let script = "while read line; do echo $line; done; exit 6";
        let mut server =
            Outrace::serving(&["run", "--stay", "--id", "it", "--", "sh", "-c", script]).await;
        server.say("one\n").await;
        assert_eq!(server.printed().await, "one\n");
        server.stdout = nothing();
        for _ in 0..5 {
            server.say("more\n").await;
        }
        drop(server.stdin.take());
        server
            .complaint_with("exited with code 6, still serving")
            .await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        server.signal(Signal::TERM);
        assert_eq!(client.message_or_end().await, None);
        assert_eq!(server.code().await, Some(6));
    })
    .await;
}

#[tokio::test]
async fn watch_ends_when_its_reader_has_gone_while_no_line_comes() {
    bounded(async {
        let mut server = Outrace::serving(&["pipe", "--id", "it"]).await;
        server.say("hello\n").await;
        let url = server.url.clone();
        for channel in ["process:it", "process:*"] {
            let mut watch = Outrace::start(&["watch", "--tail", "1", &url, channel]);
            assert!(watch.printed().await.ends_with("hello\n"));
            drop(std::mem::replace(&mut watch.stdout, nothing()));
            assert_eq!(
                watch.child.wait().await.unwrap().code(),
                Some(0),
                "{channel}"
            );
        }
        // The same while there is no server.
        let mut watch = Outrace::start(&["watch", "ws://127.0.0.1:1/ws", "process:it"]);
        watch.complaint_with("trying again").await;
        drop(std::mem::replace(&mut watch.stdout, nothing()));
        assert_eq!(watch.child.wait().await.unwrap().code(), Some(0));
        // A full disk does not end it.
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut watch = outrace(&["watch", "--no-retry", "--tail", "1", &url, "process:it"])
            .stdout(full)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = lines_of(watch.stderr.take().unwrap());
        while !said
            .next_line()
            .await
            .unwrap()
            .unwrap()
            .contains("no space left on device")
        {}
        server.say("more\n").await;
        assert_eq!(server.code().await, Some(0));
        assert_eq!(watch.wait().await.unwrap().code(), Some(1));
        let mut last = String::new();
        while let Some(line) = said.next_line().await.unwrap() {
            last = line;
        }
        assert!(
            last.starts_with("outrace: standard output: 2 lines (11 bytes)"),
            "{last}"
        );
    })
    .await;
}

#[tokio::test]
async fn pipe_passes_its_input_through_byte_for_byte() {
    bounded(async {
        let scratch = Scratch::new();
        let mut input: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        input.extend_from_slice(b"\r\n\xff\n\nlast without an end");
        scratch.file("input", &input);
        let folder = scratch.folder().display();
        for line in [
            "cat input | outrace pipe --id a --tee $at",
            "outrace pipe --id a --tee $at < input",
        ] {
            let (status, _, said) = bash(&format!("cd {folder}; {line} > output")).await;
            assert_eq!(status.code(), Some(0), "{said}");
            assert!(fs::read(scratch.path("output")).unwrap() == input, "{line}");
        }
        // Without --tee nothing is printed.
        let (_, stdout, _) = bash("echo hi | outrace pipe --id a $at").await;
        assert_eq!(stdout, "");
        let mut server = Outrace::serving(&["pipe", "--id", "it", "--tee"]).await;
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        for i in 0..20 {
            server.say(format!("line {i}\n")).await;
            assert_eq!(client.line().await, format!("line {i}"));
            assert_eq!(server.printed().await, format!("line {i}\n"));
        }
        assert_eq!(server.code().await, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_reader_of_tee_that_sleeps_does_not_hold_up_a_signal() {
    bounded(async {
        let mut server = Outrace::serving(&["pipe", "--id", "it", "--tee"]).await;
        let pid = server.child.id().unwrap();
        let mut client = JsonClient::subscribed(&server.url, "process:it").await;
        let chunk = "a line that nobody reads\n".repeat(4000);
        // Its standard output takes 64 KiB, and so does its input.
        let mut stdin = server.stdin.take().unwrap();
        let writing = tokio::spawn(async move {
            loop {
                if stdin.write_all(chunk.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        client.line().await;
        assert!(resident_bytes(pid) < 200 << 20);
        server.signal(Signal::TERM);
        server.child.wait().await.unwrap();
        writing.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn help_goes_to_standard_output_and_the_lack_of_a_command_to_standard_error() {
    bounded(async {
        let (code, stdout, stderr) = run(&[]).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert!(stderr.contains("Usage: outrace"), "{stderr}");
        let (code, stdout, stderr) = run(&["--help"]).await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(
            stdout.contains("Usage: outrace") && !stdout.contains('\x1b'),
            "{stdout}"
        );
    })
    .await;
}
