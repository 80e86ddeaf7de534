//! The signals that ask the program to end.

use std::time::Duration;

use outrace::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::failure::Failure;
use crate::output::Output;

/// How long clients may take, after a second signal, to read the last lines and the status of a
/// killed command.
pub(crate) const SECOND_SIGNAL_GRACE: Duration = Duration::from_secs(1);

/// Receives SIGINT and SIGTERM. While it exists they do not end the program by themselves.
///
/// The end of standard output counts as a SIGTERM: with nobody to read, the program has to end.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            unix::signal(kind)
                .map_err(|error| Failure::new(1, format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Returns the next signal. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            // Completes once.
            () = Output::stdout().closed() => Signal::Terminate,
        }
    }
}
