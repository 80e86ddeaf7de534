//! A broker as a child process, with a folder and a port of its own.

use super::usage::CpuUsage;
use crate::cluster_layout::BrokerKind;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The longest time until a broker answers.
const START_TIMEOUT: Duration = Duration::from_secs(10);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The settings of `nats-server`. Without the deadline, one node that does not read holds up the
/// others for seconds.
const NATS_SETTINGS: &str = "write_deadline: \"1s\"\n";

/// The first version of `nats-server` that may slow down a publisher because of a slow subscriber,
/// unless it is told not to.
const NATS_STALLS_SINCE: (u32, u32) = (2, 11);

/// The reason why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    #[error(
        "{program} is not installed: the cluster's broker has to be on the PATH (Debian has it in \
         the package {program}); `--broker relay` needs none"
    )]
    NotInstalled { program: &'static str },
    #[error("could not start {program}: {error}")]
    Start {
        program: &'static str,
        error: std::io::Error,
    },
    #[error("{program} did not answer within 10 s")]
    NoAnswer { program: &'static str },
    #[error("{program} ended before it answered")]
    Ended { program: &'static str },
    #[error("could not signal the broker: {0}")]
    Signal(rustix::io::Errno),
}

/// A running broker. It is killed, and its folder removed, when this is dropped.
pub(crate) struct BrokerProcess {
    child: Child,
    folder: PathBuf,
    /// The URL that nodes connect to.
    pub(crate) url: String,
}

impl BrokerProcess {
    /// Starts a broker and waits until it answers. Returns `None` for relays, which need none.
    pub(crate) fn start(kind: BrokerKind) -> Result<Option<BrokerProcess>, BrokerError> {
        let program = match kind {
            BrokerKind::Nats => "nats-server",
            BrokerKind::Redis => "redis-server",
            BrokerKind::Relay => return Ok(None),
        };
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => BrokerError::NotInstalled { program },
            _ => BrokerError::Start { program, error },
        };
        let folder = scratch_folder();
        std::fs::create_dir_all(&folder).map_err(|error| BrokerError::Start { program, error })?;
        let started = free_port()
            .and_then(|port| match kind {
                BrokerKind::Nats => nats(port, &folder).map(|command| (port, command)),
                _ => Ok((port, redis(port, &folder))),
            })
            .and_then(|(port, mut command)| {
                let child = command
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?;
                Ok((port, child))
            });
        let (port, child) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                return Err(failed(error));
            }
        };
        let scheme = match kind {
            BrokerKind::Nats => "nats",
            _ => "redis",
        };
        let mut broker = BrokerProcess {
            child,
            folder,
            url: format!("{scheme}://127.0.0.1:{port}"),
        };
        broker.wait_for_answer(program, (Ipv4Addr::LOCALHOST, port).into())?;
        Ok(Some(broker))
    }

    fn wait_for_answer(
        &mut self,
        program: &'static str,
        address: SocketAddr,
    ) -> Result<(), BrokerError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !answers(address) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return Err(BrokerError::Ended { program });
            }
            if Instant::now() > deadline {
                return Err(BrokerError::NoAnswer { program });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Stops the broker where it is. Its connections stay open.
    pub(crate) fn pause(&self) -> Result<(), BrokerError> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused broker go on.
    pub(crate) fn resume(&self) -> Result<(), BrokerError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), BrokerError> {
        kill_process(Pid::from_child(&self.child), signal).map_err(BrokerError::Signal)
    }

    pub(crate) fn cpu_usage(&self) -> CpuUsage {
        CpuUsage::read(&format!("/proc/{}", self.child.id()))
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        // All fail only if what they remove has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Returns whether the program of a broker is on the PATH.
pub(crate) fn is_installed(kind: BrokerKind) -> bool {
    let program = match kind {
        BrokerKind::Nats => "nats-server",
        BrokerKind::Redis => "redis-server",
        BrokerKind::Relay => return true,
    };
    let version = Command::new(program).arg("--version").output();
    version.is_ok()
}

/// Returns the command of a NATS server whose streams are on files.
fn nats(port: u16, folder: &Path) -> std::io::Result<Command> {
    let version = Command::new("nats-server").arg("--version").output()?;
    let mut settings = NATS_SETTINGS.to_owned();
    if nats_version(&String::from_utf8_lossy(&version.stdout)) >= Some(NATS_STALLS_SINCE) {
        settings.push_str("no_fast_producer_stall: true\n");
    }
    let file = folder.join("nats.conf");
    std::fs::write(&file, settings)?;
    let mut command = Command::new("nats-server");
    command
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .arg("--jetstream")
        .arg("--store_dir")
        .arg(folder)
        .arg("--config")
        .arg(file);
    Ok(command)
}

/// Returns the major and the minor version in `nats-server: v2.9.10`.
fn nats_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().rsplit_once('v')?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Returns the command of a Redis server with an append-only file.
fn redis(port: u16, folder: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "yes", "--dir"])
        .arg(folder);
    command
}

/// Returns whether something at `address` speaks first, as NATS does, or answers a PING of Redis.
fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, START_TIMEOUT) else {
        return false;
    };
    let mut first = [0; 1];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && matches!(stream.read(&mut first), Ok(1))
        // Redis answers with `-LOADING` until it has read its files.
        && first != *b"-"
}

/// Returns a port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn scratch_folder() -> PathBuf {
    static BROKERS: AtomicU64 = AtomicU64::new(0);
    std::env::temp_dir().join(format!(
        "outrace-load-broker-{}-{}",
        std::process::id(),
        // Relaxed: the numbers only have to differ.
        BROKERS.fetch_add(1, Relaxed)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_nats_decides_its_settings() {
        assert_eq!(nats_version("nats-server: v2.9.10\n"), Some((2, 9)));
        assert!(nats_version("nats-server: v2.9.10\n") < Some(NATS_STALLS_SINCE));
        assert!(nats_version("nats-server: v2.11.0-RC1\n") >= Some(NATS_STALLS_SINCE));
        assert_eq!(nats_version("nothing"), None);
    }
}
