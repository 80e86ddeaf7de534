//! Redis as the broker of a cluster (feature `redis`), from version 6.2 on.
//!
//! Messages are published. Records are keys that scripts change, and stored blocks are streams.

mod link;
mod names;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ScriptInvocation};
use tokio::time::timeout;

use link::Link;
use scripts::Scripts;

use super::broker::{
    Appended, Broker, BrokerCounters, BrokerError, BrokerSettings, CALL_TIMEOUT, Call, Created,
    Incoming, Key, Replaced, Topic,
};
use super::names::Token;
use crate::backplane::cluster::owned_task::OwnedTask;
use crate::redis_client;

/// How many stored blocks are read at once, of 256 KiB at most each.
const BLOCKS_AT_ONCE: usize = 8;

/// A connection to Redis. It ends with this.
#[derive(Debug)]
pub(crate) struct RedisBroker {
    link: Arc<Link>,
    scripts: Scripts,
    settings: BrokerSettings,
    task: OwnedTask,
}

/// The error for a URL of Redis that cannot be used. It does not name a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable Redis URL: {0}")]
pub(crate) struct RedisUrlError(String);

impl RedisBroker {
    /// Checks a URL without connecting.
    ///
    /// # Errors
    /// Returns an error if the URL cannot be used.
    pub(crate) fn check(url: &str) -> Result<(), RedisUrlError> {
        let client = redis_client::client(url);
        client.map_err(|error| RedisUrlError(error.to_string()))?;
        Ok(())
    }

    /// Begins to connect. Runs on the runtime that it is called in. The URL is as that of the
    /// bridge: `redis://[USER:PASSWORD@]HOST[:PORT]`, `rediss://…` for TLS, or `unix:///PATH`.
    ///
    /// # Errors
    /// Returns an error if the URL cannot be used.
    pub(crate) fn open(url: &str, settings: BrokerSettings) -> Result<Self, RedisUrlError> {
        let client = redis_client::client(url);
        let client = client.map_err(|error| RedisUrlError(error.to_string()))?;
        let link = Arc::new(Link::new(&settings));
        let task = {
            let link = Arc::clone(&link);
            OwnedTask::spawn(async move { link.run(&client).await })
        };
        Ok(Self {
            link,
            scripts: Scripts::new(),
            settings,
            task,
        })
    }

    /// Runs a script that changes something. Returns whether it did, and what it returned with it.
    async fn run(&self, script: &ScriptInvocation<'_>) -> Result<(bool, Bytes), BrokerError> {
        let mut commands = self.link.commands()?;
        // It may take three answers, of which each has the limit.
        let answer = timeout(CALL_TIMEOUT, script.invoke_async(&mut commands)).await;
        let answer: Vec<Vec<u8>> = answer
            .map_err(|_| BrokerError::Unknown)?
            .map_err(|error| error_of(&error))?;
        let mut answer = answer.into_iter();
        let is_done = answer.next().is_some_and(|word| word == b"yes");
        Ok((is_done, answer.next().unwrap_or_default().into()))
    }

    /// Runs a command that changes nothing.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, BrokerError> {
        let mut commands: MultiplexedConnection = self.link.commands()?;
        let answer = timeout(CALL_TIMEOUT, command.query_async(&mut commands)).await;
        let answer = answer.map_err(|_| BrokerError::TimedOut)?;
        answer.map_err(|error| as_read(error_of(&error)))
    }

    async fn publish_to(&self, channel: String, payload: Bytes) -> Result<(), BrokerError> {
        let mut commands = self.link.commands()?;
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(&payload[..]);
        let sent = timeout(CALL_TIMEOUT, command.exec_async(&mut commands)).await;
        sent.map_err(|_| BrokerError::Unknown)?
            .map_err(|error| error_of(&error))
    }

    async fn create_record(&self, key: &Key, value: Bytes) -> Result<Created, BrokerError> {
        let mut script = self.scripts.create.prepare_invoke();
        script.key(self.link.names.record(key));
        script.key(self.link.names.revision());
        script.arg(&value[..]).arg(self.ttl_ms(key));
        let (is_done, answer) = self.run(&script).await?;
        if is_done {
            return Ok(Created::Yes(number(&answer).ok_or(BrokerError::Unknown)?));
        }
        let (value, revision) = record(&answer)?;
        Ok(Created::No { value, revision })
    }

    async fn replace_record(
        &self,
        key: &Key,
        value: Bytes,
        revision: u64,
    ) -> Result<Replaced, BrokerError> {
        let mut script = self.scripts.replace.prepare_invoke();
        script.key(self.link.names.record(key));
        script.key(self.link.names.revision());
        script.arg(&value[..]).arg(self.ttl_ms(key)).arg(revision);
        let (is_done, answer) = self.run(&script).await?;
        if !is_done {
            return Ok(Replaced::No);
        }
        Ok(Replaced::Yes(number(&answer).ok_or(BrokerError::Unknown)?))
    }

    async fn remove_record(&self, key: &Key, revision: u64) -> Result<(), BrokerError> {
        let mut script = self.scripts.remove.prepare_invoke();
        script.key(self.link.names.record(key));
        script.key(self.link.names.revision());
        script.arg(revision);
        self.run(&script).await.map(drop)
    }

    async fn append_block(
        &self,
        token: &Token,
        payload: Bytes,
        expected: u64,
    ) -> Result<Appended, BrokerError> {
        let storing = self.settings.storing.ok_or_else(not_storing)?;
        let mut script = self.scripts.append.prepare_invoke();
        script.key(self.link.names.stored(token));
        script.arg(expected).arg(&payload[..]);
        script.arg(self.link.names.blocks(token));
        script.arg(storing.max_age.map_or(0, millis));
        let (is_done, answer) = self.run(&script).await?;
        let position = number(&answer).ok_or(BrokerError::Unknown)?;
        if is_done {
            Ok(Appended::Stored(position))
        } else {
            Ok(Appended::Conflict(position))
        }
    }

    async fn stored_blocks(
        &self,
        token: &Token,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Bytes)>, BrokerError> {
        self.settings.storing.ok_or_else(not_storing)?;
        let (mut blocks, mut bytes, mut next) = (Vec::new(), 0, from);
        while bytes < max_bytes {
            let mut command = redis::cmd("XRANGE");
            command.arg(self.link.names.stored(token));
            command.arg(format!("{next}-0")).arg("+");
            command.arg("COUNT").arg(BLOCKS_AT_ONCE);
            let entries: Vec<Entry> = self.ask(&command).await?;
            let is_last = entries.len() < BLOCKS_AT_ONCE;
            for entry in entries {
                let (position, payload) = block(entry)?;
                if bytes < max_bytes {
                    bytes += payload.len();
                    next = position + 1;
                    blocks.push((position, payload));
                }
            }
            if is_last {
                break;
            }
        }
        Ok(blocks)
    }

    async fn last_block(&self, token: &Token) -> Result<Option<(u64, Bytes)>, BrokerError> {
        self.settings.storing.ok_or_else(not_storing)?;
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.link.names.stored(token));
        command.arg("+").arg("-").arg("COUNT").arg(1);
        let entries: Vec<Entry> = self.ask(&command).await?;
        entries.into_iter().next().map(block).transpose()
    }

    async fn has_aof(&self) -> Result<bool, BrokerError> {
        let info: String = self.ask(redis::cmd("INFO").arg("server")).await?;
        if let Some(version) = field(&info, "redis_version")
            && is_too_old(version)
        {
            let text = format!("a cluster needs Redis 6.2 or newer, and this one is {version}");
            return Err(BrokerError::Unsupported(text));
        }
        let info: String = self.ask(redis::cmd("INFO").arg("persistence")).await?;
        Ok(field(&info, "aof_enabled") == Some("1"))
    }

    /// Returns how long a record lives in milliseconds, 0 for ever.
    fn ttl_ms(&self, key: &Key) -> u64 {
        match key {
            Key::Session(_) => millis(self.settings.session_ttl),
            Key::Home(_) => 0,
        }
    }
}

/// An entry of a stream: its id, and the names and values of its fields.
type Entry = (String, Vec<Vec<u8>>);

fn block((id, fields): Entry) -> Result<(u64, Bytes), BrokerError> {
    let position = id.split_once('-').and_then(|(first, _)| first.parse().ok());
    match (position, fields.into_iter().nth(1)) {
        (Some(position), Some(payload)) => Ok((position, payload.into())),
        _ => Err(malformed()),
    }
}

/// Splits the text of a record into its value and its revision.
fn record(text: &Bytes) -> Result<(Bytes, u64), BrokerError> {
    let colon = memchr::memchr(b':', text).ok_or_else(malformed)?;
    let revision = number(&text[..colon]).ok_or_else(malformed)?;
    Ok((text.slice(colon + 1..), revision))
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Never 0, which is for ever.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, 1 << 50)
}

fn malformed() -> BrokerError {
    BrokerError::Refused("a record that was not written by a cluster".to_owned())
}

fn not_storing() -> BrokerError {
    BrokerError::Unsupported("the connection was not opened for storing blocks".to_owned())
}

/// Returns a field of the answer to `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(value).map(str::trim)
}

fn is_too_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    version < (6, 2)
}

/// Returns what an error says of a call that changes something.
fn error_of(error: &RedisError) -> BrokerError {
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => {
            BrokerError::Refused(error.to_string())
        }
        // No answer, or one that cannot be read.
        _ => BrokerError::Unknown,
    }
}

/// Returns what it says of a call that changes nothing.
fn as_read(error: BrokerError) -> BrokerError {
    match error {
        BrokerError::Unknown => BrokerError::TimedOut,
        other => other,
    }
}

impl Broker for RedisBroker {
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        payload: Bytes,
    ) -> Call<'a, Result<(), BrokerError>> {
        Box::pin(self.publish_to(self.link.names.channel(topic), payload))
    }

    fn subscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>> {
        Box::pin(self.link.subscribe(topic))
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> Call<'a, Result<(), BrokerError>> {
        Box::pin(self.link.unsubscribe(topic))
    }

    fn next(&self) -> Call<'_, Incoming> {
        Box::pin(self.link.inbox.next())
    }

    fn create<'a>(&'a self, key: &'a Key, value: Bytes) -> Call<'a, Result<Created, BrokerError>> {
        Box::pin(self.create_record(key, value))
    }

    fn replace<'a>(
        &'a self,
        key: &'a Key,
        value: Bytes,
        revision: u64,
    ) -> Call<'a, Result<Replaced, BrokerError>> {
        Box::pin(self.replace_record(key, value, revision))
    }

    fn read<'a>(&'a self, key: &'a Key) -> Call<'a, Result<Option<(Bytes, u64)>, BrokerError>> {
        Box::pin(async move {
            let mut command = redis::cmd("GET");
            command.arg(self.link.names.record(key));
            let found: Option<Vec<u8>> = self.ask(&command).await?;
            found.map(|text| record(&text.into())).transpose()
        })
    }

    fn remove<'a>(&'a self, key: &'a Key, revision: u64) -> Call<'a, Result<(), BrokerError>> {
        Box::pin(self.remove_record(key, revision))
    }

    fn append<'a>(
        &'a self,
        token: &'a Token,
        payload: Bytes,
        expected: u64,
    ) -> Call<'a, Result<Appended, BrokerError>> {
        Box::pin(self.append_block(token, payload, expected))
    }

    fn last_stored<'a>(
        &'a self,
        token: &'a Token,
    ) -> Call<'a, Result<Option<(u64, Bytes)>, BrokerError>> {
        Box::pin(self.last_block(token))
    }

    fn stored<'a>(
        &'a self,
        token: &'a Token,
        from: u64,
        max_bytes: usize,
    ) -> Call<'a, Result<Vec<(u64, Bytes)>, BrokerError>> {
        Box::pin(async move {
            let blocks = timeout(CALL_TIMEOUT, self.stored_blocks(token, from, max_bytes)).await;
            blocks.unwrap_or(Err(BrokerError::TimedOut))
        })
    }

    fn is_persistent(&self) -> Call<'_, Result<bool, BrokerError>> {
        Box::pin(self.has_aof())
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
