//! What this package's own benches and fuzz targets reach into. Not part of the interface: anything here may change or go at any
//! time.

use std::sync::Arc;

use crate::Hub;
use crate::channel::Subscription;
use crate::outbox::Used;
use crate::protocol::Command;
use crate::reason::CloseReason;

pub use crate::encode::{
    BatchBuilder, Encoding, Envelope, EventsBuilder, Frames, FramesBuilder, TextBuilder, Timestamp,
    escape_into, single,
};
pub use crate::protocol::{Command as ClientCommand, Ignored, InvalidOptions, Options, Range, Since, parse};

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
        let inner = hub.inner();
        let members = (0..clients)
            .map(|_| {
                let client = inner.make_client(None);
                let membership = inner.welcome(&client);
                for channel in channels {
                    inner.command(&client, Command::Subscribe { channel, options: Ok(None) });
                }
                assert_eq!(client.subscriptions().len(), channels.len(), "a channel was refused");
                membership
            })
            .collect();
        Self { hub: hub.clone(), members }
    }

    /// Takes all that waits for each of them, as a writer whose socket takes everything; answers how many messages and bytes that were.
    pub fn drain(&self) -> (u64, u64) {
        let mut total = (0, 0);
        for member in &self.members {
            let outbox = &member.client.outbox;
            let mut taken = Used::default();
            while let Some(parcel) = outbox.pop() {
                let weight = parcel.weight();
                taken.messages += weight.messages;
                taken.bytes += weight.bytes;
            }
            outbox.release(taken);
            total.0 += taken.messages as u64;
            total.1 += taken.bytes as u64;
        }
        total
    }

    /// Messages they were spared.
    pub fn skipped(&self) -> u64 {
        self.members.iter().map(|member| member.client.skipped()).sum()
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        for member in &self.members {
            self.hub.inner().farewell(member, CloseReason::PeerGone);
        }
    }
}

/// Seals and fans out all that waits, as the flush clock would at its next tick.
pub fn flush(hub: &Hub) {
    hub.inner().flush();
}
