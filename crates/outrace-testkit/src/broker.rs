//! A broker of the test's own that can be stopped, killed and started again.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Scratch;

/// The ports that brokers get. They are below those that the kernel gives to connections, so that
/// none takes the port of a broker that is being restarted.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// How often a broker is started before its arguments are to blame.
const MAX_STARTS: usize = 20;

/// Which program is started, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerKind {
    /// `nats-server -js`.
    Nats,
    /// `nats-server` without JetStream.
    NatsWithoutJetStream,
    /// `redis-server` with its append-only file.
    Redis,
    /// `redis-server` that keeps nothing.
    RedisWithoutAof,
}

/// A `nats-server` or `redis-server` with a port and a folder of its own. It ends with this.
#[derive(Debug)]
pub struct BrokerServer {
    kind: BrokerKind,
    arguments: Vec<String>,
    folder: Scratch,
    port: u16,
    child: Child,
}

impl BrokerServer {
    /// Starts a broker, and waits until it answers. Where it is not installed, prints a line and
    /// returns `None`, but panics if `CI` is set.
    pub async fn start(kind: BrokerKind) -> Option<Self> {
        Self::start_with(kind, &[]).await
    }

    /// As [`BrokerServer::start`], with more arguments for the program.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub async fn start_with(kind: BrokerKind, arguments: &[&str]) -> Option<Self> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        for _ in 0..MAX_STARTS {
            let (folder, port) = (Scratch::new(), free_port());
            let child = match spawn(kind, &arguments, &folder, port) {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let program = kind.program();
                    let is_ci = std::env::var_os("CI").is_some();
                    assert!(!is_ci, "{program} is not installed");
                    eprintln!("skipped: {program} is not installed");
                    return None;
                }
                Err(error) => panic!("{}: {error}", kind.program()),
            };
            let mut server = Self {
                kind,
                arguments: arguments.clone(),
                folder,
                port,
                child,
            };
            // It ends by itself when another process was faster to take the port.
            if server.until_ready().await {
                return Some(server);
            }
        }
        panic!("{} does not start with {arguments:?}", kind.program());
    }

    /// Returns the URL of the broker.
    pub fn url(&self) -> String {
        let scheme = if self.kind.is_nats() { "nats" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Returns the port of the broker on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the process where it is: connections stay and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // Its threads may go on for a while after the signal was sent.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), options).unwrap();
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends the process as an operator does.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.child.wait().await.unwrap();
    }

    /// Kills the process.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts a process that has ended again, with the same port and data, and waits until it
    /// answers.
    pub async fn start_again(&mut self) {
        loop {
            self.child = spawn(self.kind, &self.arguments, &self.folder, self.port).unwrap();
            if self.until_ready().await {
                return;
            }
            // The port is still taken.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As [`BrokerServer::start_again`], without the data.
    pub async fn start_empty(&mut self) {
        let _ = std::fs::remove_dir_all(self.data());
        self.start_again().await;
    }

    fn data(&self) -> PathBuf {
        self.folder.folder().join("data")
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        let pid = self.child.id().expect("the process runs");
        Pid::from_raw(pid.try_into().unwrap()).unwrap()
    }

    /// Waits until the broker answers. Returns `false` when it ended instead.
    async fn until_ready(&mut self) -> bool {
        while self.child.try_wait().unwrap().is_none() {
            if answers(self.kind, self.port).await.is_ok_and(|ready| ready) {
                // Not that of another process, which has the port.
                return self.child.try_wait().unwrap().is_none();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        false
    }
}

impl BrokerKind {
    fn is_nats(self) -> bool {
        matches!(self, Self::Nats | Self::NatsWithoutJetStream)
    }

    fn program(self) -> &'static str {
        if self.is_nats() {
            "nats-server"
        } else {
            "redis-server"
        }
    }
}

/// Asks a broker whether it serves, as far as its protocol can say.
async fn answers(kind: BrokerKind, port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (question, answer): (&[u8], &[u8]) = if kind.is_nats() {
        (b"", b"INFO")
    } else {
        (b"PING\r\n", b"+PONG")
    };
    stream.write_all(question).await?;
    let mut begin = vec![0; answer.len()];
    stream.read_exact(&mut begin).await?;
    Ok(begin == answer)
}

fn spawn(
    kind: BrokerKind,
    arguments: &[String],
    folder: &Scratch,
    port: u16,
) -> std::io::Result<Child> {
    let data = folder.folder().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let mut command = Command::new(kind.program());
    match kind {
        BrokerKind::Nats => command.arg("-js").arg("-sd").arg(&data),
        BrokerKind::NatsWithoutJetStream => &mut command,
        BrokerKind::Redis => command
            .args(["--appendonly", "yes", "--save", "", "--dir"])
            .arg(&data),
        BrokerKind::RedisWithoutAof => command.args(["--appendonly", "no", "--save", ""]),
    };
    let address = if kind.is_nats() { "--addr" } else { "--bind" };
    command
        .args([address, "127.0.0.1", "--port", &port.to_string()])
        .args(arguments)
        .current_dir(folder.folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

/// Returns a port that no other broker of this process has, and that is free now.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        // Test processes begin at different places, so that they seldom try the same port.
        let first = u16::try_from(std::process::id() % 997).unwrap() * 10;
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(first);
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
