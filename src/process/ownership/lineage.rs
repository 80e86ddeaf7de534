//! The mark by which the orphans of a process are known.
//!
//! The system forgets the ancestors of an orphan. Sessions and groups are no help, since a daemon
//! leaves both. The environment remains: descendants inherit it, and `/proc` shows it.

use std::ffi::OsString;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listing::ListedProcess;
use super::{Listing, Member, Unstopped};
use crate::process::child::end_members;

/// The environment variable that holds the marks of a process's ancestors, separated by `:`.
const VARIABLE: &str = "OUTRACE_LINEAGE";

/// The mark of one run of a process.
#[derive(Debug)]
pub(in crate::process) struct Lineage(String);

impl Lineage {
    /// Creates a mark that no other run on this system has.
    pub(in crate::process) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let process = current();
        // Relaxed: only the uniqueness of the number matters.
        Self(format!(
            "{process}-{}",
            NEXT.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// Returns the variable for the process. It adds to the marks that this process has itself.
    pub(in crate::process) fn variable(&self) -> (&'static str, OsString) {
        let mut value = std::env::var_os(VARIABLE).unwrap_or_default();
        if !value.is_empty() {
            value.push(":");
        }
        value.push(&self.0);
        (VARIABLE, value)
    }

    /// Returns whether the process has this mark. A process whose environment was cleared, or may
    /// not be read, has none.
    pub(super) fn is_of(&self, pid: i32) -> bool {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| self.is_in(&environ))
    }

    fn is_in(&self, environ: &[u8]) -> bool {
        marks(environ).any(|mark| mark == self.0.as_bytes())
    }
}

/// Returns what the marks of all runs that this process starts begin with.
fn current() -> &'static str {
    static PROCESS: OnceLock<String> = OnceLock::new();
    PROCESS.get_or_init(|| {
        let pid = std::process::id();
        let started = ListedProcess::read(pid.cast_signed()).map_or(0, |own| own.started_ticks);
        format!("{pid}-{started}")
    })
}

/// Returns the marks in an environment, as `/proc/PID/environ` shows it.
fn marks(environ: &[u8]) -> impl Iterator<Item = &[u8]> {
    environ
        .split(|&byte| byte == 0)
        .filter_map(|variable| {
            variable
                .strip_prefix(VARIABLE.as_bytes())?
                .strip_prefix(b"=")
        })
        .flat_map(|marks| marks.split(|&byte| byte == b':'))
}

/// The mark of everything that one process starts while it has an
/// [`OrphanReaper`](super::OrphanReaper), and of all descendants of that.
///
/// A helper process that outlives the one with the reaper can end the descendants by it, whatever
/// has ended that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineageMark(String);

impl LineageMark {
    /// Returns the mark of the current process.
    pub fn of_current() -> Self {
        Self(current().to_owned())
    }

    /// Returns the mark with this text, which [`as_str`](Self::as_str) has returned in the process
    /// with the reaper.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the mark as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Ends all processes with the mark: sends `SIGTERM`, and `SIGKILL` when `grace_over`
    /// completes. Returns those that still run.
    ///
    /// Finds nothing on a system without `/proc`, and no process that has cleared its environment.
    ///
    /// # Cancel safety
    /// Not cancel safe. Dropping the future leaves the rest running.
    pub async fn end_all(&self, grace_over: impl Future<Output = ()>) -> Vec<Unstopped> {
        end_members(|| self.members(), grace_over).await
    }

    fn members(&self) -> Vec<Member> {
        let Some(listing) = Listing::read() else {
            return Vec::new();
        };
        let own_pid = std::process::id().cast_signed();
        let marked = listing.iter().filter(|process| {
            process.is_alive() && process.pid != own_pid && self.is_of(process.pid)
        });
        marked.map(|process| Member::new(process, false)).collect()
    }

    fn is_of(&self, pid: i32) -> bool {
        std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| self.is_in(&environ))
    }

    fn is_in(&self, environ: &[u8]) -> bool {
        marks(environ).any(|mark| {
            mark.strip_prefix(self.0.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'-'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_among_those_of_other_ancestors_and_only_whole() {
        let lineage = Lineage("7-9-1".to_owned());
        for (environ, expected) in [
            ("A=b\0OUTRACE_LINEAGE=7-9-1\0", true),
            ("OUTRACE_LINEAGE=1-1-0:7-9-1:8-8-8\0Z=\0", true),
            ("OUTRACE_LINEAGE=7-9-12\0", false),
            ("OTHER_OUTRACE_LINEAGE=7-9-1\0", false),
            ("", false),
        ] {
            assert_eq!(lineage.is_in(environ.as_bytes()), expected, "{environ:?}");
        }
        assert_ne!(Lineage::new().0, Lineage::new().0);
    }

    #[test]
    fn the_mark_of_a_process_is_that_of_all_its_runs_and_of_no_other_process() {
        let mark = LineageMark::new("7-9");
        for (environ, expected) in [
            ("OUTRACE_LINEAGE=7-9-1\0", true),
            ("OUTRACE_LINEAGE=1-1-0:7-9-22\0", true),
            ("OUTRACE_LINEAGE=7-91-0\0", false),
            ("OUTRACE_LINEAGE=7-9\0", false),
        ] {
            assert_eq!(mark.is_in(environ.as_bytes()), expected, "{environ:?}");
        }
        let environ = format!("OUTRACE_LINEAGE={}", Lineage::new().0);
        assert!(LineageMark::of_current().is_in(environ.as_bytes()));
    }
}
