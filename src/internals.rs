//! What this package's own benches and fuzz targets reach into. Not part of the interface: anything here may change or go at any
//! time.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Hub;
use crate::access::PeerInfo;
use crate::channel::{Client, ClientKind, Subscription};
use crate::connection;
use crate::outbox::{Limits, Offered, Outbox, Parcel, Used};
use crate::protocol::Command;
use crate::reason::CloseReason;

pub use crate::encode::{
    BatchBuilder, Encoding, Envelope, EventsBuilder, Frames, FramesBuilder, TextBuilder, Timestamp,
    escape_into, single,
};
pub use crate::protocol::{
    Command as ClientCommand, Ignored, InvalidOptions, Range, Since, SubscribeOptions, parse,
};

/// Subscribers without sockets: their queues are emptied by whoever holds them.
#[derive(Debug)]
pub struct Audience {
    hub: Hub,
    members: Vec<Arc<Subscription>>,
}

impl Audience {
    /// So many clients, each subscribed to these channels. To be called within a tokio runtime, where the hub's flush clock will run.
    ///
    /// # Panics
    /// If the hub refuses one of the channels.
    pub fn join(hub: &Hub, channels: &[&str], clients: usize) -> Self {
        Self::join_with(hub, channels, clients, None)
    }

    /// As [`Audience::join`], with options for each subscription.
    ///
    /// # Panics
    /// As [`Audience::join`].
    pub fn join_with(
        hub: &Hub,
        channels: &[&str],
        clients: usize,
        options: Option<SubscribeOptions>,
    ) -> Self {
        let inner = hub.engine();
        let members = (0..clients)
            .map(|_| {
                let client = inner.make_client(PeerInfo::default(), ClientKind::WebSocket);
                let membership = inner.register(&client);
                for channel in channels {
                    let _ = inner.command(
                        &client,
                        Command::Subscribe {
                            channel,
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

    /// Takes all that waits for each of them, as a writer whose socket takes everything; answers how many messages and bytes that were.
    pub fn drain(&self) -> (u64, u64) {
        let mut total = (0, 0);
        for member in &self.members {
            let outbox = &member.client.outbox;
            let mut taken = Used::default();
            let mut parcels = VecDeque::new();
            outbox.take(&mut parcels);
            for parcel in parcels {
                let weight = parcel.weight();
                taken.messages += weight.messages;
                taken.bytes += weight.bytes;
            }
            outbox.release(taken);
            if member.client.take_owed() {
                self.hub.engine().resume(&member.client);
            }
            total.0 += taken.messages as u64;
            total.1 += taken.bytes as u64;
        }
        total
    }

    /// Messages they were spared.
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

/// One client without a socket, whose messages and writes happen when they are told to.
#[derive(Debug)]
pub struct Peer {
    hub: Hub,
    membership: Arc<Subscription>,
    /// Taken from the outbox, and still on the client's account.
    in_flight: VecDeque<Parcel>,
}

impl Peer {
    /// Connects. To be called within a tokio runtime.
    pub fn connect(hub: &Hub) -> Self {
        let client = hub
            .engine()
            .make_client(PeerInfo::default(), ClientKind::WebSocket);
        Self {
            hub: hub.clone(),
            membership: hub.engine().register(&client),
            in_flight: VecDeque::new(),
        }
    }

    /// The hub's side of it.
    pub fn client(&self) -> &Arc<Client> {
        &self.membership.client
    }

    /// Does what it asks for.
    pub fn command(&self, command: Command<'_>) {
        self.hub.engine().command(self.client(), command);
    }

    /// Writes so many parcels as a socket that then takes no more: the frames of each, together. Once nothing waits the client is given what it is owed,
    /// as far as there is room.
    pub fn write(&mut self, parcels: usize) -> Vec<Bytes> {
        let client = Arc::clone(self.client());
        client.outbox.take(&mut self.in_flight);
        let written: Vec<_> = self
            .in_flight
            .drain(..parcels.min(self.in_flight.len()))
            .collect();
        for parcel in &written {
            let weight = parcel.weight();
            client.outbox.release(weight);
            client.count_written(weight.messages as u64);
            self.hub
                .engine()
                .totals()
                .count_write(weight.messages as u64, weight.bytes as u64);
        }
        if self.in_flight.is_empty() && client.take_owed() {
            self.hub.engine().resume(&client);
        }
        written.into_iter().map(|parcel| parcel.bytes).collect()
    }

    /// Why the hub wants the connection to end, if it does.
    pub fn close_asked(&self) -> Option<CloseReason> {
        self.client().outbox.close_asked()
    }

    /// Ends the connection, with all that waits.
    pub fn disconnect(self, reason: CloseReason) {
        self.hub.engine().unregister(&self.membership, reason);
    }
}

/// One client's queue by itself: what offering it a block and taking everything costs.
#[derive(Debug)]
pub struct Queue(Outbox);

impl Queue {
    /// A queue of so many messages and bytes.
    pub fn new(messages: usize, bytes: usize) -> Self {
        Self(Outbox::new(Limits { messages, bytes }))
    }

    /// Offers a whole block; answers how many of its frames were accepted.
    pub fn offer(&self, frames: &Frames) -> usize {
        match self.0.offer(frames, 0..frames.len()) {
            Offered::Accepted { frames, .. } => frames,
            Offered::Closed => 0,
        }
    }

    /// Takes everything; answers how many messages that were.
    pub fn drain(&self) -> usize {
        let mut parcels = VecDeque::new();
        self.0.take(&mut parcels);
        let mut taken = Used::default();
        for parcel in &parcels {
            let weight = parcel.weight();
            taken.messages += weight.messages;
            taken.bytes += weight.bytes;
        }
        self.0.release(taken);
        taken.messages
    }
}

/// Serves one client over any stream, its handshake done, to the end of the connection. To be called within a tokio runtime with I/O and time.
pub async fn converse(hub: &Hub, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let inner = hub.engine();
    let client = inner.make_client(PeerInfo::default(), ClientKind::WebSocket);
    connection::run(
        Arc::clone(inner),
        client,
        connection::Socket::from_stream(stream),
    )
    .await;
}

/// Seals and fans out all that waits, as the flush clock would at its next tick.
pub fn flush(hub: &Hub) {
    hub.engine().flush();
}
