//! The expiry of an identity while its client is connected.

use std::time::{Duration, SystemTime};

use super::Identity;

/// The longest sleep before the system clock is read again. The timer follows a monotonic clock,
/// and the system clock may be set meanwhile.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Whether the moment is in the future.
pub(super) fn is_future(moment: SystemTime) -> bool {
    SystemTime::now() < moment
}

/// Completes when the identity expires; never, if it does not expire.
///
/// A change of the system clock takes effect within [`CLOCK_CHECK_INTERVAL`].
///
/// # Cancel safety
/// Dropping the future loses nothing.
pub(crate) async fn expired(identity: Identity) {
    let Some(moment) = identity.expiry() else {
        return std::future::pending().await;
    };
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        // At least 1 ms, the timer's resolution: a shorter sleep would spin.
        tokio::time::sleep(left.clamp(Duration::from_millis(1), CLOCK_CHECK_INTERVAL)).await;
    }
}
