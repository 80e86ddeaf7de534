//! The settings of a hub.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::callbacks::Callbacks;
use super::{Engine, Hub};
use crate::access::{Authenticator, Gate, Origins, TrustedProxies};
use crate::backplane::Backplane;
use crate::bridge::Bridge;
use crate::config::Config;
use crate::error::ConfigError;

/// The settings and callbacks of a [`Hub`].
///
/// Each limit has a default and a range. [`HubBuilder::build`] returns an error for a value out of
/// its range. Durations are at most 365 days where no other maximum is given.
///
/// ```
/// use std::time::Duration;
/// let hub = outrace::Hub::builder()
///     .queue(1024)
///     .max_flush_interval(Duration::from_millis(5))
///     .on_disconnect(|client, reason| println!("{} left: {reason}", client.id()))
///     .build()?;
/// # Ok::<(), outrace::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Default)]
pub struct HubBuilder {
    pub(super) config: Config,
    pub(super) gate: Gate,
    pub(super) callbacks: Callbacks,
    backplane: Option<Box<dyn Backplane>>,
    bridge: Option<Box<dyn Bridge>>,
}

impl HubBuilder {
    /// Sets how many messages may wait for one client: 256 by default, 1 to 4,194,304.
    ///
    /// A message beyond that is skipped for this client and counted; a message to all clients
    /// closes the connection with code 1013 instead. A longer queue costs little memory, because
    /// all clients that wait for a block of lines share it.
    pub fn queue(mut self, messages: usize) -> Self {
        self.config.queue = messages;
        self
    }

    /// Sets how many bytes may wait for one client, WebSocket headers included: 4 MiB by default,
    /// 64 KiB to 256 GiB.
    ///
    /// A message beyond that is skipped, as with [`HubBuilder::queue`]. An empty queue takes one
    /// message of any size.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.config.queue_bytes = bytes;
        self
    }

    /// Sets the longest time that a message waits to be sent together with others: 10 ms by
    /// default, 0 to 10 s.
    ///
    /// An idle hub sends a message at once. A busy hub chooses the shortest interval at which
    /// flushing takes at most a tenth of one core, up to this limit. With 0 the hub always sends at
    /// once.
    pub fn max_flush_interval(mut self, interval: Duration) -> Self {
        self.config.max_flush_interval = interval;
        self
    }

    /// Sets how many connections there may be at once, streams over HTTP included: 100,000 by
    /// default, at least 1.
    ///
    /// A connection beyond that is refused with status 503 (RFC 9110 section 15.6.4).
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = connections;
        self
    }

    /// Sets the proxies that are trusted to name the address of a client. By default none is.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.gate.proxies = proxies;
        self
    }

    /// Adds a subprotocol that clients may offer (RFC 6455 section 1.9). Each call adds one.
    ///
    /// The hub chooses the first offer of a client that it knows, and speaks the same protocol
    /// under every name. Without a known offer it chooses none; a browser that has offered any then
    /// ends the connection. The name `outrace` is always known: a page offers it together with
    /// `outrace.token.…` (see
    /// [`Credentials::subprotocol_token`](crate::access::Credentials::subprotocol_token)).
    ///
    /// [`build`](Self::build) refuses a name that is not a token of HTTP (RFC 9110 section 5.6.2)
    /// or begins with `outrace.token.`.
    pub fn subprotocol(mut self, name: impl AsRef<str>) -> Self {
        self.gate.subprotocols.add(name.as_ref());
        self
    }

    /// Sets how many connections one address may have at once, streams over HTTP included: 1,000 by
    /// default, at least 1.
    ///
    /// A connection beyond that is refused with status 429 (RFC 6585 section 4). The 2^64
    /// addresses of an IPv6 `/64` network count as one address, because one peer usually has all of
    /// them (RFC 6177). Connections from the loopback are not counted: they come from this machine,
    /// or from a proxy on it. With [`trusted_proxies`](Self::trusted_proxies) the address behind
    /// the proxy counts. A layer may also put it into a [`PeerAddress`](crate::PeerAddress).
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.config.max_connections_per_address = connections;
        self
    }

    /// Sets how many channels there may be at once: 100,000 by default, at least 1.
    ///
    /// A channel with one subscriber takes about 4 KB. Beyond the limit no channel is created: a
    /// subscription is refused with an `error` message, and a published message is not kept. Both
    /// are counted. [`Hub::publisher`] creates its channel regardless of the limit, because it is
    /// the application that asks.
    pub fn max_channels(mut self, channels: usize) -> Self {
        self.config.max_channels = channels;
        self
    }

    /// Sets how many bytes a client's message may have: 64 KiB by default, 1 KiB to 1 GiB.
    ///
    /// A longer message closes the connection with code 1009 (RFC 6455 section 7.4.1).
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.config.max_message = bytes;
        self
    }

    /// Sets how many bytes a message to clients may have with its envelope and escapes: 64 KiB by
    /// default, 4 KiB to 1 GiB.
    ///
    /// A longer line is published in pieces, each of which is a message with a number of its own.
    /// Any other message that is longer is not published. It counts in
    /// [`Stats::refused`](crate::Stats::refused) as
    /// [`MessageSize`](crate::RefusalReason::MessageSize). The bound does not hold for
    /// [`Client::send_text`](crate::Client::send_text). Clients of go-ws drop the connection at a
    /// message beyond 64 KiB.
    pub fn max_outgoing_message(mut self, bytes: usize) -> Self {
        self.config.max_outgoing_message = bytes;
        self
    }

    /// Sets how many fragments (RFC 6455 section 5.4) a client's message may have: 1,024 by
    /// default, 1 to 2^30.
    ///
    /// More fragments close the connection with code 1008.
    pub fn max_fragments(mut self, fragments: usize) -> Self {
        self.config.max_fragments = fragments;
        self
    }

    /// Sets how many frames a client may send each second in the long run: 100 by default, 1 to
    /// 10^9.
    ///
    /// Every frame counts: messages, their fragments and pings. A client that sends more uses up
    /// its [burst](HubBuilder::message_burst), and is then closed with code 1008 (RFC 6455 section
    /// 7.4.1).
    pub fn message_rate(mut self, per_second: u32) -> Self {
        self.config.message_rate = per_second;
        self
    }

    /// Sets how many frames a client may send at once, beyond the
    /// [rate](HubBuilder::message_rate): 1 to 10^9.
    ///
    /// The default is the larger of 2,048 and twice
    /// [`max_subscriptions`](HubBuilder::max_subscriptions), because a client that reconnects
    /// subscribes to all its channels again. More frames close the connection with code 1008.
    pub fn message_burst(mut self, frames: u32) -> Self {
        self.config.message_burst = Some(frames);
        self
    }

    /// Sets how many bytes the body of a request may have: 4 MiB by default, 1 KiB to 1 TiB.
    ///
    /// A longer body is refused with status 413 (RFC 9110 section 15.5.14).
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config.max_body = bytes;
        self
    }

    /// Sets how long the body of a request may take to arrive: 30 s by default, at least 1 ms.
    ///
    /// A slower body is refused with status 408 (RFC 9110 section 15.5.9).
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.config.body_timeout = timeout;
        self
    }

    /// Sets how long an upgrade may take, from the response to the handshake until the connection
    /// belongs to the hub: 10 s by default, at least 1 ms.
    ///
    /// A slower connection is dropped and counted.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.config.handshake_timeout = timeout;
        self
    }

    /// Sets the time over which [`Hub::shutdown`] spreads the closing of connections: 0 by default,
    /// which closes all of them at once.
    ///
    /// With a spread, not all clients reconnect at the same moment. Messages that are published
    /// meanwhile are delivered to the clients that are still connected.
    pub fn shutdown_spread(mut self, time: Duration) -> Self {
        self.config.shutdown_spread = time;
        self
    }

    /// Sets how many subscriptions one client may have: 1,024 by default, 1 to 16,777,216.
    ///
    /// A subscription beyond that is refused with an `error` message to that client.
    pub fn max_subscriptions(mut self, subscriptions: usize) -> Self {
        self.config.max_subscriptions = subscriptions;
        self
    }

    /// Sets how many messages of each channel are kept: 0 to 2^32.
    ///
    /// A subscriber can begin with kept messages, resume after a reconnect, and request the
    /// messages of a gap again. Beyond the limit the oldest messages are dropped. 0, the default,
    /// keeps nothing; a channel without subscribers then costs nothing.
    pub fn history(mut self, messages: usize) -> Self {
        self.config.history = messages;
        self
    }

    /// Sets how many bytes of each channel are kept, those of the encodings included: 1 MiB by
    /// default, 1 byte to 256 GiB.
    ///
    /// Beyond the limit the oldest messages are dropped.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.config.history_bytes = bytes;
        self
    }

    /// Sets how long a message is kept: 1 hour by default, at least 1 s.
    ///
    /// Older messages are dropped. A channel without subscribers exists until its last message is
    /// dropped.
    pub fn history_age(mut self, age: Duration) -> Self {
        self.config.history_age = age;
        self
    }

    /// Sets how many bytes all histories together may have: 256 MiB by default, 1 byte to 256 GiB.
    ///
    /// Beyond the limit, the least recently used channels drop their histories.
    pub fn history_total(mut self, bytes: usize) -> Self {
        self.config.history_total = bytes;
        self
    }

    /// Sets the interval between pings (RFC 6455 section 5.5.2): 30 s by default, at least 10 ms.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// Sets how long a peer may send nothing at all: 60 s by default, at least the
    /// [ping interval](HubBuilder::ping_interval).
    ///
    /// A peer that is silent for longer is closed with code 1001 (RFC 6455 section 7.4.1). A live
    /// peer is never silent for longer than the ping interval and a round trip, because it answers
    /// each ping with a pong (RFC 6455 section 5.5.3).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// Sets how long a peer may take none of the bytes that wait for it: at least 1 ms. The default
    /// is `None`, for ever.
    ///
    /// A peer that takes nothing for longer is closed with code 1008 (RFC 6455 section 7.4.1), and
    /// what waits for it is discarded. Without this, a peer that sends but does not read keeps its
    /// connection, and costs its queue and the kernel's buffers. A slow peer that takes some bytes
    /// in time is never closed. An HTTP stream is dropped likewise when `outrace::server` serves
    /// it.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.write_timeout = timeout.into();
        self
    }

    /// Sets how long the peer may take to answer a close frame (RFC 6455 section 7.1.1): 2 s by
    /// default, at least 1 ms.
    ///
    /// After that the connection is dropped.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Sets how long a connection that ends in an orderly way sends what waits for its client: 5 s
    /// by default, 0 or more.
    ///
    /// This holds for [`Hub::shutdown`], [`Client::close`](crate::Client::close), an identity that
    /// expires and a queue that overflows. After that time the connection is dropped, and the
    /// messages that still wait are counted as discarded.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.config.flush_timeout = timeout;
        self
    }

    /// Sets the authenticator, which finds out who sends a request. Without one, every request may
    /// enter.
    ///
    /// It is asked before the upgrade. The result is the client's
    /// [`identity`](crate::Client::identity). The module [`access`](crate::access) lists the
    /// authenticators.
    ///
    /// ```
    /// use outrace::access::{AuthError, Bearer, Identity};
    ///
    /// let hub = outrace::Hub::builder()
    ///     .authenticator(Bearer::new(|token| match token {
    ///         // Compare a secret in constant time, as ApiKeys and TokenTable do.
    ///         token if is_session(token) => Ok(Identity::new("alice")),
    ///         _ => Err(AuthError::Invalid),
    ///     }))
    ///     .on_subscribe(|client, channel| {
    ///         let prefix = client.identity().map(|identity| format!("{identity}:"));
    ///         prefix.is_some_and(|prefix| channel.as_str().starts_with(&prefix))
    ///     })
    ///     .build()?;
    /// # fn is_session(_: &str) -> bool { false }
    /// # Ok::<(), outrace::ConfigError>(())
    /// ```
    pub fn authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.gate.authenticator = Some(Box::new(authenticator));
        self
    }

    /// Sets the web origins (RFC 6454) whose pages may connect and publish. By default only pages
    /// of the server's own host may.
    pub fn origins(mut self, origins: Origins) -> Self {
        self.gate.origins = origins;
        self
    }

    /// Allows requests to address the server by this host name. Each call allows one more name, and
    /// `*` allows every name.
    ///
    /// This guards against DNS rebinding: a foreign page can let its own name resolve to a loopback
    /// address, and then reach what listens there. The names that are accepted without a call
    /// depend on the connection:
    ///
    /// | a request came | accepted names |
    /// |---|---|
    /// | over loopback | loopback names |
    /// | from the network | every name |
    /// | over a connection that the hub knows nothing about | loopback names and IP addresses |
    ///
    /// Once a name has been allowed, only the allowed names and the loopback names are accepted,
    /// over every connection. A proxy on the same machine usually passes on the public name, which
    /// then has to be allowed.
    ///
    /// The hub knows the connection from a [`LocalAddress`](crate::LocalAddress), a
    /// [`PeerAddress`](crate::PeerAddress) or axum's `ConnectInfo<SocketAddr>` among the request's
    /// extensions. The accept loop of `outrace::server` adds the first two. `axum::serve` adds the
    /// last with `into_make_service_with_connect_info::<SocketAddr>()`, and nothing without it: a
    /// server with a public name then has to allow this name.
    pub fn allow_host(mut self, name: impl AsRef<str>) -> Self {
        self.gate.hosts.allow(name.as_ref());
        self
    }

    /// Takes the hub's channels from elsewhere. All of them are mirrors then: what is published to
    /// them locally is discarded and counted. With a backplane that
    /// [shares](Backplane::shares), each channel has its home here or on another node, and what is
    /// published locally reaches it.
    ///
    /// The backplane runs from [`Hub::start`] or the first client on.
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.config.mirrors = true;
        self.config.shares = backplane.shares();
        self.backplane = Some(Box::new(backplane));
        self
    }

    /// Exchanges messages with another system: what is published to the hub goes there, and what
    /// comes from there is published here. With a [`backplane`](Self::backplane), whose channels
    /// take nothing else, only messages to all clients are exchanged. With one that
    /// [shares](Backplane::shares), the bridge exchanges what is published to this hub itself, and
    /// what other nodes publish is theirs to exchange.
    ///
    /// The bridge runs from [`Hub::start`] or the first client on.
    pub fn bridge(mut self, bridge: impl Bridge) -> Self {
        self.config.bridged = true;
        self.bridge = Some(Box::new(bridge));
        self
    }

    /// Creates the hub.
    ///
    /// # Errors
    /// Returns an error that names the setting if one is out of its range.
    pub fn build(self) -> Result<Hub, ConfigError> {
        self.config.check()?;
        if let Some(name) = self.gate.subprotocols.first_unusable() {
            return Err(ConfigError::Subprotocol(name.to_owned()));
        }
        Ok(Hub {
            engine: Arc::new(Engine::new(
                self.config,
                self.gate,
                self.callbacks,
                self.backplane,
                self.bridge,
            )),
        })
    }
}

impl fmt::Debug for HubBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(HubBuilder) -> HubBuilder;

    /// The setting that a builder refuses, and the range that it names.
    fn refused(set: Set) -> (&'static str, String, String) {
        match set(Hub::builder()).build() {
            Err(ConfigError::OutOfRange {
                setting, min, max, ..
            }) => (setting, min, max),
            Err(error @ ConfigError::Subprotocol(_)) => panic!("{error}"),
            Ok(_) => panic!("the value is out of range"),
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused_under_the_name_of_its_setter() {
        const LONG: Duration = Duration::from_secs(366 * 24 * 3600);
        const ZERO: Duration = Duration::ZERO;
        let below: [(&str, Set); 21] = [
            ("queue", |hub| hub.queue(0)),
            ("queue_bytes", |hub| hub.queue_bytes(65_535)),
            ("max_connections", |hub| hub.max_connections(0)),
            ("max_connections_per_address", |hub| {
                hub.max_connections_per_address(0)
            }),
            ("max_channels", |hub| hub.max_channels(0)),
            ("max_message", |hub| hub.max_message(1023)),
            ("max_fragments", |hub| hub.max_fragments(0)),
            ("message_rate", |hub| hub.message_rate(0)),
            ("message_burst", |hub| hub.message_burst(0)),
            ("max_body", |hub| hub.max_body(1023)),
            ("body_timeout", |hub| hub.body_timeout(ZERO)),
            ("handshake_timeout", |hub| hub.handshake_timeout(ZERO)),
            ("max_subscriptions", |hub| hub.max_subscriptions(0)),
            ("history_bytes", |hub| hub.history_bytes(0)),
            ("history_total", |hub| hub.history_total(0)),
            ("history_age", |hub| hub.history_age(ZERO)),
            ("ping_interval", |hub| hub.ping_interval(ZERO)),
            ("idle_timeout", |hub| {
                hub.idle_timeout(Duration::from_secs(29))
            }),
            ("close_timeout", |hub| hub.close_timeout(ZERO)),
            ("write_timeout", |hub| hub.write_timeout(ZERO)),
            ("max_flush_interval", |hub| hub.max_flush_interval(LONG)),
        ];
        let above: [(&str, Set); 7] = [
            ("queue", |hub| hub.queue(4_194_305)),
            ("history", |hub| hub.history(usize::MAX)),
            ("message_rate", |hub| hub.message_rate(1_000_000_001)),
            ("shutdown_spread", |hub| hub.shutdown_spread(LONG)),
            ("flush_timeout", |hub| hub.flush_timeout(LONG)),
            ("idle_timeout", |hub| hub.idle_timeout(LONG)),
            ("write_timeout", |hub| hub.write_timeout(LONG)),
        ];
        for (setting, set) in below.into_iter().chain(above) {
            assert_eq!(refused(set).0, setting);
        }
    }

    #[test]
    fn the_error_names_the_range() {
        let (_, min, max) = refused(|hub| hub.queue(0));
        assert_eq!((min.as_str(), max.as_str()), ("1", "4194304"));
        let (_, min, max) = refused(|hub| hub.idle_timeout(Duration::ZERO));
        assert_eq!((min.as_str(), max.as_str()), ("30s", "31536000s"));
        let error = Hub::builder().history_age(Duration::ZERO).build();
        assert_eq!(
            error.map(|_| ()).unwrap_err().to_string(),
            "history_age is 0ns, but has to be between 1s and 31536000s"
        );
        let error = Hub::builder().max_message(1).build();
        assert_eq!(
            error.map(|_| ()).unwrap_err().to_string(),
            "max_message is 1 bytes, but has to be between 1024 and 1073741824 bytes"
        );
        let error = Hub::builder().message_rate(0).build();
        assert_eq!(
            error.map(|_| ()).unwrap_err().to_string(),
            "message_rate is 0 frames a second, but has to be between 1 and 1000000000 frames a \
             second"
        );
    }
}
