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
    expired_by(identity, SystemTime::now).await;
}

/// As [`expired`], with the wall clock as an argument.
async fn expired_by(identity: Identity, now: impl Fn() -> SystemTime) {
    let Some(moment) = identity.expiry() else {
        return std::future::pending().await;
    };
    while let Ok(left) = moment.duration_since(now()) {
        // Whole milliseconds, and never none: the timer is no finer.
        tokio::time::sleep(left.clamp(Duration::from_millis(1), LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn an_identity_expires_at_its_moment() {
        let (start, begun) = (SystemTime::now(), Instant::now());
        let identity = Identity::new("guest").expires_at(start + HOUR);
        expired_by(identity, || start + begun.elapsed()).await;
        let late = begun.elapsed() - HOUR;
        assert!(late <= Duration::from_millis(1), "{late:?} late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_within_half_a_minute() {
        let (start, begun) = (SystemTime::now(), Instant::now());
        let set = Cell::new(Duration::ZERO);
        let identity = Identity::new("guest").expires_at(start + HOUR);
        let expired = expired_by(identity, || start + begun.elapsed() + set.get());
        let setting = async {
            tokio::time::sleep(HOUR / 2).await;
            set.set(HOUR);
        };
        tokio::join!(expired, setting);
        let noticed = begun.elapsed() - HOUR / 2;
        assert!(noticed <= Duration::from_secs(30), "{noticed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_identity_without_an_end_never_expires() {
        let expired = expired(Identity::new("guest"));
        assert!(tokio::time::timeout(1000 * HOUR, expired).await.is_err());
    }
}
