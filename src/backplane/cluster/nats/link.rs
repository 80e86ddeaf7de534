//! The connection to NATS, which comes back by itself, with its subscriptions.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::address::NatsAddress;
use super::jetstream;
use super::names::{Names, Store};
use crate::backplane::cluster::broker::{BrokerError, BrokerSettings, CALL_TIMEOUT, Topic};
use crate::backplane::cluster::inbox::Inbox;
use crate::backplane::cluster::owned_task::OwnedTask;
use crate::sync::lock;

/// The pause before each attempt to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// How often the client is asked for its state: its events are lost when there are many.
const STATE_INTERVAL: Duration = Duration::from_millis(100);

/// The time between two signs of life that the server is asked for. The client's own pings wait
/// behind what it cannot send.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// A connection is lost when this many are missing: a server that stops for 5 s keeps it.
const MAX_UNANSWERED: usize = 3;

/// The connection of a node, shared by its calls and the task that keeps it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) names: Names,
    pub(super) inbox: Arc<Inbox>,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    current: Option<Connection>,
    /// Counts the connections, so that a call that began with one does not change the next.
    generation: u64,
    wanted: HashSet<Topic>,
    /// The topics that the current connection is subscribed to, with the tasks that move their
    /// messages to the inbox.
    pumps: HashMap<Topic, OwnedTask>,
    /// The connection that found the stream of the blocks, or 0.
    has_blocks_since: u64,
    is_closed: bool,
}

#[derive(Debug, Clone)]
struct Connection {
    generation: u64,
    client: Client,
}

impl Link {
    pub(super) fn new(settings: &BrokerSettings) -> Self {
        Self {
            names: Names::new(settings.prefix.clone()),
            inbox: Arc::new(Inbox::new(settings.inbox)),
            shared: Mutex::default(),
        }
    }

    /// Returns the client, if it is connected.
    pub(super) fn client(&self) -> Result<Client, BrokerError> {
        self.connection().map(|connection| connection.client)
    }

    /// Creates the stream of the blocks if this connection has not done so.
    ///
    /// An append cannot tell that there is no stream: the subscribers of its subject take the
    /// place of one, and the answer never comes.
    pub(super) async fn ensure_blocks(&self, settings: &BrokerSettings) -> Result<(), BrokerError> {
        let Connection { generation, client } = self.connection()?;
        if lock(&self.shared).has_blocks_since == generation {
            return Ok(());
        }
        jetstream::ensure(&client, &self.names, Store::Blocks, settings).await?;
        lock(&self.shared).has_blocks_since = generation;
        Ok(())
    }

    /// Makes the next append look for the stream of the blocks again.
    pub(super) fn doubt_blocks(&self) {
        lock(&self.shared).has_blocks_since = 0;
    }

    fn connection(&self) -> Result<Connection, BrokerError> {
        let connection = lock(&self.shared).current.clone();
        connection
            .filter(|connection| connection.client.connection_state() == State::Connected)
            .ok_or(BrokerError::Unreachable)
    }

    pub(super) async fn subscribe(&self, topic: &Topic) -> Result<(), BrokerError> {
        {
            let mut shared = lock(&self.shared);
            if shared.is_closed {
                return Err(BrokerError::Unreachable);
            }
            shared.wanted.insert(topic.clone());
        }
        let connection = self.connection()?;
        self.subscribe_on(&connection, topic).await?;
        jetstream::sync(&connection.client, &self.names).await
    }

    /// Subscribes a connection to a topic, unless it is already.
    async fn subscribe_on(
        &self,
        connection: &Connection,
        topic: &Topic,
    ) -> Result<(), BrokerError> {
        if lock(&self.shared).pumps.contains_key(topic) {
            return Ok(());
        }
        let subject = self.names.subscribed(topic);
        let subscriber = timeout(CALL_TIMEOUT, connection.client.subscribe(subject)).await;
        let subscriber = subscriber
            .map_err(|_| BrokerError::TimedOut)?
            .map_err(|_| BrokerError::Unreachable)?;
        let mut shared = lock(&self.shared);
        let shared = &mut *shared;
        // Another call may have been faster, or the topic is no longer wanted: the subscriber
        // that is dropped here ends its subscription.
        if shared.generation == connection.generation
            && shared.wanted.contains(topic)
            && !shared.pumps.contains_key(topic)
        {
            let pump = pump(subscriber, topic.clone(), Arc::clone(&self.inbox));
            shared.pumps.insert(topic.clone(), OwnedTask::spawn(pump));
        }
        Ok(())
    }

    pub(super) fn unsubscribe(&self, topic: &Topic) {
        let mut shared = lock(&self.shared);
        shared.wanted.remove(topic);
        shared.pumps.remove(topic);
    }

    /// Keeps the connection. Never ends.
    pub(super) async fn run(&self, address: &NatsAddress, settings: &BrokerSettings) {
        let servers = address.shown();
        let mut is_told = false;
        loop {
            let lost = Arc::new(Notify::new());
            match self.connect(address, settings, &lost).await {
                Ok(client) => {
                    tracing::info!("connected to NATS at {servers}");
                    is_told = true;
                    self.inbox.connected();
                    wait_for_loss(&client, &self.names, &lost).await;
                    self.forget();
                    self.inbox.disconnected();
                    tracing::warn!("lost the connection to NATS at {servers}");
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!("cannot connect to NATS at {servers}: {error}; trying again");
                }
                Err(error) => tracing::debug!("cannot connect to NATS at {servers}: {error}"),
            }
            self.forget();
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }

    /// Connects, and subscribes to everything that is wanted.
    async fn connect(
        &self,
        address: &NatsAddress,
        settings: &BrokerSettings,
        lost: &Arc<Notify>,
    ) -> Result<Client, String> {
        let on_event = {
            let (lost, inbox) = (Arc::clone(lost), Arc::clone(&self.inbox));
            move |event: Event| {
                match event {
                    Event::Disconnected | Event::Closed => lost.notify_one(),
                    // Nearly always blocks: nothing else comes as fast.
                    Event::SlowConsumer(_) => inbox.count_dropped(true),
                    Event::ServerError(error) => tracing::warn!("NATS: {error}"),
                    _ => {}
                }
                // The client waits for the callback, so that it must not wait itself.
                std::future::ready(())
            }
        };
        let client = address.connect(settings, on_event).await?;
        let connection = {
            let mut shared = lock(&self.shared);
            shared.generation += 1;
            let connection = Connection {
                generation: shared.generation,
                client,
            };
            shared.current = Some(connection.clone());
            connection
        };
        // A call that adds a topic now finds the connection, and subscribes it itself.
        let wanted: Vec<Topic> = lock(&self.shared).wanted.iter().cloned().collect();
        for topic in wanted {
            let subscribed = self.subscribe_on(&connection, &topic).await;
            subscribed.map_err(|error| error.to_string())?;
        }
        let answered = jetstream::sync(&connection.client, &self.names).await;
        answered.map_err(|error| error.to_string())?;
        Ok(connection.client)
    }

    fn forget(&self) {
        let mut shared = lock(&self.shared);
        shared.generation += 1;
        shared.pumps.clear();
        shared.current = None;
    }

    /// Ends the subscriptions and sends what waits. The link's task has to be gone.
    pub(super) async fn close(&self) {
        let current = {
            let mut shared = lock(&self.shared);
            shared.is_closed = true;
            shared.wanted.clear();
            shared.pumps.clear();
            shared.current.take()
        };
        if let Some(connection) = current
            && connection.client.connection_state() == State::Connected
        {
            // An answer comes after everything that was sent before.
            let _ = jetstream::sync(&connection.client, &self.names).await;
        }
        self.inbox.disconnected();
    }
}

async fn pump(mut subscriber: Subscriber, topic: Topic, inbox: Arc<Inbox>) {
    while let Some(message) = subscriber.next().await {
        inbox.push(topic.clone(), message.payload);
    }
}

/// Waits until the connection is lost, or has not answered for long.
async fn wait_for_loss(client: &Client, names: &Names, lost: &Notify) {
    let connection_id = client.server_info().client_id;
    let is_same = || {
        client.connection_state() == State::Connected
            && client.server_info().client_id == connection_id
    };
    let told = async {
        while is_same() {
            if timeout(STATE_INTERVAL, lost.notified()).await.is_ok() {
                return;
            }
        }
    };
    let silent = async {
        let mut unanswered = 0;
        while unanswered < MAX_UNANSWERED {
            let asked = Instant::now();
            match timeout(CALL_TIMEOUT, jetstream::sync(client, names)).await {
                Ok(Ok(())) => unanswered = 0,
                _ => unanswered += 1,
            }
            tokio::time::sleep_until(asked + PROBE_INTERVAL).await;
        }
    };
    tokio::select! {
        () = told => {}
        () = silent => {}
    }
}
