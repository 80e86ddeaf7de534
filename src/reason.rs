//! Why a connection was closed or something was refused: each reason has a name, a counter, and a close code where there is one.

use std::fmt;

/// Why a connection ended.
///
/// The close codes are those of RFC 6455 section 7.4.1 and its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent a close frame, and was answered.
    PeerClosed,
    /// The peer vanished: end of stream or reset without a close frame.
    PeerGone,
    /// The hub is shutting down: close code 1001.
    Shutdown,
    /// The peer broke the protocol (RFC 6455): close code 1002.
    ProtocolViolation,
    /// A text message held invalid UTF-8 (RFC 6455 section 8.1): close code 1007.
    InvalidUtf8,
    /// An inbound message or frame exceeded the limit: close code 1009.
    MessageTooBig,
    /// An inbound message came in more fragments than it may have: close code 1008.
    TooManyFragments,
    /// The peer sent more than it may, for longer than it may: close code 1008.
    TooManyMessages,
    /// A message to all clients did not fit into this client's queue: close code 1013.
    Overflow,
    /// Nothing came from the peer for the heartbeat's time: close code 1001.
    HeartbeatTimeout,
    /// The application asked for it, with [`Client::close`](crate::Client::close): close code 1008.
    Kicked,
    /// Handling this connection panicked (a callback of the application, as a rule): close code 1011.
    Internal,
    /// What the client had shown of who it is has expired: close code 1008.
    Expired,
}

impl CloseReason {
    /// Every reason, in the order in which statistics list them.
    pub const ALL: [Self; 13] = [
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
        Self::Kicked,
        Self::Internal,
        Self::Expired,
    ];

    /// The close code the peer is sent, `None` where it began the close itself or is gone.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::PeerClosed | Self::PeerGone => None,
            Self::Shutdown | Self::HeartbeatTimeout => Some(1001),
            Self::ProtocolViolation => Some(1002),
            Self::InvalidUtf8 => Some(1007),
            Self::TooManyFragments | Self::TooManyMessages | Self::Kicked | Self::Expired => {
                Some(1008)
            }
            Self::MessageTooBig => Some(1009),
            Self::Internal => Some(1011),
            Self::Overflow => Some(1013),
        }
    }

    /// The name in statistics and logs; also the text of the close frame.
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
            Self::Kicked => "closed by the server",
            Self::Internal => "internal error",
            Self::Expired => "token expired",
        }
    }

    /// Whether what waits is still sent before the close frame.
    pub(crate) fn flushes(self) -> bool {
        matches!(
            self,
            Self::Shutdown | Self::Overflow | Self::Kicked | Self::Expired
        )
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Never 0.
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

/// Why something that was asked for was refused, without an end to the connection it was asked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// A request for a connection that is no WebSocket handshake (RFC 6455 section 4.2.1).
    Handshake,
    /// A request without an acceptable proof of who sends it: 401.
    Unauthorized,
    /// A request from a page of another site, or for what its sender may not do: 403.
    Forbidden,
    /// A request while the hub is shutting down: 503.
    Stopping,
    /// One connection more than there may be: 503.
    ConnectionLimit,
    /// One connection more than there may be from one address: 429.
    AddressLimit,
    /// A request whose header is too big: 431.
    HeaderSize,
    /// A connection on which no header of a request came in time.
    HeaderTimeout,
    /// A handshake that was answered, and whose peer did not let it finish in time.
    HandshakeTimeout,
    /// A request whose body is too big: 413.
    BodySize,
    /// A request whose body did not come in time: 408.
    BodyTimeout,
    /// A request that took too long in all, as where its peer does not read the answer: the connection is cut.
    RequestTimeout,
    /// A subscription to something that is no channel's name.
    Name,
    /// A subscription with an option of the wrong type.
    Options,
    /// A subscription that the application does not allow.
    Subscription,
    /// One subscription more than a client may have.
    SubscriptionLimit,
    /// A subscription to one channel more than there may be, or a message to it that would have been kept.
    ChannelLimit,
    /// One range more than a subscription may wait for.
    RangeLimit,
    /// A request to publish that holds no actions, or is not sent as JSON: 400, 415.
    Actions,
    /// A TLS handshake that failed, or did not end in time.
    Tls,
}

impl RefusalReason {
    /// Every reason, in the order in which statistics list them.
    pub const ALL: [Self; 20] = [
        Self::Handshake,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Stopping,
        Self::ConnectionLimit,
        Self::AddressLimit,
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
        Self::Tls,
    ];

    /// The name in statistics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "not a handshake",
            Self::Unauthorized => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::Stopping => "stopping",
            Self::ConnectionLimit => "connection limit",
            Self::AddressLimit => "address limit",
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
            Self::Tls => "TLS handshake",
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

/// Why accepting connections paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PauseReason {
    /// The process or the system had no descriptor or no memory left for a connection.
    Descriptors,
    /// As many requests as there may be were under way: see `server::ServeOptions`.
    Requests,
}

impl PauseReason {
    /// Every reason, in the order in which statistics list them.
    pub const ALL: [Self; 2] = [Self::Descriptors, Self::Requests];

    /// The name in statistics and logs.
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
