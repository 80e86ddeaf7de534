//! Starts a child: enters it as owned, and lets it end with this process if that is asked for.

use std::io;

use rustix::process::Pid;
use tokio::process::{Child, Command};

use super::OwnedChild;
use super::owned::OwnedPids;

/// Starts `command`. With `end_with_parent`, the system kills the child when this process ends in
/// any way, as far as the system can.
pub(in crate::process) fn spawn(
    command: &mut Command,
    end_with_parent: bool,
) -> io::Result<(Child, OwnedChild)> {
    #[cfg(target_os = "linux")]
    if end_with_parent {
        return linux::spawn_on_lasting_thread(command);
    }
    let _ = end_with_parent;
    spawn_here(command)
}

fn spawn_here(command: &mut Command) -> io::Result<(Child, OwnedChild)> {
    let mut owned = OwnedPids::lock();
    let child = command.spawn()?;
    let pid = child
        .id()
        .and_then(|pid| Pid::from_raw(pid.cast_signed()))
        .expect("a child that was not reaped has a pid");
    Ok((child, owned.insert(pid)))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::mem::replace;
    use std::sync::{LazyLock, mpsc};

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
    use tokio::process::{Child, Command};
    use tokio::runtime::Handle;

    use super::{OwnedChild, spawn_here};

    type Job = Box<dyn FnOnce() + Send>;

    /// The thread that starts children which end with this process.
    ///
    /// Linux sends the parent-death signal when the *thread* that started the child ends. The
    /// runtime ends its threads when it likes; this one lasts as long as the process.
    static SPAWNER: LazyLock<io::Result<mpsc::Sender<Job>>> = LazyLock::new(|| {
        let (jobs, received) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("outrace-spawn".to_owned())
            .spawn(move || received.into_iter().for_each(|job| job()))?;
        Ok(jobs)
    });

    pub(super) fn spawn_on_lasting_thread(
        command: &mut Command,
    ) -> io::Result<(Child, OwnedChild)> {
        let spawner = SPAWNER
            .as_ref()
            .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        end_with_parent(command);
        let (reply, replied) = mpsc::sync_channel(1);
        let runtime = Handle::current();
        let mut moved = replace(command, Command::new(""));
        let job = Box::new(move || {
            let _runtime = runtime.enter();
            let spawned = spawn_here(&mut moved);
            // Fails only if the thread that asked has panicked.
            let _ = reply.send((moved, spawned));
        });
        spawner.send(job).map_err(|_| spawner_gone())?;
        let (moved, spawned) = replied.recv().map_err(|_| spawner_gone())?;
        *command = moved;
        spawned
    }

    fn spawner_gone() -> io::Error {
        io::Error::other("the thread that starts processes has ended")
    }

    fn end_with_parent(command: &mut Command) {
        let parent = getpid();
        let before_exec = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have ended before the call, and then no signal comes.
            if getppid() != Some(parent) {
                return Err(io::Error::from_raw_os_error(
                    rustix::io::Errno::SRCH.raw_os_error(),
                ));
            }
            Ok(())
        };
        // SAFETY: `before_exec` runs in the child between fork and exec, where only calls are
        // allowed that are safe in a signal handler. It makes two system calls, and touches neither
        // the heap nor a lock. There is no safe interface: only the child itself can ask for the
        // signal.
        unsafe {
            command.pre_exec(before_exec);
        }
    }
}
