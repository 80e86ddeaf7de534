//! Adopts the orphans among the descendants of this process, and reaps them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Pid;
use tokio::task::JoinHandle;

use super::listing::ListedProcess;
use super::owned::OwnedPids;
use super::{Lineage, Listing, Member, OwnedChild, Unstopped};
use crate::process::child::end_members;

/// The pause after a look for zombies: a burst of ends costs one look.
#[cfg(target_os = "linux")]
const REAP_PAUSE: Duration = Duration::from_millis(20);

/// The number of reapers. While there is one, orphans are adopted and stops reach them.
static REAPERS: AtomicUsize = AtomicUsize::new(0);

/// Makes this process the parent of every orphan among its descendants, and reaps them.
///
/// A process can leave the group that its signals go to: `setsid`, `timeout` and every daemon do.
/// While a reaper exists, [`Process::stop`](super::super::Process::stop) and the stops of a
/// [`Supervisor`](super::super::Supervisor) also end what has left the group, orphans included.
/// This holds for processes that are started while it exists. They get an environment variable
/// `OUTRACE_LINEAGE`, by which their orphans are known.
///
/// As process 1 of a container, a program gets the orphans of all others too. They are reaped.
///
/// # Whole process
/// A reaper changes the whole process, which is why the library never makes one by itself. **It
/// reaps every child that [`Hub::spawn`](crate::Hub::spawn), [`Spawn`](super::super::Spawn) or a
/// supervisor did not start.** A program that starts children in another way starts them by
/// [`own`](Self::own).
///
/// # Platforms
/// Linux only. Elsewhere there is no way to adopt orphans, and stops reach process groups.
#[derive(Debug)]
pub struct OrphanReaper {
    reaping: JoinHandle<()>,
}

impl OrphanReaper {
    /// Begins to adopt orphans, until the reaper is dropped.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::Unsupported`] where the system has no such feature or no `/proc`,
    /// or the system's error if it refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    #[cfg(target_os = "linux")]
    pub fn start() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        if ListedProcess::read(own_pid()).is_none() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut ends = signal(SignalKind::child())?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        // Relaxed: only the count matters. Who starts a process afterwards was told so by the
        // return of this function.
        REAPERS.fetch_add(1, Ordering::Relaxed);
        let reaping = tokio::spawn(async move {
            loop {
                reap_orphans();
                if ends.recv().await.is_none() {
                    return;
                }
                tokio::time::sleep(REAP_PAUSE).await;
            }
        });
        Ok(Self { reaping })
    }

    /// Fails: this system cannot adopt orphans.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::Unsupported`].
    #[cfg(not(target_os = "linux"))]
    pub fn start() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Starts a child in another way than by a hub or a supervisor: calls `start`, which returns
    /// the child and its pid. The child is no orphan as long as the [`OwnedChild`] exists.
    ///
    /// # Errors
    /// Returns the error of `start`, or [`io::ErrorKind::InvalidData`] if the pid is impossible.
    pub fn own<T>(
        &self,
        start: impl FnOnce() -> io::Result<(T, u32)>,
    ) -> io::Result<(T, OwnedChild)> {
        let mut owned = OwnedPids::lock();
        let (child, pid) = start()?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Ok((child, owned.insert(pid.ok_or(io::ErrorKind::InvalidData)?)))
    }

    /// Ends all orphans that were adopted, and their descendants: sends `SIGTERM`, and `SIGKILL`
    /// when `grace_over` completes. Returns those that still run.
    ///
    /// # Cancel safety
    /// Not cancel safe. Dropping the future leaves the rest running.
    pub async fn end_orphans(&self, grace_over: impl Future<Output = ()>) -> Vec<Unstopped> {
        end_members(adopted, grace_over).await
    }

    /// Returns whether orphans are being adopted.
    pub(in crate::process) fn is_active() -> bool {
        // Relaxed: see `start`.
        REAPERS.load(Ordering::Relaxed) > 0
    }
}

impl Drop for OrphanReaper {
    fn drop(&mut self) {
        self.reaping.abort();
        // Relaxed: see `start`.
        if REAPERS.fetch_sub(1, Ordering::Relaxed) == 1 {
            #[cfg(target_os = "linux")]
            let _ = rustix::process::set_child_subreaper(None);
        }
    }
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Returns the running orphans that this process has adopted, and their descendants.
fn adopted() -> Vec<Member> {
    let Some(listing) = Listing::read() else {
        return Vec::new();
    };
    // Read after the listing: a child that was started in between is not in the listing.
    let owned = OwnedPids::lock();
    alive(listing.trees(|process| is_orphan(process, &owned)))
}

/// Returns whether this process is the parent and did not start the process.
fn is_orphan(process: &ListedProcess, owned: &OwnedPids) -> bool {
    process.parent == own_pid() && !owned.contains(process.pid)
}

fn alive(processes: Vec<ListedProcess>) -> Vec<Member> {
    let processes = processes.iter().filter(|process| process.is_alive());
    processes
        .map(|process| Member::new(process, false))
        .collect()
}

impl Listing {
    /// Returns the running members of the group that `leader` leads or led, if it does, and with a
    /// `lineage` all running descendants. The leader counts as long as it was not reaped. It is not
    /// among the members. If it leads no group, its group is that of this process.
    pub(in crate::process) fn family(
        &self,
        leader: i32,
        leads_group: bool,
        reaped: bool,
        lineage: Option<&Lineage>,
    ) -> Vec<Member> {
        let group = if leads_group {
            leader
        } else {
            rustix::process::getpgrp().as_raw_nonzero().get()
        };
        let in_group = |process: &ListedProcess| process.group == group;
        let is_led = |process: &ListedProcess| leads_group && in_group(process);
        let processes = match lineage {
            None => self.iter().filter(|p| is_led(p)).copied().collect(),
            Some(lineage) => {
                let owned = OwnedPids::lock();
                self.trees(|process| {
                    (process.pid == leader && !reaped)
                        || is_led(process)
                        || is_orphan(process, &owned) && lineage.is_of(process.pid)
                })
            }
        };
        processes
            .iter()
            .filter(|process| process.is_alive() && (reaped || process.pid != leader))
            .map(|process| Member::new(process, in_group(process)))
            .collect()
    }
}

/// Reaps the zombies among the adopted orphans.
#[cfg(target_os = "linux")]
fn reap_orphans() {
    use rustix::process::{WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};

    // The usual case: no child of any kind is a zombie.
    let any = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if !matches!(waitid(WaitId::All, any), Ok(Some(_))) {
        return;
    }
    let Some(listing) = Listing::read() else {
        return;
    };
    // Held during the reaping: no child is started meanwhile, so that no number is reused for one.
    let owned = OwnedPids::lock();
    for process in listing.iter() {
        if process.is_zombie() && is_orphan(process, &owned) {
            let _ = waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
        }
    }
}
