//! Access to private parts for this package's own benches and fuzz targets. Not part of the
//! interface: anything here may change or go at any time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Hub;
use crate::access::PeerInfo;
use crate::channel::{Client, ClientKind, Subscription};
use crate::connection;
use crate::outbox::{Offered, Outbox, OutboxReader, QueueLimits, Used};
use crate::protocol::Command;
use crate::reason::CloseReason;

#[cfg(any(feature = "nats", feature = "redis"))]
pub use crate::backplane::cluster::recoded::{ClusterPayload, cluster_envelope, recode_records};
pub use crate::encode::{
    BatchBuilder, DetailBuilder, Encoding, Envelope, EventsBuilder, Frames, FramesBuilder,
    LineDetail, TextBuilder, Timestamp, escape_into, escaped_prefix, single,
};
pub use crate::protocol::{
    Command as ClientCommand, Ignored, InvalidOptions, Range, Since, SubscribeOptions, parse,
};

/// Subscribers without sockets, whose queues the holder empties.
#[derive(Debug)]
pub struct Audience {
    hub: Hub,
    members: Vec<Arc<Subscription>>,
}

impl Audience {
    /// Connects this many clients and subscribes each to these channels. To be called within a
    /// tokio runtime, in which the hub's flush clock then runs.
    ///
    /// # Panics
    /// If the hub refuses one of the channels.
    pub fn join(hub: &Hub, channels: &[&str], clients: usize) -> Self {
        Self::join_with(hub, channels, clients, None)
    }

    /// Does the same as [`Audience::join`], with options for each subscription.
    ///
    /// # Panics
    /// If the hub refuses one of the channels.
    pub fn join_with(
        hub: &Hub,
        channels: &[&str],
        clients: usize,
        options: Option<SubscribeOptions>,
    ) -> Self {
        let engine = hub.engine();
        let members = (0..clients)
            .map(|_| {
                let client = engine.make_client(PeerInfo::default(), ClientKind::WebSocket);
                let membership = engine.register(&client);
                for channel in channels {
                    let _ = engine.command(
                        &client,
                        Command::Subscribe {
                            channel: (*channel).into(),
                            options: Ok(options.clone()),
                        },
                    );
                }
                assert_eq!(
                    client.subscriptions().len(),
                    channels.len(),
                    "a channel was refused"
                );
                membership
            })
            .collect();
        Self {
            hub: hub.clone(),
            members,
        }
    }

    /// Takes all that waits for each client, as a writer whose socket takes everything. Returns the
    /// number of messages and bytes.
    pub fn drain(&self) -> (u64, u64) {
        let mut total = Used::default();
        // One reader for all drains, empty between them: a connection keeps its reader for life.
        let mut reader = OutboxReader::default();
        for member in &self.members {
            let outbox = &member.client.outbox;
            let taken = take_all(&mut reader, outbox);
            reader.release(outbox, taken);
            total += taken;
            if reader.drained(outbox).pending {
                self.hub.engine().resume(&member.client);
            }
        }
        (total.messages as u64, total.bytes as u64)
    }

    /// Returns the number of messages that were skipped for the clients.
    pub fn skipped(&self) -> u64 {
        self.members
            .iter()
            .map(|member| member.client.skipped())
            .sum()
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        for member in &self.members {
            self.hub.engine().unregister(member, CloseReason::PeerGone);
        }
    }
}

/// One client without a socket, whose commands and writes happen when the caller says so.
#[derive(Debug)]
pub struct Peer {
    hub: Hub,
    membership: Arc<Subscription>,
    reader: OutboxReader,
}

impl Peer {
    /// Connects a client. To be called within a tokio runtime.
    pub fn connect(hub: &Hub) -> Self {
        let client = hub
            .engine()
            .make_client(PeerInfo::default(), ClientKind::WebSocket);
        Self {
            hub: hub.clone(),
            membership: hub.engine().register(&client),
            reader: OutboxReader::default(),
        }
    }

    /// Returns the hub's side of the client.
    pub fn client(&self) -> &Arc<Client> {
        &self.membership.client
    }

    /// Carries out a command of the client.
    pub fn command(&self, command: Command<'_>) {
        self.hub.engine().command(self.client(), command);
    }

    /// Writes this many parcels, as a socket that then takes no more, and returns the frames of
    /// each. Once nothing waits, the client is given what is pending for it, as far as there is
    /// room.
    pub fn write(&mut self, parcels: usize) -> Vec<Bytes> {
        let client = Arc::clone(self.client());
        self.reader.take(&client.outbox);
        let mut written = Vec::new();
        while written.len() < parcels
            && let Some(parcel) = self.reader.pop()
        {
            let weight = parcel.weight();
            self.reader.release(&client.outbox, weight);
            self.hub
                .engine()
                .shared()
                .recorder
                .written(weight.messages, weight.bytes);
            written.push(parcel.bytes);
        }
        if self.reader.is_empty() && self.reader.drained(&client.outbox).pending {
            self.hub.engine().resume(&client);
        }
        written
    }

    /// Returns the reason why the hub wants the connection to end, if it does.
    pub fn close_asked(&self) -> Option<CloseReason> {
        self.client().outbox.close_asked()
    }

    /// Ends the connection, with all that waits.
    pub fn disconnect(self, reason: CloseReason) {
        self.hub.engine().unregister(&self.membership, reason);
    }
}

/// One client's queue by itself, to measure the cost of offering it a block and taking everything.
#[derive(Debug)]
pub struct Queue(Outbox);

impl Queue {
    /// Makes a queue with these bounds.
    pub fn new(messages: usize, bytes: usize) -> Self {
        Self(Outbox::new(QueueLimits { messages, bytes }))
    }

    /// Offers a whole block. Returns how many of its frames were accepted.
    pub fn offer(&self, frames: &Frames) -> usize {
        match self.0.offer(frames, 0..frames.len()) {
            Offered::Accepted { frames, .. } => frames,
            Offered::Closed => 0,
        }
    }

    /// Takes everything. Returns the number of messages.
    pub fn drain(&self) -> usize {
        let mut reader = OutboxReader::default();
        let taken = take_all(&mut reader, &self.0);
        reader.release(&self.0, taken);
        taken.messages
    }
}

/// Takes everything that waits, and returns its weight.
fn take_all(reader: &mut OutboxReader, outbox: &Outbox) -> Used {
    reader.take(outbox);
    let mut taken = Used::default();
    while let Some(parcel) = reader.pop() {
        taken += parcel.weight();
    }
    taken
}

/// Serves one client over any stream, after its handshake, to the end of the connection. To be
/// called within a tokio runtime with I/O and time.
pub async fn converse(hub: &Hub, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let engine = hub.engine();
    let client = engine.make_client(PeerInfo::default(), ClientKind::WebSocket);
    connection::run(
        Arc::clone(engine),
        client,
        connection::Socket::from_stream(stream),
    )
    .await;
}

/// Seals and fans out all that waits, as the flush clock does at its next tick.
pub fn flush(hub: &Hub) {
    hub.engine().flush();
}
