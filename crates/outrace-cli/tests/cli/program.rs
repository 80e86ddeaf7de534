//! The program `outrace` as a child process.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use outrace_testkit::until;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// The path of the program.
pub(crate) const PATH: &str = env!("CARGO_BIN_EXE_outrace");

/// The program with a pipe to each of its streams.
pub(crate) struct Outrace {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: BufReader<ChildStdout>,
    pub(crate) stderr: Lines<BufReader<ChildStderr>>,
    /// The URL that it serves at, empty if it does not serve.
    pub(crate) url: String,
}

impl Outrace {
    /// Starts a command that serves on a free port, and waits until it listens.
    pub(crate) async fn serving(arguments: &[&str]) -> Self {
        Self::serving_at("ws", arguments).await
    }

    /// As [`Outrace::serving`], for a URL with this scheme.
    pub(crate) async fn serving_at(scheme: &str, arguments: &[&str]) -> Self {
        let (command, rest) = arguments.split_first().expect("a command");
        let mut all = vec![*command, "--listen", "127.0.0.1:0"];
        all.extend(rest);
        let mut outrace = Self::start(&all);
        let said = outrace.complaint().await;
        let at = said
            .find(&format!("{scheme}://"))
            .unwrap_or_else(|| panic!("it does not listen: {said}"));
        outrace.url = said[at..].split([',', ' ']).next().unwrap().to_owned();
        outrace
    }

    /// Starts the program.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = outrace(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            stderr: BufReader::new(child.stderr.take().unwrap()).lines(),
            child,
            url: String::new(),
        }
    }

    /// Returns the next line of its standard error.
    pub(crate) async fn complaint(&mut self) -> String {
        self.stderr
            .next_line()
            .await
            .unwrap()
            .expect("a line on standard error")
    }

    /// Returns the address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        let (_, rest) = self.url.split_once("://").unwrap();
        let (address, _) = rest.split_once('/').unwrap();
        address.parse().unwrap()
    }

    /// Returns the next line of its standard error that contains `text`.
    pub(crate) async fn complaint_with(&mut self, text: &str) -> String {
        loop {
            let line = self.complaint().await;
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Returns the next line of its standard output with its line end, or nothing at the end.
    pub(crate) async fn printed(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).await.unwrap();
        line
    }

    /// Writes to its standard input.
    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_ref()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Closes its standard input and returns its exit code.
    pub(crate) async fn code(&mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().await.unwrap().code()
    }

    /// Reads the rest of its standard output, up to its end.
    pub(crate) async fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        self.stdout.read_to_end(&mut output).await.unwrap();
        output
    }
}

/// Returns the command that runs the program.
pub(crate) fn outrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(PATH);
    command.args(arguments);
    command
}

/// Runs the program to its end with an empty standard input. Returns its exit code, its standard
/// output and its standard error.
pub(crate) async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = outrace(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Starts the program in a terminal of its own, by `script`, whose exit code is the program's.
///
/// `arguments` is read by a shell. Returns the terminal's process, its keyboard and its screen.
pub(crate) fn in_terminal(arguments: &str) -> (Child, ChildStdin, Lines<BufReader<ChildStdout>>) {
    // `exec`: a shell in between would die of the same Ctrl-C, and `script` would report that.
    let line = format!("exec {PATH} {arguments}");
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script(1) is installed");
    let keyboard = terminal.stdin.take().unwrap();
    let screen = BufReader::new(terminal.stdout.take().unwrap()).lines();
    (terminal, keyboard, screen)
}

/// Returns the path of a file that exists and is not executable.
pub(crate) fn not_executable() -> &'static str {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert!(std::path::Path::new(path).exists());
    path
}

/// The program, serving, for tests that block. Its standard output is discarded, and its log is
/// shown with the output of a test that fails.
pub(crate) struct Blocking {
    pub(crate) child: std::process::Child,
    pub(crate) address: SocketAddr,
}

impl Blocking {
    /// Starts a command that serves on a free port, and waits until it listens.
    pub(crate) fn serving(arguments: &[&str]) -> Self {
        Self::limited("", arguments)
    }

    /// As [`Blocking::serving`], after `ulimit` with these arguments if there are any.
    pub(crate) fn limited(ulimit: &str, arguments: &[&str]) -> Self {
        let (command, rest) = arguments.split_first().expect("a command");
        let limit = match ulimit {
            "" => String::new(),
            ulimit => format!("ulimit {ulimit}; "),
        };
        let script = format!("{limit}exec \"$0\" \"$@\"");
        let mut child = std::process::Command::new("sh")
            .args(["-c", &script, PATH, command])
            .args(["--listen", "127.0.0.1:0", "--log", "error"])
            .args(rest)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut complaints = std::io::BufReader::new(child.stderr.take().unwrap());
        complaints.read_line(&mut said).unwrap();
        std::thread::spawn(move || {
            let lines = complaints.lines().map_while(Result::ok);
            lines.for_each(|line| eprintln!("{line}"));
        });
        let (_, url) = said
            .split_once("ws://")
            .unwrap_or_else(|| panic!("it does not listen: {said}"));
        let address = url.split('/').next().unwrap().parse().unwrap();
        Self { child, address }
    }

    /// Returns its URL.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut ended = None;
        until("the program ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
