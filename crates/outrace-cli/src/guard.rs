//! The guard: a second process that ends what the commands have started when this program is
//! killed.
//!
//! Nothing can be done after a SIGKILL by the process that got it. The system ends the commands
//! themselves (parent-death signal), but not what they have started. The guard waits for the end
//! of a pipe that only this program holds open, and then ends everything with our mark. It sleeps
//! until then, and needs about 3 MB, most of them shared.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;
use outrace::process::{LineageMark, OrphanReaper, OwnedChild};

use crate::failure::Failure;
use crate::flags::values::duration;

/// The byte that tells the guard that this program ends in good order.
const GOOD_ORDER: &[u8] = b".";

/// Ends everything with a mark when standard input ends.
#[derive(Args)]
pub(crate) struct GuardArgs {
    /// The mark
    #[arg(long)]
    mark: String,

    /// The time between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Duration,
}

/// The program `outrace guard`.
pub(crate) fn run(args: &GuardArgs) -> Result<(), Failure> {
    let mut order = Vec::new();
    // An error is an end too.
    let _ = io::stdin().read_to_end(&mut order);
    if order == GOOD_ORDER {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(1, format!("cannot guard: {error}")))?;
    let mark = LineageMark::new(&args.mark);
    // A timer needs the runtime around it.
    runtime.block_on(async { mark.end_all(tokio::time::sleep(args.grace)).await });
    Ok(())
}

/// A guard that runs. Dropping it without [`dismiss`](Self::dismiss) makes it end everything.
pub(crate) struct Guard {
    child: Child,
    _owned: OwnedChild,
}

impl Guard {
    /// Starts a guard over all commands. Fails where the system has no `/proc`.
    pub(crate) fn start(reaper: &OrphanReaper, grace: Duration) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;

        // The program itself, even if its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("outrace")
            .args(["guard", "--mark", LineageMark::of_current().as_str()])
            .args(["--grace", &format!("{}ms", grace.as_millis())])
            // The terminal's signals are not for the guard, and it holds no folder and no output
            // open.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (child, owned) = reaper.own(|| {
            let child = command.spawn()?;
            let pid = child.id();
            Ok((child, pid))
        })?;
        Ok(Self {
            child,
            _owned: owned,
        })
    }

    /// Lets the guard end, after everything else has. Does not wait for it, since it may be
    /// suspended.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut stdin) = self.child.stdin.take() {
            // Fails if the guard was killed.
            let _ = stdin.write_all(GOOD_ORDER);
        }
    }
}
