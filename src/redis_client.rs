//! What all connections to Redis have in common.

use std::time::Duration;

use redis::{AsyncConnectionConfig, IntoConnectionInfo, ProtocolVersion, RedisResult};

/// The longest wait for a connection, and for an answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The time between two signs of life that Redis is asked for.
pub(crate) const PING_INTERVAL: Duration = Duration::from_millis(500);

/// Makes the client of a URL, which speaks RESP3.
///
/// # Errors
/// The crate's description of a fault does not name the URL, which may hold a password.
pub(crate) fn client(url: &str) -> RedisResult<redis::Client> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone();
    let info = info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
    redis::Client::open(info)
}

/// Returns the settings of a connection: every call ends within [`ANSWER_TIMEOUT`].
pub(crate) fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT))
}
