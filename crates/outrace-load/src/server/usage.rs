//! The CPU time and the memory of a process, read from `/proc`.

use std::collections::HashMap;

/// The kernel counts process times in ticks of 10 ms.
const NS_PER_TICK: u64 = 10_000_000;

/// The CPU time that a process has used so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuUsage {
    /// Per living thread, the nanoseconds that it ran, and those that it was runnable and waited
    /// for a core.
    threads_ns: HashMap<String, (u64, u64)>,
    /// Nanoseconds of the whole process including its ended threads, to two ticks of 10 ms.
    total_ns: u64,
}

impl CpuUsage {
    pub(crate) fn of_this_process() -> CpuUsage {
        CpuUsage::read("/proc/self")
    }

    pub(super) fn read(proc: &str) -> CpuUsage {
        let tasks = std::fs::read_dir(format!("{proc}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let threads_ns = tasks
            .filter_map(|task| {
                let name = task.file_name().into_string().ok()?;
                Some((
                    name,
                    run_time(&std::fs::read_to_string(task.path().join("schedstat")).ok()?)?,
                ))
            })
            .collect();
        let stat = std::fs::read_to_string(format!("{proc}/stat")).unwrap_or_default();
        CpuUsage {
            threads_ns,
            total_ns: ticks(&stat).unwrap_or(0) * NS_PER_TICK,
        }
    }

    /// Returns the nanoseconds of CPU time used since `earlier`.
    pub(crate) fn used_ns_since(&self, earlier: &CpuUsage) -> u64 {
        let total_ns = self.total_ns.saturating_sub(earlier.total_ns);
        if self.threads_ns.is_empty()
            || earlier
                .threads_ns
                .keys()
                .any(|thread| !self.threads_ns.contains_key(thread))
        {
            // A thread has ended. Only the sum of the process has what it used after `earlier`.
            return total_ns;
        }
        let sum = |usage: &CpuUsage| {
            usage
                .threads_ns
                .values()
                .map(|thread| thread.0)
                .sum::<u64>()
        };
        sum(self).saturating_sub(sum(earlier))
    }

    /// Returns the nanoseconds that runnable threads waited for a core since `earlier`.
    ///
    /// Threads that have ended are left out.
    pub(crate) fn waited_ns_since(&self, earlier: &CpuUsage) -> u64 {
        let before = |thread| {
            earlier
                .threads_ns
                .get(thread)
                .map_or(0, |times: &(u64, u64)| times.1)
        };
        self.threads_ns
            .iter()
            .map(|(thread, times)| times.1.saturating_sub(before(thread)))
            .sum()
    }
}

/// Returns user and system time in ticks, from the content of `/proc/PID/stat`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Returns the nanoseconds run and waited, from the content of `/proc/PID/task/TID/schedstat`.
fn run_time(schedstat: &str) -> Option<(u64, u64)> {
    let mut fields = schedstat
        .split_ascii_whitespace()
        .map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// The resident memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessMemory {
    pub(crate) resident: u64,
    /// The part of it that is no file: heap and stacks.
    pub(crate) anonymous: u64,
    /// The highest resident memory so far.
    pub(crate) peak: u64,
}

impl ProcessMemory {
    pub(super) fn read(proc: &str) -> ProcessMemory {
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
        };
        let bytes = |name| field(name).unwrap_or(0);
        ProcessMemory {
            resident: bytes("VmRSS:"),
            anonymous: bytes("RssAnon:"),
            peak: bytes("VmHWM:"),
        }
    }

    pub(super) fn plus(self, other: ProcessMemory) -> ProcessMemory {
        ProcessMemory {
            resident: self.resident + other.resident,
            anonymous: self.anonymous + other.anonymous,
            peak: self.peak + other.peak,
        }
    }

    pub(crate) fn of_this_process() -> ProcessMemory {
        ProcessMemory::read("/proc/self")
    }
}

/// Returns the number of entries of a directory, or 0 if it can't be read.
pub(crate) fn count_entries(directory: &str) -> u64 {
    std::fs::read_dir(directory).map_or(0, |entries| entries.flatten().count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn ticks_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat =
            "4682 (a ) b) S 4676 4676 3421 0 -1 4194368 5477 244 0 2 18 5 0 0 20 0 1 0 121917";
        assert_eq!(ticks(stat), Some(23));
    }

    #[test]
    fn work_done_by_this_process_shows_in_its_usage() {
        let before = CpuUsage::of_this_process();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(30) {
            std::hint::spin_loop();
        }
        let used = CpuUsage::of_this_process().used_ns_since(&before);
        assert!(used > 5_000_000, "{used} ns");
        assert!(ProcessMemory::of_this_process().resident > 100_000);
        assert!(
            (1..=ProcessMemory::of_this_process().resident)
                .contains(&ProcessMemory::of_this_process().anonymous)
        );
        assert!(count_entries("/proc/self/fd") >= 3 && count_entries("/proc/self/task") >= 1);
        assert!(
            ProcessMemory::read("/proc/self").peak >= ProcessMemory::read("/proc/self").resident
        );
    }

    #[test]
    fn a_thread_that_ended_makes_the_process_sum_count() {
        let usage = |threads: &[(&str, u64)], total| CpuUsage {
            threads_ns: threads
                .iter()
                .map(|(name, ns)| ((*name).to_owned(), (*ns, 2 * ns)))
                .collect(),
            total_ns: total,
        };
        let before = usage(&[("1", 5), ("2", 5)], 10_000_000);
        let after = usage(&[("1", 9), ("2", 6), ("3", 2)], 30_000_000);
        assert_eq!(
            (after.used_ns_since(&before), after.waited_ns_since(&before)),
            (7, 14)
        );
        assert_eq!(
            usage(&[("1", 9)], 30_000_000).used_ns_since(&before),
            20_000_000
        );
    }
}
