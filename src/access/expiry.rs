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
    expired_by(identity, SystemTime::now).await;
}

/// Does the same as [`expired`], with the system clock as an argument.
async fn expired_by(identity: Identity, now: impl Fn() -> SystemTime) {
    let Some(moment) = identity.expiry() else {
        return std::future::pending().await;
    };
    while let Ok(left) = moment.duration_since(now()) {
        // At least 1 ms, the timer's resolution: a shorter sleep would spin.
        tokio::time::sleep(left.clamp(Duration::from_millis(1), CLOCK_CHECK_INTERVAL)).await;
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
