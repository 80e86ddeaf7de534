//! Publishes to a server over the network.
//!
//! | file | job |
//! |---|---|
//! | `mod` | [`Publisher`]: what the application calls |
//! | `builder` | [`PublisherBuilder`]: the settings |
//! | `account` | what became of each message |
//! | `action` | the JSON of a message |
//! | `task` | sends what waits, again and again until the server has it |
//! | `exchange` | one request and its response |

mod account;
mod action;
mod builder;
mod exchange;
mod task;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::message::{ChannelName, Message, MessageType, NameError, Status};

pub use account::PublishStats;
pub use builder::PublisherBuilder;

use account::Account;
use action::Outgoing;

/// The reason why a message was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The channel's name is not valid.
    #[error(transparent)]
    InvalidChannel(#[from] NameError),
    /// The value does not serialize to JSON.
    #[error("the value does not serialize to JSON")]
    Json(#[from] serde_json::Error),
    /// The messages that wait leave no room for this one.
    #[error("the messages that wait leave no room for another")]
    Full,
    /// The message is larger than the whole [room](PublisherBuilder::queue_bytes).
    #[error("the message has {bytes} bytes, and the queue has room for {limit}")]
    TooLarge {
        /// The size of the message in bytes.
        bytes: usize,
        /// The size of the queue in bytes.
        limit: usize,
    },
    /// The publisher has ended: it was closed, or the server does not accept its credentials.
    #[error("the publisher has ended: {reason}")]
    Ended {
        /// The reason.
        reason: String,
    },
}

/// Publishes to the channels of a server over HTTP. It connects by itself, and again after a break.
///
/// Messages wait in a queue that is bounded in bytes. A task sends them in the order in which they
/// were accepted, many in one request. Clones share the queue and the task.
///
/// ```no_run
/// use outrace::client::Publisher;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let publisher = Publisher::connect("wss://logs.example/ws").token("secret").build()?;
/// // Waits for room while the server is away or slow.
/// publisher.send_line("process:web", "listening on :3000").await?;
/// publisher.send_json("deploys", "deploy", &serde_json::json!({"revision": 7})).await?;
/// let stats = publisher.close().await;
/// assert_eq!(stats.accepted, stats.published + stats.lost());
/// # Ok(())
/// # }
/// ```
///
/// # Backpressure
/// The `send` methods wait while the queue is full, and it is full while the server is away. The
/// `try_send` methods return [`PublishError::Full`] instead.
///
/// # Delivery
/// A message is sent until the server has answered that it is published, and no message is
/// published twice. Hence a message whose request was on its way when the connection broke is not
/// sent again: it may have been published, and is counted as [`unknown`](PublishStats::unknown). A
/// message that the server refuses is counted as [`rejected`](PublishStats::rejected). At rest,
/// `accepted` is `published + rejected + unknown + discarded`.
///
/// # Ending
/// [`close`](Self::close) waits until everything is sent. When the last clone is dropped, the task
/// goes on for up to 5 s to send what waits, and then ends. It also ends when the server answers
/// 401: its credentials will not do the next time either.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::UnboundedSender<Outgoing>,
    account: Arc<Account>,
    /// The server's address without its query.
    url: Arc<str>,
    /// Dropped with the last handle, which the task waits for.
    #[allow(dead_code, reason = "held, not read")]
    alive: Arc<oneshot::Sender<Infallible>>,
}

impl Publisher {
    /// Publishes a message, after waiting for room.
    ///
    /// # Errors
    /// If the channel's name is not valid, the message is larger than the queue, or the publisher
    /// has ended.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready drops the message, which then does not count.
    pub async fn send(&self, channel: &str, message: &Message) -> Result<(), PublishError> {
        let action = action::of(&ChannelName::parse(channel)?, message)?;
        let room = self.account.take_room(action.len()).await?;
        self.push(Outgoing { action, room })
    }

    /// Publishes a message if there is room for it now.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and [`PublishError::Full`] if there is no room, which is
    /// counted as [`refused`](PublishStats::refused).
    pub fn try_send(&self, channel: &str, message: &Message) -> Result<(), PublishError> {
        let action = action::of(&ChannelName::parse(channel)?, message)?;
        let room = self.account.try_take_room(action.len())?;
        self.push(Outgoing { action, room })
    }

    /// Publishes a line without its terminator, after waiting for room. Invalid UTF-8 becomes
    /// U+FFFD.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As for [`send`](Self::send).
    pub async fn send_line(
        &self,
        channel: &str,
        line: impl AsRef<[u8]>,
    ) -> Result<(), PublishError> {
        self.send(channel, &Message::output(line.as_ref().to_vec()))
            .await
    }

    /// Publishes a line if there is room for it now.
    ///
    /// # Errors
    /// As for [`try_send`](Self::try_send).
    pub fn try_send_line(&self, channel: &str, line: impl AsRef<[u8]>) -> Result<(), PublishError> {
        self.try_send(channel, &Message::output(line.as_ref().to_vec()))
    }

    /// Publishes the status of a process, after waiting for room. The exit code is 0 for a status
    /// other than an exit.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    ///
    /// # Cancel safety
    /// As for [`send`](Self::send).
    pub async fn send_status(
        &self,
        channel: &str,
        status: impl Into<Status>,
        exit_code: i32,
    ) -> Result<(), PublishError> {
        self.send(channel, &Message::status(&status.into(), exit_code))
            .await
    }

    /// Publishes a message of a type of the application's own, with a value as its JSON data, after
    /// waiting for room.
    ///
    /// # Errors
    /// As for [`send`](Self::send), and [`PublishError::Json`] if the value does not serialize.
    ///
    /// # Cancel safety
    /// As for [`send`](Self::send).
    pub async fn send_json(
        &self,
        channel: &str,
        message_type: impl Into<MessageType>,
        value: &(impl Serialize + ?Sized),
    ) -> Result<(), PublishError> {
        let message = Message::new(message_type.into()).with_json(value)?;
        self.send(channel, &message).await
    }

    /// Waits until everything that was accepted before this call has an outcome, and returns the
    /// account.
    ///
    /// # Cancel safety
    /// Dropping the future only ends the wait.
    pub async fn flush(&self) -> PublishStats {
        self.account.settled().await;
        self.stats()
    }

    /// Accepts nothing more, waits until everything that was accepted has an outcome, and returns
    /// the account. A server that is away is waited for.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. The publisher stays closed, and what waits is still sent
    /// as after a drop.
    pub async fn close(self) -> PublishStats {
        self.account.close("it was closed");
        self.flush().await
    }

    /// Returns what became of the messages so far.
    pub fn stats(&self) -> PublishStats {
        self.account.stats()
    }

    /// Returns the reason of the latest failure to publish: the server's words, or why it could not
    /// be reached. `None` if the latest request succeeded.
    pub fn last_error(&self) -> Option<String> {
        self.account.last_error()
    }

    fn push(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        self.account.accept();
        if self.queue.send(outgoing).is_err() {
            self.account.withdraw();
            return Err(self.account.ended());
        }
        Ok(())
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("url", &self.url)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
