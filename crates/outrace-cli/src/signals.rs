//! The signals that ask the binary to end.

use std::io;

use outrace::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::failure::Failure;

/// From here on SIGINT and SIGTERM are taken note of and do not end the binary by themselves.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| -> io::Result<_> { unix::signal(kind) };
        let failed = |error| Failure::new(1, format!("cannot listen for signals: {error}"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt()).map_err(failed)?,
            terminate: listen(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// The next of them. Nothing is lost by dropping the future.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}
