//! The application's callbacks: how a builder takes them, and how the hub calls them.

use std::sync::Arc;

use http::{HeaderMap, Uri};

use super::{Engine, HubBuilder};
use crate::access::{Admission, AuthError, Credentials, Identity, PublishTarget};
use crate::callback::catch_callback;
use crate::channel::Client;
use crate::message::ChannelName;
use crate::protocol::ClientMessage;
use crate::reason::CloseReason;

type OnConnect = Box<dyn Fn(&Arc<Client>) + Send + Sync>;
type OnDisconnect = Box<dyn Fn(&Arc<Client>, CloseReason) + Send + Sync>;
type OnMessage = Box<dyn Fn(&Arc<Client>, ClientMessage<'_>) + Send + Sync>;
type OnSubscribe = Box<dyn Fn(&Arc<Client>, &ChannelName) -> bool + Send + Sync>;
type AuthorizePublish = Box<dyn Fn(Option<&Identity>, PublishTarget<'_>) -> bool + Send + Sync>;

/// The callbacks that the hub itself calls. The gate keeps and calls those for requests.
#[derive(Default)]
pub(super) struct Callbacks {
    connect: Option<OnConnect>,
    disconnect: Option<OnDisconnect>,
    subscribe: Option<OnSubscribe>,
    publish: Option<AuthorizePublish>,
    message: Option<OnMessage>,
}

/// What became of a client's message that is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageOutcome {
    /// The callback took it.
    Taken,
    /// There is no callback for messages.
    NoCallback,
    /// The callback panicked.
    Panicked,
}

impl Callbacks {
    /// Reports a client that has connected. Returns false if the callback panicked.
    pub(super) fn connected(&self, client: &Arc<Client>) -> bool {
        let Some(connect) = &self.connect else {
            return true;
        };
        catch_callback("on_connect", || connect(client)).is_some()
    }

    /// Reports a client that has left.
    pub(super) fn disconnected(&self, client: &Arc<Client>, reason: CloseReason) {
        if let Some(disconnect) = &self.disconnect {
            catch_callback("on_disconnect", || disconnect(client, reason));
        }
    }

    /// Asks whether a client may subscribe to a channel. A panic means no; no callback means yes.
    pub(super) fn allows_subscription(&self, client: &Arc<Client>, channel: &ChannelName) -> bool {
        let Some(authorize) = &self.subscribe else {
            return true;
        };
        catch_callback("on_subscribe", || authorize(client, channel)).unwrap_or(false)
    }

    /// Asks whether a request may publish. A panic means no; no callback means yes.
    #[cfg(feature = "server")]
    pub(super) fn allows_publication(
        &self,
        identity: Option<&Identity>,
        target: PublishTarget<'_>,
    ) -> bool {
        let Some(authorize) = &self.publish else {
            return true;
        };
        catch_callback("authorize_publish", || authorize(identity, target)).unwrap_or(false)
    }

    /// Passes on a client's message that is no command.
    fn message(&self, client: &Arc<Client>, message: ClientMessage<'_>) -> MessageOutcome {
        let Some(callback) = &self.message else {
            return MessageOutcome::NoCallback;
        };
        match catch_callback("on_message", || callback(client, message)) {
            Some(()) => MessageOutcome::Taken,
            None => MessageOutcome::Panicked,
        }
    }
}

impl Engine {
    /// Passes a client's message that is no command to the application.
    pub(crate) fn dispatch(
        &self,
        client: &Arc<Client>,
        message: ClientMessage<'_>,
    ) -> MessageOutcome {
        self.callbacks.message(client, message)
    }
}

impl HubBuilder {
    /// Sets the callback for a client that has connected.
    ///
    /// It is called in the connection's task, before the client's first message is read, so it has
    /// to return soon. A panic ends that connection alone, with close code 1011.
    pub fn on_connect(mut self, callback: impl Fn(&Arc<Client>) + Send + Sync + 'static) -> Self {
        self.callbacks.connect = Some(Box::new(callback));
        self
    }

    /// Sets the callback for a client that has disconnected.
    ///
    /// It is called once for each client that had connected, after the client has left every
    /// channel. A panic is logged and has no other effect.
    pub fn on_disconnect(
        mut self,
        callback: impl Fn(&Arc<Client>, CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.disconnect = Some(Box::new(callback));
        self
    }

    /// Sets the callback that judges a request by its address and headers, before the
    /// [authenticator](HubBuilder::authenticator) does.
    ///
    /// It is called for each request for a connection, a stream or the API. A panic refuses the
    /// request.
    pub fn on_upgrade(
        mut self,
        callback: impl Fn(&Uri, &HeaderMap) -> Admission + Send + Sync + 'static,
    ) -> Self {
        self.gate.on_upgrade = Some(Box::new(callback));
        self
    }

    /// Sets the callback for a request that the [authenticator](HubBuilder::authenticator) has
    /// refused. A panic is logged and has no other effect.
    pub fn on_auth_failure(
        mut self,
        callback: impl Fn(&Credentials, &AuthError) + Send + Sync + 'static,
    ) -> Self {
        self.gate.on_failure = Some(Box::new(callback));
        self
    }

    /// Sets the callback that decides whether a request may publish, or control a process.
    ///
    /// It is called for requests over HTTP, after the sender's
    /// [`Grants`](crate::access::Grants) have allowed the request. It is not called for messages
    /// that the program itself publishes. The identity is `None` if the hub has no authenticator. A
    /// panic refuses. Without this callback the grants alone decide.
    pub fn authorize_publish(
        mut self,
        callback: impl Fn(Option<&Identity>, PublishTarget<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.publish = Some(Box::new(callback));
        self
    }

    /// Sets the callback that decides whether a client may subscribe to a channel.
    ///
    /// It is called after the client's [`Grants`](crate::access::Grants) have allowed the
    /// subscription. It is also called for requests over HTTP that list channels or count their
    /// subscribers, with a client that never connects. A panic refuses. Without this callback the
    /// grants alone decide.
    pub fn on_subscribe(
        mut self,
        callback: impl Fn(&Arc<Client>, &ChannelName) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.subscribe = Some(Box::new(callback));
        self
    }

    /// Sets the callback for client messages that are no commands of the wire protocol.
    ///
    /// It is called in the connection's task, so it has to return soon. Without this callback such
    /// messages are ignored and counted in [`Stats::ignored`](crate::Stats::ignored). With it they
    /// are not counted there. The callback can reply with [`Client::send_text`]. A panic ends that
    /// connection alone, with close code 1011.
    ///
    /// ```
    /// use outrace::{ClientMessage, Hub};
    ///
    /// let echo = Hub::builder().on_message(|client, message| {
    ///     // A reply that does not fit into the client's queue is skipped and counted.
    ///     let _sent = match message {
    ///         ClientMessage::Text(text) => client.send_text(text),
    ///         ClientMessage::Binary(bytes) => client.send_binary(bytes),
    ///         _ => false,
    ///     };
    /// });
    /// # echo.build()?;
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    pub fn on_message(
        mut self,
        callback: impl Fn(&Arc<Client>, ClientMessage<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.message = Some(Box::new(callback));
        self
    }
}
