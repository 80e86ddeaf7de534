//! Shows the progress of a run on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A line on standard error that shows the progress. It is hidden if that is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    state: Mutex<ProgressState>,
}

struct ProgressState {
    /// The current round, as in `engine, round 2 of 3`.
    title: String,
    /// The time and the count of the previous delivery report.
    last: (Instant, u64),
}

impl Progress {
    pub(crate) fn new(show: bool) -> Progress {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_draw_target(if show {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress {
            bar,
            state: Mutex::new(ProgressState {
                title: String::new(),
                last: (Instant::now(), 0),
            }),
        }
    }

    /// Shows the title of the round that begins.
    pub(crate) fn begin_round(&self, title: String) {
        self.bar.set_message(title.clone());
        *self.state() = ProgressState {
            title,
            last: (Instant::now(), 0),
        };
    }

    pub(crate) fn show_joined(&self, joined: u64) {
        self.show(|| format!("{joined} clients have joined"));
    }

    pub(crate) fn show_deliveries(&self, received: u64, skipped: u64, published: u64) {
        let (since, before) = std::mem::replace(&mut self.state().last, (Instant::now(), received));
        let seconds = since.elapsed().as_secs_f64();
        let rate = received.saturating_sub(before) as f64 / seconds.max(1e-3);
        let skipped_percent = 100.0 * skipped as f64 / (received + skipped).max(1) as f64;
        let fed = if published > 0 {
            format!("{published} lines fed, ")
        } else {
            String::new()
        };
        self.show(|| {
            format!("{fed}{received} delivered ({rate:.0} lines/s), {skipped_percent:.1} % skipped")
        });
    }

    /// Shows a text behind the title of the round.
    pub(crate) fn show_text(&self, text: String) {
        self.show(|| text);
    }

    /// Calls `print` while nothing is shown, so that its output does not mix with the progress.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    fn show(&self, text: impl FnOnce() -> String) {
        if self.bar.is_hidden() {
            return;
        }
        let message = format!("{}: {}", self.state().title, text());
        self.bar.set_message(message);
    }

    fn state(&self) -> MutexGuard<'_, ProgressState> {
        // The state is valid after any panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
