//! The task of the hub's one flush clock: seals what waits at its deadline, all channels on a
//! common tick, and has the registry sweep old history.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::alarm::Alarm;
use super::partial::PartialClock;
use super::registry::Registry;
use super::shared::HubShared;
use super::ticker::Attendance;

/// The bounds of the time between two sweeps.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_millis(250);
const MAX_SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Starts the hub's flush clock in this runtime, unless it runs.
///
/// # Panics
/// Outside a tokio runtime with I/O and time enabled.
pub(crate) fn start_ticker(shared: &HubShared, registry: &Arc<Registry>) {
    if let Some(attendance) = shared.ticker.attend() {
        let interval = shared
            .keeps_history()
            .then(|| (shared.config.history_age / 4).clamp(MIN_SWEEP_INTERVAL, MAX_SWEEP_INTERVAL));
        // Weak: the task does not keep the hub.
        let partials = Arc::clone(&shared.partial_clock);
        tokio::spawn(run(
            attendance,
            partials,
            Arc::downgrade(registry),
            interval,
        ));
    }
}

/// Flushes and shows unfinished lines until the hub has ended, and sweeps once every `interval`.
async fn run(
    ticker: Attendance,
    partials: Arc<PartialClock>,
    registry: Weak<Registry>,
    interval: Option<Duration>,
) {
    let mut alarm = Alarm::new();
    let mut sweep = std::pin::pin!(tokio::time::sleep(interval.unwrap_or_default()));
    loop {
        tokio::select! {
            alive = ticker.wait() => if !alive { return },
            () = partials.run() => {}
            () = &mut sweep, if interval.is_some() => {
                if let Some(registry) = registry.upgrade() {
                    registry.sweep();
                }
                sweep.as_mut().reset(tokio::time::Instant::now() + interval.unwrap_or_default());
                continue;
            }
        }
        // The writers that an earlier tick has woken run first: on one core, a clock that never
        // yields would starve its own readers.
        tokio::task::yield_now().await;
        if let Some(wait) = ticker.until_tick() {
            alarm.sleep(wait).await;
        }
        ticker.flush_due();
    }
}
