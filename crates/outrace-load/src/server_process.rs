//! The server as a child process, and what it costs: its CPU time and memory, read from `/proc`.

use crate::target::Target;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a server may take to say where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines of its standard error that are kept to explain a failure.
const LAST_WORDS: usize = 10;

pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) target: Target,
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
    words: Arc<Mutex<VecDeque<String>>>,
}

impl ServerProcess {
    /// Starts this program again with `args`, on core 0 if `pin`, and waits until it says `ws://ADDRESS`.
    pub(crate) fn start(args: &[String], pin: bool) -> Result<ServerProcess, String> {
        let program = std::env::current_exe()
            .map_err(|e| format!("could not find this program's own file: {e}"))?;
        let named = || format!("the server `outrace {}`", args.join(" "));
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A child inherits its parent thread's cores: pinned around the start, no code runs between fork and exec.
        let pinned = if pin { Some(Pinned::to(0)?) } else { None };
        let child = command.spawn();
        drop(pinned);
        let mut child = child.map_err(|e| format!("could not start {}: {e}", named()))?;
        let stderr = child
            .stderr
            .take()
            .expect("standard error was asked to be a pipe");
        let stdout = child.stdout.take().map(BufReader::new);
        let words = Arc::new(Mutex::new(VecDeque::new()));
        let address = listen_to(stderr, Arc::clone(&words));
        let mut server = ServerProcess {
            child,
            target: Target {
                addr: ([0, 0, 0, 0], 0).into(),
                host: String::new(),
                path: String::new(),
                headers: vec![],
            },
            stdout,
            words,
        };
        match address.recv_timeout(START_TIMEOUT) {
            Ok(url) => {
                server.target = Target::parse(&url, &[])?;
                Ok(server)
            }
            Err(RecvTimeoutError::Timeout) => Err(format!(
                "{} did not say where it listens within 10 s{}",
                named(),
                server.last_words()
            )),
            Err(RecvTimeoutError::Disconnected) => Err(format!(
                "{} ended before it listened{}",
                named(),
                server.last_words()
            )),
        }
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child
            .stdin
            .take()
            .expect("the standard input is taken once")
    }

    /// Whether it still runs.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!(
                "the server ended during the run: {status}{}",
                self.last_words()
            )),
            Err(e) => Err(format!("could not look after the server: {e}")),
        }
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<(), String> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(format!(
                        "the server ended with {status}{}",
                        self.last_words()
                    ));
                }
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => {
                    return Err(format!(
                        "the server did not end within {patience:?} of its input's end"
                    ));
                }
                Err(e) => return Err(format!("could not wait for the server: {e}")),
            }
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(&format!("/proc/{}", self.child.id()))
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory::of(&format!("/proc/{}", self.child.id()))
    }

    /// Files, sockets and pipes that are open; 0 where that can't be read.
    pub(crate) fn descriptors(&self) -> u64 {
        entries(&format!("/proc/{}/fd", self.child.id()))
    }

    pub(crate) fn threads(&self) -> u64 {
        entries(&format!("/proc/{}/task", self.child.id()))
    }

    fn last_words(&self) -> String {
        let words = self
            .words
            .lock()
            .map(|words| Vec::from(words.clone()).join(" / "))
            .unwrap_or_default();
        if words.is_empty() {
            String::new()
        } else {
            format!("; it said: {words}")
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The calling thread, and what it starts, on one core until this is dropped.
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(crate) fn to(core: usize) -> Result<Pinned, String> {
        let before = sched_getaffinity(None)
            .map_err(|e| format!("could not read this program's cores: {e}"))?;
        let mut set = CpuSet::new();
        set.set(core);
        sched_setaffinity(None, &set).map_err(|e| {
            format!("could not pin to core {core}: {e}; leave out --pin where there are fewer than two cores")
        })?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // These were this thread's cores a moment ago; there is nothing better to do if they no longer can be.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// Reads the child's standard error to its end, and passes on the first address in it.
fn listen_to(stderr: ChildStderr, words: Arc<Mutex<VecDeque<String>>>) -> Receiver<String> {
    let (found, address) = channel();
    std::thread::spawn(move || {
        let mut found = Some(found);
        for line in BufReader::new(stderr.take(1 << 30)).lines() {
            let Ok(line) = line else { break };
            if let Some(at) = line.find("ws://") {
                let url = line[at..]
                    .split([' ', ','])
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                if let Some(found) = found.take() {
                    // Nobody waits any more when the patience is over.
                    let _ = found.send(url);
                }
            }
            if let Ok(mut words) = words.lock() {
                if words.len() == LAST_WORDS {
                    words.pop_front();
                }
                words.push_back(line);
            }
        }
    });
    address
}

/// CPU time used so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Per living thread the nanoseconds it ran, and those it could have run but waited for a core.
    threads: HashMap<String, (u64, u64)>,
    /// Nanoseconds of the whole process with its ended threads, to two ticks of 10 ms.
    total: u64,
}

impl Usage {
    pub(crate) fn of_this_process() -> Usage {
        Usage::of("/proc/self")
    }

    fn of(proc: &str) -> Usage {
        let tasks = std::fs::read_dir(format!("{proc}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let threads = tasks
            .filter_map(|task| {
                let name = task.file_name().into_string().ok()?;
                Some((
                    name,
                    run_time(&std::fs::read_to_string(task.path().join("schedstat")).ok()?)?,
                ))
            })
            .collect();
        let stat = std::fs::read_to_string(format!("{proc}/stat")).unwrap_or_default();
        Usage {
            threads,
            total: ticks(&stat).unwrap_or(0) * 10_000_000,
        }
    }

    /// Nanoseconds of CPU used since `earlier`.
    pub(crate) fn since(&self, earlier: &Usage) -> u64 {
        let total = self.total.saturating_sub(earlier.total);
        if self.threads.is_empty()
            || earlier
                .threads
                .keys()
                .any(|thread| !self.threads.contains_key(thread))
        {
            // A thread has ended with what it used after `earlier`; only the process's own sum has it.
            return total;
        }
        let sum = |usage: &Usage| usage.threads.values().map(|thread| thread.0).sum::<u64>();
        sum(self).saturating_sub(sum(earlier))
    }

    /// Nanoseconds that threads which could run waited for a core since `earlier`, those that have ended left out.
    pub(crate) fn waited_since(&self, earlier: &Usage) -> u64 {
        let before = |thread| {
            earlier
                .threads
                .get(thread)
                .map_or(0, |times: &(u64, u64)| times.1)
        };
        self.threads
            .iter()
            .map(|(thread, times)| times.1.saturating_sub(before(thread)))
            .sum()
    }
}

/// User and system time in ticks, of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Time run and time waited, of `/proc/PID/task/TID/schedstat`.
fn run_time(schedstat: &str) -> Option<(u64, u64)> {
    let mut fields = schedstat
        .split_ascii_whitespace()
        .map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

fn entries(directory: &str) -> u64 {
    std::fs::read_dir(directory).map_or(0, |entries| entries.flatten().count() as u64)
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Of that, what is no file: heap and stacks.
    pub(crate) anonymous: u64,
    pub(crate) peak: u64,
}

impl Memory {
    fn of(proc: &str) -> Memory {
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        let bytes = |name| field(name).unwrap_or(0);
        Memory {
            resident: bytes("VmRSS:"),
            anonymous: bytes("RssAnon:"),
            peak: bytes("VmHWM:"),
        }
    }

    pub(crate) fn of_this_process() -> Memory {
        Memory::of("/proc/self")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat =
            "4682 (a ) b) S 4676 4676 3421 0 -1 4194368 5477 244 0 2 18 5 0 0 20 0 1 0 121917";
        assert_eq!(ticks(stat), Some(23));
    }

    #[test]
    fn work_done_by_this_process_shows_in_its_usage() {
        let before = Usage::of_this_process();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        let used = Usage::of_this_process().since(&before);
        assert!(used > 5_000_000, "{used} ns");
        assert!(Memory::of_this_process().resident > 100_000);
        assert!(
            (1..=Memory::of_this_process().resident).contains(&Memory::of_this_process().anonymous)
        );
        assert!(entries("/proc/self/fd") >= 3 && entries("/proc/self/task") >= 1);
        assert!(Memory::of("/proc/self").peak >= Memory::of("/proc/self").resident);
    }

    #[test]
    fn a_thread_that_ended_makes_the_process_sum_count() {
        let usage = |threads: &[(&str, u64)], total| Usage {
            threads: threads
                .iter()
                .map(|(name, ns)| ((*name).to_owned(), (*ns, 2 * ns)))
                .collect(),
            total,
        };
        let before = usage(&[("1", 5), ("2", 5)], 10_000_000);
        let after = usage(&[("1", 9), ("2", 6), ("3", 2)], 30_000_000);
        assert_eq!((after.since(&before), after.waited_since(&before)), (7, 14));
        assert_eq!(usage(&[("1", 9)], 30_000_000).since(&before), 20_000_000);
    }
}
