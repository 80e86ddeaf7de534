//! The connection to Redis, which comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::names::Names;
use super::outgoing::{Batch, Outgoing};
use super::{Port, RedisBridgeError};
use crate::bounded_queue::BoundedQueue;
use crate::bridge::BridgeDrop;
use crate::redis_client::{self, PING_INTERVAL};

/// The most bytes that wait to be imported.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// What a payload takes beside its bytes.
const PAYLOAD_OVERHEAD: usize = 64;
/// The pause before the first attempt to connect again. Each further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A message from Redis: the Redis channel and the payload.
pub(super) type Received = (Vec<u8>, Vec<u8>);

/// Makes the client of a URL.
pub(super) fn client(url: &str) -> Result<redis::Client, RedisBridgeError> {
    redis_client::client(url).map_err(|error| RedisBridgeError::Url(error.to_string()))
}

/// The connection, and the queues on both sides of it.
pub(super) struct Link {
    client: redis::Client,
    patterns: [String; 2],
    /// How the payloads begin that this node sends.
    own_head: Arc<[u8]>,
    incoming: Arc<BoundedQueue<Received>>,
}

impl Link {
    pub(super) fn new(client: redis::Client, names: &Names, own_head: &[u8]) -> Self {
        Self {
            client,
            own_head: own_head.into(),
            patterns: names.patterns().clone(),
            incoming: Arc::new(BoundedQueue::new(MAX_WAITING_BYTES)),
        }
    }

    /// Waits for the next message from Redis.
    pub(super) async fn received(&self) -> Received {
        self.incoming.next().await
    }

    /// Keeps the connection, and sends what waits. Never ends.
    pub(super) async fn run(&self, mut outgoing: Outgoing<'_>, port: &Port) {
        let address = self.client.get_connection_info().addr().to_string();
        let mut pause = MIN_PAUSE;
        let mut was_connected = false;
        let mut is_told = false;
        loop {
            let begun = Instant::now();
            match self.connect(port).await {
                Ok((connection, lost)) => {
                    if was_connected {
                        port.count_reconnect();
                    }
                    if is_told {
                        tracing::warn!("connected to Redis at {address}");
                    }
                    (was_connected, is_told) = (true, true);
                    port.set_connected(true);
                    let error = Self::keep(connection, &lost, &mut outgoing, port).await;
                    port.set_connected(false);
                    tracing::warn!("lost the connection to Redis at {address}: {error}");
                    if begun.elapsed() > MAX_PAUSE {
                        pause = MIN_PAUSE;
                    }
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!("cannot connect to Redis at {address}: {error}; trying again");
                }
                Err(error) => tracing::debug!("cannot connect to Redis at {address}: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Connects and subscribes.
    async fn connect(&self, port: &Port) -> RedisResult<(MultiplexedConnection, Arc<Notify>)> {
        let lost = Arc::new(Notify::new());
        let receiver = {
            let (lost, port) = (Arc::clone(&lost), port.clone());
            let (incoming, own_head) = (Arc::clone(&self.incoming), Arc::clone(&self.own_head));
            move |push: PushInfo| {
                match push.kind {
                    PushKind::PMessage => receive(push.data, &own_head, &incoming, &port),
                    PushKind::Disconnection => lost.notify_one(),
                    _ => {}
                }
                Ok::<(), std::convert::Infallible>(())
            }
        };
        let config = redis_client::config().set_push_sender(receiver);
        let client = &self.client;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        connection.psubscribe(&self.patterns[..]).await?;
        Ok((connection, lost))
    }

    /// Sends what waits until the connection is lost. Returns the reason.
    async fn keep(
        mut connection: MultiplexedConnection,
        lost: &Notify,
        outgoing: &mut Outgoing<'_>,
        port: &Port,
    ) -> RedisError {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let batch = tokio::select! {
                // Biased, so that a loss is noticed before more is sent into it.
                biased;
                () = lost.notified() => {
                    return (ErrorKind::Io, "the connection was closed").into();
                }
                _ = ping.tick() => None,
                batch = outgoing.batch(port) => Some(batch),
            };
            let sent = match batch {
                Some(batch) => Self::send(&mut connection, batch, port).await,
                None => redis::cmd("PING").exec_async(&mut connection).await,
            };
            if let Err(error) = sent {
                return error;
            }
        }
    }

    /// Sends a batch, and waits for the answer.
    async fn send(
        connection: &mut MultiplexedConnection,
        batch: Batch,
        port: &Port,
    ) -> RedisResult<()> {
        let mut commands = redis::pipe();
        for (redis_channel, body) in &batch.payloads {
            let command = commands.cmd("PUBLISH");
            command.arg(&**redis_channel).arg(body).ignore();
        }
        let sent = commands.exec_async(connection).await;
        let messages = batch.payloads.len() as u64;
        match &sent {
            Ok(()) => port.count_exported(messages),
            Err(_) => port.count_dropped(BridgeDrop::ConnectionLost, messages),
        }
        sent
    }
}

/// Takes a message that Redis pushed: the pattern, the Redis channel and the payload.
fn receive(data: Vec<Value>, own_head: &[u8], incoming: &BoundedQueue<Received>, port: &Port) {
    let mut data = data.into_iter().skip(1);
    let (Some(Value::BulkString(name)), Some(Value::BulkString(payload))) =
        (data.next(), data.next())
    else {
        return port.count_dropped(BridgeDrop::Malformed, 1);
    };
    // Both before it takes room: Redis sends a node its own messages too.
    if payload.starts_with(own_head) {
        return;
    }
    if payload.len() > super::MAX_PAYLOAD {
        return port.count_dropped(BridgeDrop::TooLong, 1);
    }
    let bytes = name.len() + payload.len() + PAYLOAD_OVERHEAD;
    incoming.push((name, payload), bytes, |_| {
        port.count_dropped(BridgeDrop::ImportQueueFull, 1);
    });
}
