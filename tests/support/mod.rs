//! What the tests of processes and of the binary share: a client that knows when it is subscribed, and the
//! binary as a child.

// Each test file uses its part, and none is a crate that others depend on.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// No test takes this long, on any machine that is alive.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test's body, or fails it when it hangs.
pub async fn bounded<T>(body: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, body)
        .await
        .expect("the test hangs")
}

/// The binary behind a terminal of its own, by `script`, whose exit code is the binary's. `arguments` is as in a shell: what is typed, and what
/// the screen shows.
pub fn in_terminal(arguments: &str) -> (Child, ChildStdin, Lines<BufReader<ChildStdout>>) {
    // `exec`: a shell that stayed between would die of the same Ctrl-C, and `script` would report that.
    let line = format!(
        "exec {} {arguments}",
        option_env!("CARGO_BIN_EXE_outrace").expect("a test of the program")
    );
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

/// Serves `hub` on a free port and says where.
pub async fn serve(hub: &outrace::Hub) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    tokio::spawn(outrace::server::serve(
        listener,
        hub.clone(),
        std::future::pending(),
    ));
    url
}

/// A subscriber, over a real socket.
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    /// Connects and subscribes; the subscription is active when this returns.
    pub async fn subscribe(url: &str, channel: &str) -> Self {
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        for message in [
            json!({"type": "subscribe", "channel": channel}),
            json!({"type": "ping"}),
        ] {
            socket
                .send(Message::text(message.to_string()))
                .await
                .unwrap();
        }
        let mut client = Self { socket };
        // A process that has only just started may say so in between.
        loop {
            let message = client.next().await.expect("a pong");
            if message["type"] == "pong" {
                return client;
            }
            assert_eq!(message["data"]["status"], "running", "{message}");
        }
    }

    /// The next message; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await?.expect("the connection holds") {
                Message::Text(text) => {
                    return Some(serde_json::from_str(&text).expect("one JSON a message"));
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Everything up to the final status: the lines, and the statuses as (status, code).
    pub async fn until_end(&mut self) -> (Vec<String>, Vec<(String, i64)>) {
        let (mut lines, mut statuses) = (Vec::new(), Vec::new());
        loop {
            let message = self.next().await.expect("a final status before the end");
            match message["type"].as_str() {
                Some("process_output") => lines.push(message["data"].as_str().unwrap().to_owned()),
                Some("process_status") => {
                    let status = message["data"]["status"].as_str().unwrap().to_owned();
                    let code = message["data"]["exitCode"].as_i64().unwrap();
                    let is_final = status != "running";
                    statuses.push((status, code));
                    if is_final {
                        return (lines, statuses);
                    }
                }
                _ => panic!("an unexpected message: {message}"),
            }
        }
    }

    /// The lines up to the final status, and that.
    pub async fn end(&mut self) -> (Vec<String>, (String, i64)) {
        let (lines, mut statuses) = self.until_end().await;
        (lines, statuses.pop().expect("it ends with one"))
    }

    /// Reads until there is this line. A shell may write more than it was told to, about what was killed.
    pub async fn line_that_is(&mut self, expected: &str) {
        while self.line().await != expected {}
    }

    /// The next line.
    pub async fn line(&mut self) -> String {
        loop {
            let message = self.next().await.expect("a line");
            if message["type"] == "process_output" {
                return message["data"].as_str().unwrap().to_owned();
            }
        }
    }
}

/// The binary, running.
pub struct Outrace {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: BufReader<ChildStdout>,
    pub stderr: Lines<BufReader<ChildStderr>>,
    /// Where it serves.
    pub url: String,
}

impl Outrace {
    /// Starts a command that serves on a free port, and waits until it does.
    pub async fn serving(arguments: &[&str]) -> Self {
        Self::serving_at("ws", arguments).await
    }

    /// As [`Outrace::serving`], at an address with this scheme.
    pub async fn serving_at(scheme: &str, arguments: &[&str]) -> Self {
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

    /// Starts it with pipes for everything.
    pub fn start(arguments: &[&str]) -> Self {
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

    /// The next line on its standard error.
    pub async fn complaint(&mut self) -> String {
        self.stderr
            .next_line()
            .await
            .unwrap()
            .expect("a line on standard error")
    }

    /// Writes to its standard input.
    pub async fn say(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_ref()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.id().expect("it runs").cast_signed();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal)
            .unwrap();
    }

    /// Its exit code, after closing its standard input.
    pub async fn code(&mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.child.wait().await.unwrap().code()
    }

    /// All that is left on its standard output, once it has ended.
    pub async fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        self.stdout.read_to_end(&mut output).await.unwrap();
        output
    }
}

/// The binary as a command.
pub fn outrace(arguments: &[&str]) -> Command {
    let mut command =
        Command::new(option_env!("CARGO_BIN_EXE_outrace").expect("a test of the program"));
    command.args(arguments);
    command
}

/// Runs the binary to its end, with nothing on standard input: its exit code, output and errors.
pub async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
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

/// A shell with a script.
pub fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

/// A file that is there and cannot be run.
pub fn not_executable() -> &'static str {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert!(Path::new(path).exists());
    path
}
