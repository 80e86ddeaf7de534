//! A listing of the system's processes, from `/proc`.

use std::collections::HashSet;

/// One process at the time of the listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct ListedProcess {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// The time of its start, in clock ticks since the system's. With the pid it names a process
    /// for good.
    pub(super) started_ticks: u64,
}

impl ListedProcess {
    /// Reads one process, or returns `None` if it has ended or there is no `/proc`.
    pub(super) fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `/proc/PID/stat`. The second field is the program's name in parentheses, which may
    /// hold any byte.
    fn parse(pid: i32, stat: &[u8]) -> Option<Self> {
        let rest = std::str::from_utf8(&stat[memchr::memrchr(b')', stat)? + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        Some(Self {
            pid,
            state: *fields.next()?.as_bytes().first()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            // The 22nd field; the iterator stands before the 6th.
            started_ticks: fields.nth(16)?.parse().ok()?,
        })
    }

    /// Returns whether the process runs or is suspended. A zombie does neither.
    pub(super) fn is_alive(&self) -> bool {
        !self.is_zombie() && self.state != b'X'
    }

    pub(super) fn is_zombie(&self) -> bool {
        self.state == b'Z'
    }
}

/// All processes that `/proc` shows.
pub(in crate::process) struct Listing(Vec<ListedProcess>);

impl Listing {
    /// Reads the listing, or returns `None` without a `/proc`. Linear in all processes of the
    /// system: about 10 µs for each.
    pub(in crate::process) fn read() -> Option<Self> {
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            // The process may have ended since it was listed.
            processes.extend(pid.and_then(ListedProcess::read));
        }
        (!processes.is_empty()).then_some(Self(processes))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ListedProcess> {
        self.0.iter()
    }

    /// Returns the processes for which `is_root` returns true, and all their descendants.
    pub(super) fn trees(&self, is_root: impl Fn(&ListedProcess) -> bool) -> Vec<ListedProcess> {
        let mut pids: HashSet<i32> = HashSet::new();
        let mut found = Vec::new();
        // One round per generation.
        loop {
            let before = found.len();
            for process in &self.0 {
                let belongs = pids.contains(&process.parent) || is_root(process);
                if belongs && pids.insert(process.pid) {
                    found.push(*process);
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "42 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 777 9 9";

    #[test]
    fn the_name_of_a_program_does_not_move_the_fields_behind_it() {
        let stat = |name: &str| format!("17 ({name}) S 1 43 {REST}");
        for name in ["sh", "a) Z 9 9", "a b", ""] {
            let parsed = ListedProcess::parse(17, stat(name).as_bytes()).unwrap();
            let expected = ListedProcess {
                pid: 17,
                state: b'S',
                parent: 1,
                group: 43,
                started_ticks: 777,
            };
            assert_eq!(parsed, expected, "{name}");
        }
        assert_eq!(ListedProcess::parse(17, b"17 (sh"), None);
        assert_eq!(ListedProcess::parse(17, b"17 (sh) S 1"), None);
    }

    #[test]
    fn a_tree_holds_all_generations_and_nothing_else() {
        let process = |pid, parent| ListedProcess {
            pid,
            state: b'S',
            parent,
            group: pid,
            started_ticks: 0,
        };
        // Children may be listed before their parents.
        let listing = Listing(vec![
            process(5, 4),
            process(4, 2),
            process(2, 1),
            process(3, 1),
            process(1, 0),
        ]);
        let mut pids: Vec<_> = listing
            .trees(|process| process.pid == 2)
            .iter()
            .map(|process| process.pid)
            .collect();
        pids.sort_unstable();
        assert_eq!(pids, [2, 4, 5]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_listed() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let listing = Listing::read().unwrap();
        assert!(
            listing
                .iter()
                .any(|process| process.pid == own && process.is_alive())
        );
    }
}
