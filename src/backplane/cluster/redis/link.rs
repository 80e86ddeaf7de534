//! The two connections to Redis, which come back by themselves, with their subscriptions.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::names::Names;
use super::{as_read, error_of};
use crate::backplane::cluster::broker::{BrokerError, BrokerSettings, Topic};
use crate::backplane::cluster::inbox::Inbox;
use crate::redis_client::{self, PING_INTERVAL};
use crate::sync::lock;

/// The pause before each attempt to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How many channels are subscribed to in one command after the connection came back.
const CHANNELS_AT_ONCE: usize = 256;

/// The connection of a node, shared by its calls and the task that keeps it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) names: Names,
    pub(super) inbox: Arc<Inbox>,
    wanted: Arc<Wanted>,
    current: Mutex<Current>,
}

/// The topics that are subscribed to, by their Redis channels.
type Wanted = Mutex<HashMap<String, Topic>>;

#[derive(Debug, Default)]
struct Current {
    connections: Option<Connections>,
    is_closed: bool,
}

/// Commands have a connection of their own, so that no flood of messages delays an answer.
#[derive(Clone)]
struct Connections {
    commands: MultiplexedConnection,
    messages: MultiplexedConnection,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(settings: &BrokerSettings) -> Self {
        Self {
            names: Names::new(settings.prefix.clone()),
            inbox: Arc::new(Inbox::new(settings.inbox)),
            wanted: Arc::default(),
            current: Mutex::default(),
        }
    }

    /// Returns the connection for commands, if there is one.
    pub(super) fn commands(&self) -> Result<MultiplexedConnection, BrokerError> {
        self.connections().map(|connections| connections.commands)
    }

    fn connections(&self) -> Result<Connections, BrokerError> {
        let connections = lock(&self.current).connections.clone();
        connections.ok_or(BrokerError::Unreachable)
    }

    pub(super) async fn subscribe(&self, topic: &Topic) -> Result<(), BrokerError> {
        if lock(&self.current).is_closed {
            return Err(BrokerError::Unreachable);
        }
        let channel = self.names.channel(topic);
        lock(&self.wanted).insert(channel.clone(), topic.clone());
        let mut messages = self.connections()?.messages;
        let subscribed = messages.subscribe(channel.as_str()).await;
        let error = match subscribed.map_err(|error| as_read(error_of(&error))) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if matches!(error, BrokerError::Refused(_)) {
            lock(&self.wanted).remove(&channel);
        }
        Err(error)
    }

    pub(super) async fn unsubscribe(&self, topic: &Topic) -> Result<(), BrokerError> {
        let channel = self.names.channel(topic);
        lock(&self.wanted).remove(&channel);
        let mut messages = self.connections()?.messages;
        let unsubscribed = messages.unsubscribe(channel.as_str()).await;
        unsubscribed.map_err(|error| as_read(error_of(&error)))
    }

    /// Keeps the connections. Never ends.
    pub(super) async fn run(&self, client: &Client) {
        let address = client.get_connection_info().addr().to_string();
        let mut is_told = false;
        loop {
            let lost = Arc::new(Notify::new());
            match self.connect(client, &lost).await {
                Ok(connections) => {
                    tracing::info!("connected to Redis at {address}");
                    is_told = true;
                    self.inbox.connected();
                    let error = keep(connections, &lost).await;
                    lock(&self.current).connections = None;
                    self.inbox.disconnected();
                    tracing::warn!("lost the connection to Redis at {address}: {error}");
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!("cannot connect to Redis at {address}: {error}; trying again");
                }
                Err(error) => tracing::debug!("cannot connect to Redis at {address}: {error}"),
            }
            lock(&self.current).connections = None;
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }

    /// Connects, and subscribes to everything that is wanted.
    async fn connect(&self, client: &Client, lost: &Arc<Notify>) -> RedisResult<Connections> {
        let on_push = |is_messages: bool| {
            let (lost, inbox) = (Arc::clone(lost), Arc::clone(&self.inbox));
            let wanted = Arc::clone(&self.wanted);
            move |push: PushInfo| {
                match push.kind {
                    // The inbox is the bound. The crate's own channel has none.
                    PushKind::Message if is_messages => receive(push.data, &wanted, &inbox),
                    PushKind::Disconnection => lost.notify_one(),
                    _ => {}
                }
                Ok::<(), Infallible>(())
            }
        };
        let config = redis_client::config().set_push_sender(on_push(false));
        let commands = client.get_multiplexed_async_connection_with_config(&config);
        let commands = commands.await?;
        let config = redis_client::config().set_push_sender(on_push(true));
        let messages = client.get_multiplexed_async_connection_with_config(&config);
        let messages = messages.await?;
        let mut connections = Connections { commands, messages };
        lock(&self.current).connections = Some(connections.clone());
        // A call that adds a topic now finds the connection, and subscribes it itself.
        let channels: Vec<String> = lock(&self.wanted).keys().cloned().collect();
        for channels in channels.chunks(CHANNELS_AT_ONCE) {
            connections.messages.subscribe(channels).await?;
        }
        ping(&mut connections).await?;
        Ok(connections)
    }

    /// Waits until what was sent before is answered. The link's task has to be gone.
    pub(super) async fn close(&self) {
        let connections = {
            let mut current = lock(&self.current);
            current.is_closed = true;
            current.connections.take()
        };
        lock(&self.wanted).clear();
        if let Some(mut connections) = connections {
            let _ = ping(&mut connections).await;
        }
        self.inbox.disconnected();
    }
}

/// Asks for signs of life until one of the connections is lost. Returns the reason.
async fn keep(mut connections: Connections, lost: &Notify) -> RedisError {
    let mut interval = tokio::time::interval(PING_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let alive = async {
            interval.tick().await;
            ping(&mut connections).await
        };
        let alive = tokio::select! {
            // Biased, so that a loss is noticed before more is sent into it.
            biased;
            () = lost.notified() => Err((ErrorKind::Io, "the connection was closed").into()),
            alive = alive => alive,
        };
        if let Err(error) = alive {
            return error;
        }
    }
}

async fn ping(connections: &mut Connections) -> RedisResult<()> {
    let ping = redis::cmd("PING");
    let Connections { commands, messages } = connections;
    tokio::try_join!(ping.exec_async(commands), ping.exec_async(messages))?;
    Ok(())
}

/// Takes a message that Redis pushed: the channel and the payload.
fn receive(data: Vec<Value>, wanted: &Wanted, inbox: &Inbox) {
    let mut data = data.into_iter();
    if let (Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
        (data.next(), data.next())
        && let Ok(channel) = str::from_utf8(&channel)
    {
        let topic = lock(wanted).get(channel).cloned();
        // None after it was unsubscribed.
        if let Some(topic) = topic {
            inbox.push(topic, Bytes::from(payload));
        }
    }
}
