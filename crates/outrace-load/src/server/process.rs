//! The server as a child process.

use super::affinity::{AffinityError, PinnedThread};
use super::program::Program;
use super::usage::{CpuUsage, ProcessMemory, count_entries};
use crate::wire::target::{Target, TargetError};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The longest time until a server states its address.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of lines of standard error that are kept to explain a failure.
const KEPT_STDERR_LINES: usize = 10;

/// The reason why a server did not start, run or end as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Affinity(#[from] AffinityError),
    #[error("could not start the server `{command}`: {error}")]
    Spawn {
        command: String,
        error: std::io::Error,
    },
    #[error("the server `{command}` did not state its address within 10 s{stderr}")]
    NoAddress { command: String, stderr: String },
    #[error("the server `{command}` ended before it listened{stderr}")]
    EndedBeforeListening { command: String, stderr: String },
    #[error(transparent)]
    Address(#[from] TargetError),
    #[error("the server ended during the run: {status}{stderr}")]
    EndedDuringRun { status: ExitStatus, stderr: String },
    #[error("the server ended with {status}{stderr}")]
    EndedWithFailure { status: ExitStatus, stderr: String },
    #[error("the server did not end within {0:?} of the end of its input")]
    DidNotEnd(Duration),
    #[error("could not wait for the server: {0}")]
    Wait(std::io::Error),
}

/// A running server. It is killed when this is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) target: Target,
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
    last_stderr_lines: Arc<Mutex<VecDeque<String>>>,
    /// The server that this one is a relay of.
    upstream: Option<Box<ServerProcess>>,
}

impl ServerProcess {
    /// Names the server that this one is a relay of. Lines are fed to that one, whose end is the
    /// end of both.
    pub(crate) fn fed_through(mut self, upstream: ServerProcess) -> Self {
        self.upstream = Some(Box::new(upstream));
        self
    }

    /// Starts `program` with `args` and waits until it prints `ws://ADDRESS`.
    ///
    /// With `pin`, the server runs on core 0.
    pub(crate) fn start(
        program: &Program,
        args: &[String],
        pin: bool,
    ) -> Result<ServerProcess, ServerError> {
        let name = || format!("outrace {}", args.join(" "));
        let mut command = program.command();
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A child inherits the cores of the thread that starts it. This thread is pinned around the
        // start, so that no code has to run between fork and exec.
        let pinned = if pin {
            Some(PinnedThread::to_core(0)?)
        } else {
            None
        };
        let child = command.spawn();
        drop(pinned);
        let mut child = child.map_err(|error| ServerError::Spawn {
            command: name(),
            error,
        })?;
        let stderr = child
            .stderr
            .take()
            .expect("standard error was requested as a pipe");
        let stdout = child.stdout.take().map(BufReader::new);
        let last_stderr_lines = Arc::new(Mutex::new(VecDeque::new()));
        let address = read_stderr(stderr, Arc::clone(&last_stderr_lines));
        let mut server = ServerProcess {
            child,
            target: Target {
                addr: ([0, 0, 0, 0], 0).into(),
                host: String::new(),
                path: String::new(),
                headers: vec![],
            },
            stdout,
            last_stderr_lines,
            upstream: None,
        };
        match address.recv_timeout(START_TIMEOUT) {
            Ok(url) => {
                server.target = Target::parse(&url, &[])?;
                Ok(server)
            }
            Err(RecvTimeoutError::Timeout) => Err(ServerError::NoAddress {
                command: name(),
                stderr: server.last_stderr(),
            }),
            Err(RecvTimeoutError::Disconnected) => Err(ServerError::EndedBeforeListening {
                command: name(),
                stderr: server.last_stderr(),
            }),
        }
    }

    /// Returns the standard input.
    ///
    /// # Panics
    ///
    /// Panics if it was taken before.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        if let Some(upstream) = &mut self.upstream {
            return upstream.take_stdin();
        }
        self.child
            .stdin
            .take()
            .expect("the standard input is taken once")
    }

    /// Fails if the server has ended.
    pub(crate) fn check_running(&mut self) -> Result<(), ServerError> {
        if let Some(upstream) = &mut self.upstream {
            upstream.check_running()?;
        }
        match self.child.try_wait().map_err(ServerError::Wait)? {
            None => Ok(()),
            Some(status) => Err(ServerError::EndedDuringRun {
                status,
                stderr: self.last_stderr(),
            }),
        }
    }

    /// Waits until the server ends by itself.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<(), ServerError> {
        if let Some(upstream) = &mut self.upstream {
            // A relay does not end by itself. It is ended when this is dropped.
            return upstream.wait(timeout);
        }
        let deadline = Instant::now() + timeout;
        loop {
            match self.child.try_wait().map_err(ServerError::Wait)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(ServerError::EndedWithFailure {
                        status,
                        stderr: self.last_stderr(),
                    });
                }
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
                None => return Err(ServerError::DidNotEnd(timeout)),
            }
        }
    }

    pub(crate) fn cpu_usage(&self) -> CpuUsage {
        CpuUsage::read(&format!("/proc/{}", self.child.id()))
    }

    pub(crate) fn memory(&self) -> ProcessMemory {
        ProcessMemory::read(&format!("/proc/{}", self.child.id()))
    }

    /// Returns the number of open files, sockets and pipes, or 0 if it can't be read.
    pub(crate) fn descriptors(&self) -> u64 {
        count_entries(&format!("/proc/{}/fd", self.child.id()))
    }

    pub(crate) fn threads(&self) -> u64 {
        count_entries(&format!("/proc/{}/task", self.child.id()))
    }

    /// Returns the last lines of standard error as the end of an error message.
    fn last_stderr(&self) -> String {
        let lines = self
            .last_stderr_lines
            .lock()
            .map(|lines| Vec::from(lines.clone()).join(" / "))
            .unwrap_or_default();
        if lines.is_empty() {
            String::new()
        } else {
            format!("; its last output: {lines}")
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only if the process has ended already, which is the goal.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the child's standard error to its end on a thread of its own.
///
/// Sends the first address that appears in it, and keeps the last lines.
fn read_stderr(stderr: ChildStderr, last_lines: Arc<Mutex<VecDeque<String>>>) -> Receiver<String> {
    let (sender, address) = channel();
    std::thread::spawn(move || {
        let mut sender = Some(sender);
        for line in BufReader::new(stderr.take(1 << 30)).lines() {
            let Ok(line) = line else { break };
            if let Some(at) = line.find("ws://") {
                let url = line[at..]
                    .split([' ', ','])
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                if let Some(sender) = sender.take() {
                    // The receiver is gone if the start has timed out.
                    let _ = sender.send(url);
                }
            }
            if let Ok(mut lines) = last_lines.lock() {
                if lines.len() == KEPT_STDERR_LINES {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        }
    });
    address
}
