//! The reasons for closing a connection, for refusing a request and for a pause in accepting
//! connections. Each reason has a name, a counter and, where there is one, a close code.

use std::fmt;

/// The reason that a connection ended for.
///
/// The close codes are those of RFC 6455 section 7.4.1 and of the IANA registry that it founded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent a close frame and got an answer.
    PeerClosed,
    /// The peer's stream ended or was reset without a close frame.
    PeerGone,
    /// The hub is shutting down: close code 1001.
    Shutdown,
    /// The peer violated the protocol (RFC 6455): close code 1002.
    ProtocolViolation,
    /// A text message of the peer was not valid UTF-8 (RFC 6455 section 8.1): close code 1007.
    InvalidUtf8,
    /// A message of the peer was longer than
    /// [`HubBuilder::max_message`](crate::HubBuilder::max_message) allows: close code 1009.
    MessageTooBig,
    /// A message of the peer came in more fragments than
    /// [`HubBuilder::max_fragments`](crate::HubBuilder::max_fragments) allows: close code 1008.
    TooManyFragments,
    /// The peer sent more frames than [`HubBuilder::message_rate`](crate::HubBuilder::message_rate)
    /// and its burst allow: close code 1008.
    TooManyMessages,
    /// A message to all clients did not fit into this client's queue: close code 1013.
    Overflow,
    /// The peer sent nothing for the time of
    /// [`HubBuilder::idle_timeout`](crate::HubBuilder::idle_timeout): close code 1001.
    HeartbeatTimeout,
    /// The peer took none of the bytes that waited for it for longer than
    /// [`HubBuilder::write_timeout`](crate::HubBuilder::write_timeout): close code 1008.
    WriteTimeout,
    /// The application called [`Client::close`](crate::Client::close): close code 1008.
    Kicked,
    /// Handling this connection panicked, usually in a callback of the application: close code
    /// 1011.
    Internal,
    /// The client's identity has expired: close code 1008.
    Expired,
}

impl CloseReason {
    /// Every reason, in the order of the statistics.
    pub const ALL: [Self; 14] = [
        Self::PeerClosed,
        Self::PeerGone,
        Self::Shutdown,
        Self::ProtocolViolation,
        Self::InvalidUtf8,
        Self::MessageTooBig,
        Self::TooManyFragments,
        Self::TooManyMessages,
        Self::Overflow,
        Self::HeartbeatTimeout,
        Self::WriteTimeout,
        Self::Kicked,
        Self::Internal,
        Self::Expired,
    ];

    /// Returns the close code that the peer gets. `None` means that the peer began the closing
    /// handshake itself, or is gone.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::PeerClosed | Self::PeerGone => None,
            Self::Shutdown | Self::HeartbeatTimeout => Some(1001),
            Self::ProtocolViolation => Some(1002),
            Self::InvalidUtf8 => Some(1007),
            Self::TooManyFragments
            | Self::TooManyMessages
            | Self::WriteTimeout
            | Self::Kicked
            | Self::Expired => Some(1008),
            Self::MessageTooBig => Some(1009),
            Self::Internal => Some(1011),
            Self::Overflow => Some(1013),
        }
    }

    /// Returns the name in statistics and logs. It is also the text of the close frame.
    pub fn name(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer closed",
            Self::PeerGone => "peer gone",
            Self::Shutdown => "server shutting down",
            Self::ProtocolViolation => "protocol violation",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::MessageTooBig => "message too big",
            Self::TooManyFragments => "too many fragments",
            Self::TooManyMessages => "too many messages",
            Self::Overflow => "queue overflow",
            Self::HeartbeatTimeout => "heartbeat timeout",
            Self::WriteTimeout => "write timeout",
            Self::Kicked => "closed by the server",
            Self::Internal => "internal error",
            Self::Expired => "token expired",
        }
    }

    /// Returns whether the messages that wait for the client are sent before the close frame.
    pub(crate) fn flushes(self) -> bool {
        matches!(
            self,
            Self::Shutdown | Self::Overflow | Self::Kicked | Self::Expired
        )
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Returns a number for the reason, which is never 0.
    pub(crate) fn to_u8(self) -> u8 {
        self as u8 + 1
    }

    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.get((value as usize).checked_sub(1)?).copied()
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason that a request or a subscription was refused for. A refusal does not end the
/// connection that it was asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// A request for a connection that is not a WebSocket handshake (RFC 6455 section 4.2.1).
    Handshake,
    /// A request without valid credentials: 401.
    Unauthorized,
    /// A request from a page of another site, or for something that its sender may not do: 403.
    Forbidden,
    /// A request while the hub is shutting down: 503.
    Stopping,
    /// A connection beyond [`HubBuilder::max_connections`](crate::HubBuilder::max_connections):
    /// 503.
    ConnectionLimit,
    /// A connection beyond
    /// [`HubBuilder::max_connections_per_address`](crate::HubBuilder::max_connections_per_address):
    /// 429.
    AddressLimit,
    /// A connection that would last, while the process has no descriptor left but a reserve for
    /// requests that are answered at once: 503.
    Descriptors,
    /// A request with too large a header: 431.
    HeaderSize,
    /// A connection on which no request header came in time.
    HeaderTimeout,
    /// A handshake that was accepted, but that its peer did not finish in time.
    HandshakeTimeout,
    /// A request with too large a body: 413.
    BodySize,
    /// A request whose body did not come in time: 408.
    BodyTimeout,
    /// A request that took too long in all, for example because its peer does not read the
    /// response. The connection is dropped.
    RequestTimeout,
    /// A subscription to an invalid channel name.
    Name,
    /// A subscription with an option of the wrong type.
    Options,
    /// A subscription that the client's grants or the application do not allow.
    Subscription,
    /// A subscription beyond
    /// [`HubBuilder::max_subscriptions`](crate::HubBuilder::max_subscriptions).
    SubscriptionLimit,
    /// A subscription or a kept message to a new channel beyond
    /// [`HubBuilder::max_channels`](crate::HubBuilder::max_channels).
    ChannelLimit,
    /// A range beyond the number that a subscription may wait for.
    RangeLimit,
    /// A request to publish that holds no valid actions (400) or is not JSON (415).
    Actions,
    /// A message longer than
    /// [`HubBuilder::max_outgoing_message`](crate::HubBuilder::max_outgoing_message) that can't be
    /// cut. It was not published. An action over HTTP gets 400.
    MessageSize,
    /// A TLS handshake that failed or did not end in time.
    Tls,
    /// A message was published to a channel that is a mirror of another server's.
    Mirror,
    /// A connection of a trusted proxy that did not begin with a header of the PROXY protocol, or
    /// not in time.
    ProxyHeader,
    /// A message was published to a channel whose home is another node or not known yet, and too
    /// many bytes wait for such channels. An action over HTTP gets 503.
    PendingLimit,
    /// An order for a process of another node that cannot be reached (503), does not answer (504)
    /// or answers wrongly (502).
    NodeGone,
    /// A handshake of a relay that would close a loop of relays, or make too long a row: 508.
    RelayLoop,
}

impl RefusalReason {
    /// Every reason, in the order of the statistics.
    pub const ALL: [Self; 27] = [
        Self::Handshake,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Stopping,
        Self::ConnectionLimit,
        Self::AddressLimit,
        Self::Descriptors,
        Self::HeaderSize,
        Self::HeaderTimeout,
        Self::HandshakeTimeout,
        Self::BodySize,
        Self::BodyTimeout,
        Self::RequestTimeout,
        Self::Name,
        Self::Options,
        Self::Subscription,
        Self::SubscriptionLimit,
        Self::ChannelLimit,
        Self::RangeLimit,
        Self::Actions,
        Self::MessageSize,
        Self::Tls,
        Self::Mirror,
        Self::ProxyHeader,
        Self::PendingLimit,
        Self::NodeGone,
        Self::RelayLoop,
    ];

    /// Returns the name in statistics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "not a handshake",
            Self::Unauthorized => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::Stopping => "stopping",
            Self::ConnectionLimit => "connection limit",
            Self::AddressLimit => "address limit",
            Self::Descriptors => "descriptor limit",
            Self::HeaderSize => "header too big",
            Self::HeaderTimeout => "header timeout",
            Self::HandshakeTimeout => "handshake timeout",
            Self::BodySize => "body too big",
            Self::BodyTimeout => "body timeout",
            Self::RequestTimeout => "request timeout",
            Self::Name => "invalid name",
            Self::Options => "invalid options",
            Self::Subscription => "subscription unauthorised",
            Self::SubscriptionLimit => "subscription limit",
            Self::ChannelLimit => "channel limit",
            Self::RangeLimit => "range limit",
            Self::Actions => "invalid actions",
            Self::MessageSize => "message too long",
            Self::Tls => "TLS handshake",
            Self::Mirror => "published to a mirror",
            Self::ProxyHeader => "PROXY header",
            Self::PendingLimit => "pending limit",
            Self::NodeGone => "node gone",
            Self::RelayLoop => "loop of relays",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The reason that accepting connections paused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PauseReason {
    /// The process or the system had no descriptor or no memory left for another connection.
    Descriptors,
    /// As many requests were under way as the options of the server (`server::ServeOptions`) allow.
    Requests,
}

impl PauseReason {
    /// Every reason, in the order of the statistics.
    pub const ALL: [Self; 2] = [Self::Descriptors, Self::Requests];

    /// Returns the name in statistics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptor limit",
            Self::Requests => "request limit",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_the_way_through_a_byte_and_keep_their_place() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_eq!(CloseReason::from_u8(reason.to_u8()), Some(reason));
        }
        assert_eq!(CloseReason::from_u8(0), None);
    }

    #[test]
    fn pauses_keep_their_place() {
        assert!(
            PauseReason::ALL
                .into_iter()
                .enumerate()
                .all(|(index, reason)| reason.index() == index)
        );
    }

    #[test]
    fn refusals_keep_their_place_and_have_names_of_their_own() {
        let mut names = std::collections::BTreeSet::new();
        for (index, reason) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(names.insert(reason.name()), "{reason} twice");
        }
    }
}
