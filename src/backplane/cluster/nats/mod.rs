//! NATS with JetStream as the broker of a cluster (feature `nats`).
//!
//! Messages go over plain subjects. Records and stored blocks are in streams with file storage,
//! which the first call that needs one creates, with one replica. A stream that an operator made
//! with more keeps them. Nothing here asks for a server newer than 2.9.
//!
//! A user of NATS needs the rights to publish to `PREFIX.1.>`, `$KV.PREFIX_sessions.>`,
//! `$KV.PREFIX_homes.>` and `$JS.API.>`, and to subscribe to `PREFIX.1.>` and `_INBOX.PREFIX.>`.

mod address;
mod jetstream;
mod link;
mod names;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

pub(crate) use address::{NatsAddress, NatsAddressError};
use async_nats::PublishErrorKind;
use jetstream::{Kept, Put};
use link::Link;
use names::Store;

use super::broker::{
    Appended, Broker, BrokerCounters, BrokerError, BrokerSettings, CALL_TIMEOUT, Call, Created,
    Incoming, Key, Replaced, Topic,
};
use super::names::Token;
use crate::backplane::cluster::owned_task::OwnedTask;

/// How often a record is created anew that ended while it was read.
const MAX_ATTEMPTS: usize = 3;

/// How often a message is sent that no stream took.
const MAX_PUTS: usize = 50;
const STREAM_PAUSE: Duration = Duration::from_millis(20);

/// A connection to NATS. It ends with this.
#[derive(Debug)]
pub(crate) struct Nats {
    link: Arc<Link>,
    settings: BrokerSettings,
    task: OwnedTask,
}

impl Nats {
    /// Begins to connect. Runs on the runtime that it is called in.
    pub(crate) fn open(address: NatsAddress, settings: BrokerSettings) -> Self {
        let link = Arc::new(Link::new(&settings));
        let task = {
            let (link, settings) = (Arc::clone(&link), settings.clone());
            OwnedTask::spawn(async move { link.run(&address, &settings).await })
        };
        Self {
            link,
            settings,
            task,
        }
    }

    async fn publish_to(&self, subject: String, payload: Bytes) -> Result<(), BrokerError> {
        let client = self.link.client()?;
        match timeout(CALL_TIMEOUT, client.publish(subject, payload)).await {
            Err(_) => Err(BrokerError::Unknown),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == PublishErrorKind::Send => {
                Err(BrokerError::Unreachable)
            }
            Ok(Err(error)) => Err(BrokerError::Refused(error.to_string())),
        }
    }

    /// Publishes to a stream under a condition. Creates the stream if there is none.
    async fn put(
        &self,
        store: Store,
        subject: String,
        payload: Bytes,
        expected: u64,
    ) -> Result<Put, BrokerError> {
        let client = self.link.client()?;
        for attempt in 0..MAX_PUTS {
            let put = jetstream::put(&client, subject.clone(), payload.clone(), expected).await?;
            if put != Put::NoStream {
                return Ok(put);
            }
            if attempt == 0 {
                jetstream::ensure(&client, &self.link.names, store, &self.settings).await?;
            } else {
                // NATS 2.9 says that there is a stream while another node is still creating it.
                tokio::time::sleep(STREAM_PAUSE).await;
            }
        }
        Ok(Put::NoStream)
    }

    async fn last(&self, store: Store, subject: &str) -> Result<Option<Kept>, BrokerError> {
        let client = self.link.client()?;
        jetstream::last(&client, &self.link.names.stream(store), subject).await
    }

    async fn create_record(&self, key: &Key, value: Bytes) -> Result<Created, BrokerError> {
        let (store, subject) = self.link.names.record(key);
        for _ in 0..MAX_ATTEMPTS {
            match self.put(store, subject.clone(), value.clone(), 0).await? {
                Put::Stored(revision) => return Ok(Created::Yes(revision)),
                Put::Conflict => {}
                Put::NoStream => return Err(no_stream()),
            }
            if let Some(Kept { sequence, payload }) = self.last(store, &subject).await? {
                return Ok(Created::No {
                    value: payload,
                    revision: sequence,
                });
            }
        }
        Err(BrokerError::Refused("the record comes and goes".to_owned()))
    }

    async fn replace_record(
        &self,
        key: &Key,
        value: Bytes,
        revision: u64,
    ) -> Result<Replaced, BrokerError> {
        let (store, subject) = self.link.names.record(key);
        // 0 would create it.
        if revision == 0 {
            return Ok(Replaced::No);
        }
        match self.put(store, subject, value, revision).await? {
            Put::Stored(revision) => Ok(Replaced::Yes(revision)),
            Put::Conflict => Ok(Replaced::No),
            Put::NoStream => Err(no_stream()),
        }
    }

    async fn remove_record(&self, key: &Key, revision: u64) -> Result<(), BrokerError> {
        let (store, subject) = self.link.names.record(key);
        // The sequence is deleted whatever its subject is, so it has to be this record's.
        let last = self.last(store, &subject).await?;
        if last.is_none_or(|kept| kept.sequence != revision) {
            return Ok(());
        }
        let client = self.link.client()?;
        jetstream::delete(&client, &self.link.names.stream(store), revision).await
    }

    async fn append_block(
        &self,
        token: &Token,
        payload: Bytes,
        expected: u64,
    ) -> Result<Appended, BrokerError> {
        self.check_storing()?;
        self.link.ensure_blocks(&self.settings).await?;
        let subject = self.link.names.stored(token);
        let put = self
            .put(Store::Blocks, subject.clone(), payload, expected)
            .await;
        if !matches!(put, Ok(Put::Stored(_) | Put::Conflict)) {
            self.link.doubt_blocks();
        }
        match put? {
            Put::Stored(position) => Ok(Appended::Stored(position)),
            Put::Conflict => {
                let last = self.last(Store::Blocks, &subject).await?;
                Ok(Appended::Conflict(last.map_or(0, |kept| kept.sequence)))
            }
            Put::NoStream => Err(no_stream()),
        }
    }

    async fn stored_blocks(
        &self,
        token: &Token,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Bytes)>, BrokerError> {
        self.check_storing()?;
        let client = self.link.client()?;
        let names = &self.link.names;
        let (stream, subject) = (names.stream(Store::Blocks), names.stored(token));
        let end = Instant::now() + CALL_TIMEOUT / 2;
        let (mut blocks, mut bytes, mut next) = (Vec::new(), 0, from);
        while bytes < max_bytes && Instant::now() < end {
            match jetstream::first_from(&client, &stream, &subject, next).await {
                Ok(Some(Kept { sequence, payload })) => {
                    bytes += payload.len();
                    next = sequence + 1;
                    blocks.push((sequence, payload));
                }
                Ok(None) => break,
                Err(_) if !blocks.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(blocks)
    }

    fn check_storing(&self) -> Result<(), BrokerError> {
        match self.settings.storing {
            Some(_) => Ok(()),
            None => Err(BrokerError::Unsupported(
                "the connection was not opened for storing blocks".to_owned(),
            )),
        }
    }

    /// Creates the streams that are missing. Returns whether all are stored in files.
    async fn ensure_streams(&self) -> Result<bool, BrokerError> {
        let client = self.link.client()?;
        let blocks = self.settings.storing.map(|_| Store::Blocks);
        let mut is_file = true;
        for store in [Store::Sessions, Store::Homes].into_iter().chain(blocks) {
            is_file &= jetstream::ensure(&client, &self.link.names, store, &self.settings).await?;
        }
        Ok(is_file)
    }
}

fn no_stream() -> BrokerError {
    BrokerError::Refused("no stream of JetStream keeps it".to_owned())
}

/// Bounds a call that reads, which may consist of several requests.
async fn reading<T>(call: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    let answer = timeout(CALL_TIMEOUT, call).await;
    answer
        .unwrap_or(Err(BrokerError::TimedOut))
        .map_err(jetstream::as_read)
}

/// Bounds a call that changes something.
async fn changing<T>(call: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    let answer = timeout(CALL_TIMEOUT, call).await;
    answer.unwrap_or(Err(BrokerError::Unknown))
}

impl Broker for Nats {
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        payload: Bytes,
    ) -> Call<'a, Result<(), BrokerError>> {
        Box::pin(self.publish_to(self.link.names.subject(topic), payload))
    }

    fn subscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>> {
        Box::pin(reading(self.link.subscribe(topic)))
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>> {
        self.link.unsubscribe(topic);
        Box::pin(std::future::ready(Ok(())))
    }

    fn next(&self) -> Call<'_, Incoming> {
        Box::pin(self.link.inbox.next())
    }

    fn create<'a>(&'a self, key: &'a Key, value: Bytes) -> Call<'a, Result<Created, BrokerError>> {
        Box::pin(changing(self.create_record(key, value)))
    }

    fn replace<'a>(
        &'a self,
        key: &'a Key,
        value: Bytes,
        revision: u64,
    ) -> Call<'a, Result<Replaced, BrokerError>> {
        Box::pin(changing(self.replace_record(key, value, revision)))
    }

    fn read<'a>(&'a self, key: &'a Key) -> Call<'a, Result<Option<(Bytes, u64)>, BrokerError>> {
        Box::pin(reading(async move {
            let (store, subject) = self.link.names.record(key);
            let last = self.last(store, &subject).await?;
            Ok(last.map(|kept| (kept.payload, kept.sequence)))
        }))
    }

    fn remove<'a>(&'a self, key: &'a Key, revision: u64) -> Call<'a, Result<(), BrokerError>> {
        Box::pin(changing(self.remove_record(key, revision)))
    }

    fn append<'a>(
        &'a self,
        token: &'a Token,
        payload: Bytes,
        expected: u64,
    ) -> Call<'a, Result<Appended, BrokerError>> {
        Box::pin(changing(self.append_block(token, payload, expected)))
    }

    fn last_stored<'a>(
        &'a self,
        token: &'a Token,
    ) -> Call<'a, Result<Option<(u64, Bytes)>, BrokerError>> {
        Box::pin(reading(async move {
            self.check_storing()?;
            let subject = self.link.names.stored(token);
            let last = self.last(Store::Blocks, &subject).await?;
            Ok(last.map(|kept| (kept.sequence, kept.payload)))
        }))
    }

    fn stored<'a>(
        &'a self,
        token: &'a Token,
        from: u64,
        max_bytes: usize,
    ) -> Call<'a, Result<Vec<(u64, Bytes)>, BrokerError>> {
        Box::pin(reading(self.stored_blocks(token, from, max_bytes)))
    }

    fn is_persistent(&self) -> Call<'_, Result<bool, BrokerError>> {
        Box::pin(reading(self.ensure_streams()))
    }

    fn counters(&self) -> BrokerCounters {
        self.link.inbox.counters()
    }

    fn close(&self) -> Call<'_, ()> {
        Box::pin(async move {
            self.task.end();
            let _ = timeout(CALL_TIMEOUT, self.link.close()).await;
        })
    }
}
