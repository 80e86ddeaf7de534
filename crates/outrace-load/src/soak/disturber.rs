//! Peers beside the clients that account for lines.
//!
//! Each kind is a thread that repeats one action. It counts what it did, and notes a fault if the
//! response is not the required one.

use super::action_log::ActionLog;
use super::actions::{ActionError, DisturberContext};
use super::error::SoakError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Performs one action. The number counts the actions of this kind.
pub(super) type Action = fn(&DisturberContext, u64, &mut ActionLog) -> Result<(), ActionError>;

/// The running disturbers. They end when this is dropped.
#[derive(Default)]
pub(super) struct Disturbers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<ActionLog>>,
}

impl Disturbers {
    /// Starts a thread that repeats `action` and pauses in between.
    pub(super) fn start(
        &mut self,
        name: &'static str,
        context: &Arc<DisturberContext>,
        pause: Duration,
        action: Action,
    ) -> Result<(), SoakError> {
        let (stop, context) = (Arc::clone(&self.stop), Arc::clone(context));
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let mut log = ActionLog::default();
            for turn in 0.. {
                // Relaxed: the flag only says when to end. The join of the thread passes the log.
                if stop.load(Relaxed) {
                    break;
                }
                if let Err(why) = action(&context, turn, &mut log) {
                    log.fault(format!("{name}: {why}"));
                }
                std::thread::sleep(pause);
            }
            log
        });
        self.threads
            .push(thread.map_err(|error| SoakError::Start { name, error })?);
        Ok(())
    }

    /// Ends all disturbers. Returns what they did.
    pub(super) fn end(&mut self) -> ActionLog {
        self.stop.store(true, Relaxed);
        let mut log = ActionLog::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(done) => log.merge(done),
                Err(_) => log.fault("a disturber panicked".to_owned()),
            }
        }
        log
    }
}

impl Drop for Disturbers {
    fn drop(&mut self) {
        self.end();
    }
}
