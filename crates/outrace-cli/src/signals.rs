//! The signals that the program receives.

use std::fs::File;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use outrace::process::Signal;
use rustix::process::Signal as Native;
use signal_hook::consts::{SIGBUS, SIGSEGV};
use signal_hook::low_level::{abort, emulate_default_handler};
use signal_hook_registry::register_signal_unchecked;
use tokio::signal::unix::{self, SignalKind};

use crate::failure::Failure;
use crate::output::Output;

/// How long clients may take, after a second signal, to read the last lines and the status of a
/// killed command.
pub(crate) const SECOND_SIGNAL_GRACE: Duration = Duration::from_secs(1);

/// A second SIGINT within this time is the same Ctrl-C. The terminal sends one to everyone, and
/// wrappers such as npm pass theirs on.
const SAME_INTERRUPT: Duration = Duration::from_millis(300);

/// The further signals that end a program by default. Those that a fault of the program itself
/// raises cannot be received, since the program would run into the fault again.
const ENDING: &[Native] = &[
    Native::ALARM,
    Native::VTALARM,
    Native::PROF,
    Native::XCPU,
    Native::XFSZ,
    Native::ABORT,
    Native::TRAP,
    Native::SYS,
    #[cfg(target_os = "linux")]
    Native::IO,
    #[cfg(target_os = "linux")]
    Native::POWER,
    #[cfg(target_os = "linux")]
    Native::STKFLT,
];

/// The real-time signals that the C library leaves to programs. They end a program by default.
#[cfg(target_os = "linux")]
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
#[cfg(not(target_os = "linux"))]
const REAL_TIME: std::ops::Range<i32> = 0..0;

/// The signals that mean something to a command: reload, dump, reopen the log.
const PASSED: [Signal; 5] = [
    Signal::Hangup,
    Signal::Quit,
    Signal::User1,
    Signal::User2,
    Signal::WindowChange,
];

/// A signal that asks the program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndSignal(i32);

impl EndSignal {
    /// Returns the number of the signal.
    pub(crate) fn number(self) -> i32 {
        self.0
    }

    /// Returns the signal that commands get first. It is SIGTERM for those that commands may not
    /// expect.
    pub(crate) fn first(self) -> Signal {
        [Signal::Interrupt, Signal::Hangup, Signal::Quit]
            .into_iter()
            .find(|signal| signal.number() == self.0)
            .unwrap_or(Signal::Terminate)
    }
}

/// What a signal asks of a program that runs commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// End the commands and the program.
    End(EndSignal),
    /// Pass the signal on to the command.
    Pass(Signal),
    /// Suspend the commands and the program: Ctrl-Z.
    Suspend,
}

/// Receives signals. While it exists they do not end the program by themselves.
///
/// The end of standard output counts as a SIGTERM: with nobody to read, the program has to end.
pub(crate) struct Signals {
    listened: Vec<(i32, unix::Signal)>,
    /// Whether SIGHUP reads tokens and keys again.
    reloads: bool,
    had_terminal: bool,
    /// The time of the SIGINT that began the end, if `merges_interrupts`.
    interrupted: Option<Instant>,
    merges_interrupts: bool,
}

impl Signals {
    /// Begins to listen to SIGINT and SIGTERM. Faults end the program at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let mut signals = Self {
            listened: Vec::new(),
            reloads: false,
            had_terminal: has_terminal(),
            interrupted: None,
            merges_interrupts: false,
        };
        Self::end_at_faults()?;
        signals.add(Native::INT.as_raw())?;
        signals.add(Native::TERM.as_raw())?;
        Ok(signals)
    }

    /// Begins to listen to all signals that end a program by default, so that none leaves commands
    /// behind. A signal that is ignored from the start, as SIGHUP by nohup, stays ignored, except
    /// for SIGQUIT: scripts ignore that for all background jobs.
    pub(crate) fn listen_to_all() -> Result<Self, Failure> {
        let mut signals = Self::listen()?;
        signals.merges_interrupts = true;
        let ignored = ignored_signals();
        let all = PASSED.iter().map(|signal| signal.number());
        let all = all.chain(ENDING.iter().map(|signal| signal.as_raw()));
        for number in all.chain(REAL_TIME) {
            if number == Native::QUIT.as_raw() || !ignored.contains(number) {
                signals.add(number)?;
            }
        }
        Ok(signals)
    }

    /// Lets SIGSEGV and SIGBUS end the program at once, as every other signal of a fault does.
    ///
    /// The standard library watches them for a stack overflow, and lets the first one that is sent
    /// by another process pass. Commands would go on, without the care of this program. A stack
    /// overflow still ends the program, without a message.
    fn end_at_faults() -> Result<(), Failure> {
        for signal in [SIGSEGV, SIGBUS] {
            // SAFETY: the action only calls a function that is safe in a signal handler. It never
            // returns, so the faulty instruction is not run again.
            let registered = unsafe {
                register_signal_unchecked(signal, move || {
                    let _ = emulate_default_handler(signal);
                    abort();
                })
            };
            registered
                .map_err(|error| Failure::new(1, format!("cannot listen for signals: {error}")))?;
        }
        Ok(())
    }

    /// Also receives Ctrl-Z, which else suspends this program alone.
    pub(crate) fn listen_to_suspend(&mut self) -> Result<(), Failure> {
        let number = Native::TSTP.as_raw();
        if !ignored_signals().contains(number) {
            self.add(number)?;
        }
        Ok(())
    }

    /// Sets whether SIGHUP reads tokens and keys again, and so ends the program only when the
    /// terminal is gone.
    pub(crate) fn hangup_reloads(&mut self, reloads: bool) -> Result<(), Failure> {
        let hangup = Native::HUP.as_raw();
        self.reloads = reloads;
        if reloads && !self.listened.iter().any(|(number, _)| *number == hangup) {
            self.add(hangup)?;
        }
        Ok(())
    }

    fn add(&mut self, number: i32) -> Result<(), Failure> {
        let signal = unix::signal(SignalKind::from_raw(number))
            .map_err(|error| Failure::new(1, format!("cannot listen for signals: {error}")))?;
        self.listened.push((number, signal));
        Ok(())
    }

    /// Returns the next signal that asks the program to end. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> EndSignal {
        loop {
            if let Request::End(signal) = self.next_request().await {
                return signal;
            }
        }
    }

    /// Returns the next request. Dropping the future loses none.
    pub(crate) async fn next_request(&mut self) -> Request {
        loop {
            let signaled = poll_fn(|cx| {
                for (number, signal) in &mut self.listened {
                    if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                        return Poll::Ready(*number);
                    }
                }
                Poll::Pending
            });
            let number = tokio::select! {
                // The signal that ends the reader too is the reason.
                biased;
                number = signaled => number,
                // Completes once.
                () = Output::stdout().closed() => Native::TERM.as_raw(),
            };
            if let Some(request) = self.request(number) {
                return request;
            }
        }
    }

    /// Returns a request that has come already.
    pub(crate) async fn pending_request(&mut self) -> Option<Request> {
        tokio::select! {
            biased;
            request = self.next_request() => Some(request),
            () = std::future::ready(()) => None,
        }
    }

    fn request(&mut self, number: i32) -> Option<Request> {
        if number == Native::INT.as_raw() && self.merges_interrupts {
            let now = Instant::now();
            let same = |begun| now.duration_since(begun) < SAME_INTERRUPT;
            if self.interrupted.is_some_and(same) {
                return None;
            }
            self.interrupted = Some(now);
        }
        if number == Native::TSTP.as_raw() {
            return Some(Request::Suspend);
        }
        if number == Native::HUP.as_raw() {
            if self.had_terminal && !has_terminal() {
                return Some(Request::End(EndSignal(number)));
            }
            if self.reloads {
                return None;
            }
        }
        let passed = PASSED.into_iter().find(|signal| signal.number() == number);
        Some(passed.map_or(Request::End(EndSignal(number)), Request::Pass))
    }
}

impl From<Signal> for EndSignal {
    fn from(signal: Signal) -> Self {
        Self(signal.number())
    }
}

/// Returns whether the program has a controlling terminal. The system takes it away before it sends
/// the SIGHUP that tells so.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// A set of signals, as the system writes it in `/proc/self/status`.
struct SignalMask(u64);

impl SignalMask {
    fn contains(&self, number: i32) -> bool {
        (1..=64).contains(&number) && self.0 >> (number - 1) & 1 == 1
    }
}

/// Returns the signals that this program ignores. Without a `/proc` none is known.
fn ignored_signals() -> SignalMask {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    SignalMask(mask.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_counts_signals_from_one() {
        let mask = SignalMask(0b1000_0000_0000_0001);
        let known: Vec<_> = (-1..70).filter(|&number| mask.contains(number)).collect();
        assert_eq!(known, [1, 16]);
    }

    #[test]
    fn commands_get_the_signals_that_they_expect() {
        for (number, first) in [
            (2, Signal::Interrupt),
            (1, Signal::Hangup),
            (14, Signal::Terminate),
        ] {
            assert_eq!(EndSignal(number).first(), first);
        }
    }
}
