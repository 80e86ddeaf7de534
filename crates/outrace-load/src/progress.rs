//! Shows how a run goes, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    bar: ProgressBar,
    last: Mutex<(Instant, u64)>,
    shown: Mutex<String>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Progress {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::default_spinner());
        bar.set_draw_target(if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        });
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress {
            bar,
            last: Mutex::new((Instant::now(), 0)),
            shown: Mutex::new(String::new()),
        }
    }

    /// What runs now, as `engine, round 2 of 3`.
    pub(crate) fn round(&self, what: String) {
        self.bar.set_message(what.clone());
        if let Ok(mut shown) = self.shown.lock() {
            *shown = what;
        }
        if let Ok(mut last) = self.last.lock() {
            *last = (Instant::now(), 0);
        }
    }

    pub(crate) fn joining(&self, joined: u64) {
        self.say(|| format!("{joined} clients have joined"));
    }

    pub(crate) fn running(&self, received: u64, skipped: u64, published: u64) {
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        let elapsed = last.0.elapsed().as_secs_f64();
        let rate = received.saturating_sub(last.1) as f64 / elapsed.max(1e-3);
        *last = (Instant::now(), received);
        let share = 100.0 * skipped as f64 / (received + skipped).max(1) as f64;
        let fed = if published > 0 {
            format!("{published} lines fed, ")
        } else {
            String::new()
        };
        self.say(|| format!("{fed}{received} delivered ({rate:.0}/s), {share:.1} % skipped"));
    }

    /// Says what goes on, in the caller's words.
    pub(crate) fn tell(&self, what: String) {
        self.say(|| what);
    }

    /// Prints without tearing what is shown.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.bar.is_hidden() {
            return;
        }
        if let Ok(shown) = self.shown.lock() {
            self.bar.set_message(format!("{shown}: {}", what()));
        }
    }
}
