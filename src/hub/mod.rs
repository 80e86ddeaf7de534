//! The public interface of the engine: a hub takes messages and delivers them to its clients.
//!
//! | file | job |
//! |---|---|
//! | `mod` | [`Hub`]: construction and publishing |
//! | `builder` | [`HubBuilder`]: the settings |
//! | `callbacks` | the application's callbacks: how they are set, and how they are called |
//! | `engine` | the parts that all handles and connections of a hub share |
//! | `targets` | finds the channel that a message goes to |
//! | `actions` | executes an [`Action`] and makes its [`Reply`] |
//! | `client_handle` | what a program does on behalf of a client |
//! | `clients` | registers a client when it connects, and unregisters it when it leaves |
//! | `subscriptions` | subscribes and unsubscribes clients |
//! | `line_writer` | publishes what is written to it |
//! | `receiver` | subscribes to a channel within the process |
//! | `rights` | decides who may subscribe and publish |
//! | `slots`, `addresses` | count connections, in all and for each address |
//! | `reports` | counts and lists clients, channels and subscribers |
//! | `shutdown` | ends the hub |
//! | `weak` | a handle that does not keep its hub |

mod actions;
mod addresses;
mod builder;
mod callbacks;
mod client_handle;
mod clients;
mod engine;
mod line_writer;
mod receiver;
mod reports;
mod rights;
mod shutdown;
mod slots;
mod start_once;
mod subscriptions;
mod targets;
mod weak;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use serde::Serialize;

use crate::access::Gate;
use crate::backplane::LocalProcesses;
use crate::channel::{Publisher, Run};
use crate::config::Config;
use crate::message::{ChannelName, Lines, Message, NameError, ProcessEvent, ProcessId, Status};

pub use actions::Reply;
pub use builder::HubBuilder;
pub use client_handle::ClientSubscribeError;
pub use line_writer::LineWriter;
pub use receiver::{Receiver, SubscribeError};
pub use weak::WeakHub;

pub(crate) use callbacks::MessageOutcome;
pub(crate) use engine::Engine;
pub(crate) use slots::{ConnectionLimit, ConnectionSlot};

use callbacks::Callbacks;

/// The fan-out engine: takes messages, and delivers them to the WebSocket clients that subscribed.
///
/// Cloning is cheap, and all clones are the same hub. Creating a hub and publishing to it need no
/// runtime. Connections run in the tokio runtime in which they are accepted. A hub lives until its
/// last clone and its last connection are gone. [`Hub::shutdown`] ends the connections.
///
/// Publishing never blocks, never waits for a client, and is allowed from any thread. Every `send`
/// method returns the number of subscribers at that moment. That number does not say how many of
/// them get the message: a subscriber whose queue is full is skipped. The skip is counted (see
/// [`Hub::stats`]) and never retried. A return value of 0 means that the channel has no
/// subscribers and that nothing was encoded.
///
/// ```
/// use outrace::Hub;
///
/// let hub = Hub::new();
/// let subscribers = hub.send_process_output("web", "listening on :3000")?;
/// assert_eq!(subscribers, 0);
/// # Ok::<(), outrace::NameError>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    engine: Arc<Engine>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// Creates a hub with the default settings.
    pub fn new() -> Self {
        Self {
            engine: Arc::new(Engine::new(
                Config::default(),
                Gate::default(),
                Callbacks::default(),
                None,
                None,
            )),
        }
    }

    /// Returns a builder, which changes settings and sets callbacks.
    pub fn builder() -> HubBuilder {
        HubBuilder::default()
    }

    /// Returns the parts that the hub's handles and connections share.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Names the processes that a supervisor runs beside this hub. Other nodes of a
    /// [backplane](HubBuilder::backplane) list them and give them orders. A hub without a backplane
    /// has no use for it.
    ///
    /// Returns false if they were named before: those stay. `server::Processes::share` calls this.
    pub fn share_processes(&self, processes: impl LocalProcesses) -> bool {
        self.engine.processes.fill(Box::new(processes))
    }

    /// Starts the hub's flush timer in the current runtime.
    ///
    /// Without this call the timer starts with the first client. Until then, old messages leave a
    /// history only when something is published.
    ///
    /// # Panics
    /// Panics outside a tokio runtime with I/O and time enabled.
    pub fn start(&self) {
        self.engine.start();
    }

    /// Publishes one line of a process to the channel `process:ID`. Returns the number of
    /// subscribers.
    ///
    /// The line has no terminator. Invalid UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// Returns an error if the process id is not valid.
    pub fn send_process_output(
        &self,
        process_id: &str,
        line: impl AsRef<[u8]>,
    ) -> Result<usize, NameError> {
        let target = self.engine.process_target(process_id)?;
        Ok(target.map_or(0, |channel| {
            if !channel.is_wanted() {
                channel.count_unwatched(1);
                return 0;
            }
            channel.publish(Run::Line(Bytes::copy_from_slice(line.as_ref())))
        }))
    }

    /// Publishes several lines of a process at once. Returns the number of subscribers.
    ///
    /// Each line becomes a message. No message of another publisher comes between them.
    ///
    /// # Errors
    /// Returns an error if the process id is not valid.
    pub fn send_process_lines(&self, process_id: &str, lines: Lines) -> Result<usize, NameError> {
        let target = self.engine.process_target(process_id)?;
        Ok(target.map_or(0, |channel| channel.publish(Run::Lines(lines))))
    }

    /// Publishes a change of a process's status. Returns the number of subscribers.
    ///
    /// The exit code is 0 for a status that is no exit. Each client's queue has a reserve for
    /// statuses, so that a flood of lines does not displace one.
    ///
    /// # Errors
    /// Returns an error if the process id is not valid.
    pub fn send_process_status(
        &self,
        process_id: &str,
        status: impl Into<Status>,
        exit_code: i32,
    ) -> Result<usize, NameError> {
        let target = self.engine.process_target(process_id)?;
        let id = ProcessId::parse(process_id)?;
        Ok(target.map_or(0, |channel| {
            channel.publish(message_run(
                Message::status(&status.into(), exit_code).with_process(id),
            ))
        }))
    }

    /// Publishes a message to a channel. Returns the number of subscribers.
    ///
    /// # Errors
    /// Returns an error if the channel name is not valid.
    pub fn send_to_channel(&self, channel: &str, message: Message) -> Result<usize, NameError> {
        let target = self.engine.target(channel)?;
        Ok(target.map_or(0, |channel| channel.publish(message_run(message))))
    }

    /// Sends a message to every client, subscribed or not. Returns the number of clients.
    ///
    /// A client whose queue is full is disconnected with close code 1013 (RFC 6455 section 7.4.1
    /// and its registry). A stream over HTTP counts as a client, but does not carry the message:
    /// it carries the lines of one channel and nothing else.
    pub fn broadcast(&self, message: Message) -> usize {
        self.engine.everyone.publish(message_run(message))
    }

    /// Sends `{"event":name,"data":data}` to every client, as [`Hub::broadcast`] does. Returns the
    /// number of clients.
    ///
    /// # Errors
    /// Returns an error if the data cannot be serialized. The data is not serialized while no
    /// client is connected and there is no bridge.
    pub fn send_event(
        &self,
        name: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<usize, serde_json::Error> {
        if !self.engine.everyone.is_wanted() {
            return Ok(0);
        }
        Ok(self.broadcast(Message::event(name, data)?))
    }

    /// Sends an error message to every client, as [`Hub::broadcast`] does. Returns the number of
    /// clients.
    pub fn send_error(&self, text: &str) -> usize {
        self.broadcast(Message::error(text.to_owned()))
    }

    /// Returns a handle that publishes to one channel without looking the channel up each time.
    ///
    /// The channel exists as long as the handle does, even beyond
    /// [`HubBuilder::max_channels`].
    ///
    /// # Errors
    /// Returns an error if the channel name is not valid.
    pub fn publisher(&self, channel: &str) -> Result<Publisher, NameError> {
        Ok(Publisher::new(
            Arc::clone(&self.engine.registry),
            &ChannelName::parse(channel)?,
        ))
    }

    /// Publishes an event of a process manager to the process's channel. Returns the number of
    /// subscribers.
    pub fn publish_event(&self, event: ProcessEvent) -> usize {
        let sent = match &event {
            ProcessEvent::Started { id } => {
                self.send_process_status(id.as_str(), Status::Running, 0)
            }
            ProcessEvent::Lines { id, lines } => {
                self.send_process_lines(id.as_str(), lines.clone())
            }
            ProcessEvent::Status { id, status, code } => {
                self.send_process_status(id.as_str(), status, *code)
            }
            ProcessEvent::Output { id, line } => self.send_process_output(id.as_str(), line),
            ProcessEvent::Exited { id, code } => {
                self.send_process_status(id.as_str(), Status::Exited, *code)
            }
            ProcessEvent::Crashed { id, code } => {
                self.send_process_status(id.as_str(), Status::Crashed, *code)
            }
            ProcessEvent::Stopped { id } => {
                self.send_process_status(id.as_str(), Status::Stopped, 0)
            }
        };
        sent.expect("a ProcessId is valid")
    }

    /// Publishes all events of a stream. Returns when the stream ends.
    ///
    /// # Cancel safety
    /// This method is cancel safe. Dropping the future leaves the events that the stream has not
    /// yielded in the stream. Every event that the stream has yielded is published.
    pub async fn forward(&self, events: impl Stream<Item = ProcessEvent>) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await {
            self.publish_event(event);
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("clients", &self.client_count())
            .field("channels", &self.channel_count())
            .finish_non_exhaustive()
    }
}

fn message_run(message: Message) -> Run {
    Run::Message(Box::new(message))
}
