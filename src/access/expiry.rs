//! The end of an identity's validity, in the middle of a connection.

use std::time::{Duration, SystemTime};

use super::Identity;

/// How often the clock on the wall is looked at again: it may be set, and a timer follows another one.
const LOOK: Duration = Duration::from_secs(30);

/// Whether the moment has yet to come.
pub(super) fn is_ahead(moment: SystemTime) -> bool {
    SystemTime::now() < moment
}

/// Ready when an identity is not valid any more; never, for one that always is. A clock that is set meanwhile is noticed within half a minute.
///
/// # Cancel safety
/// Dropping it loses nothing.
pub(crate) async fn expired(identity: Identity) {
    let Some(moment) = identity.expiry() else {
        return std::future::pending().await;
    };
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        // Whole milliseconds, and never none: the timer is no finer.
        tokio::time::sleep(left.clamp(Duration::from_millis(1), LOOK)).await;
    }
}
