//! The check of a broker before a node uses it.

use std::time::Duration;

use tokio::time::timeout;

use super::broker::{Broker, BrokerError, Incoming};
use super::builder::{Cluster, ClusterError};

/// The longest time until the broker has taken the connection and answered.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

impl Cluster {
    /// Connects to the broker once, and returns whether what it keeps outlives its process.
    ///
    /// A node does not need this: it connects by itself, and again and again. A program asks so
    /// that it can tell its user at the start. It takes 1 s at most, and a little more to
    /// disconnect. Must be called within a tokio runtime.
    ///
    /// Where `false` is returned, the homes of channels are forgotten when the broker restarts.
    /// Nodes find new ones then.
    ///
    /// # Errors
    /// Returns [`ClusterError::Broker`] if the broker did not answer in time or cannot be used, and
    /// [`ClusterError::NotDurable`] if it cannot keep messages for
    /// [`ClusterBuilder::durable`](super::ClusterBuilder::durable).
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn check(&self) -> Result<bool, ClusterError> {
        let broker = self.open()?;
        let answer = timeout(CHECK_TIMEOUT, is_persistent(&*broker)).await;
        broker.close().await;
        let is_durable = self.is_durable();
        match answer {
            Ok(Ok(false)) if is_durable => Err(ClusterError::NotDurable(
                "it keeps them in memory only".to_owned(),
            )),
            Ok(Ok(is_persistent)) => Ok(is_persistent),
            Ok(Err(BrokerError::Unsupported(lack))) if is_durable => {
                Err(ClusterError::NotDurable(lack))
            }
            Ok(Err(error)) => Err(ClusterError::Broker(error.to_string())),
            Err(_) => Err(ClusterError::Broker(
                "it did not answer within 1 s".to_owned(),
            )),
        }
    }
}

/// Waits for the connection, and asks.
async fn is_persistent(broker: &dyn Broker) -> Result<bool, BrokerError> {
    while !matches!(broker.next().await, Incoming::Connected { .. }) {}
    broker.is_persistent().await
}
