//! A client and its connection, as the thread that holds it sees them.

use super::load_client::LoadClient;
use crate::workload::ClientRole;
use std::net::TcpStream;

/// A client and its connection.
pub(super) struct ClientSlot {
    pub(super) client: LoadClient,
    pub(super) socket: Option<TcpStream>,
    /// The beginning of a frame whose rest has not arrived yet.
    pub(super) partial_frame: Vec<u8>,
    /// The first join was confirmed.
    pub(super) counted: bool,
    /// The client connects, or waits for the confirmation of its subscriptions.
    pub(super) joining: bool,
    /// The client has left and sent its close frame.
    pub(super) closing: bool,
    /// The client has disconnected and will reconnect.
    pub(super) away: bool,
    /// The client has the end of every channel, or was disconnected for good.
    pub(super) ended: bool,
    /// The socket is in the epoll set.
    pub(super) polled: bool,
    /// The time of the next action, by the state of the client.
    ///
    /// It is the time at which joining or leaving takes too long. For a churner that has joined, it
    /// is the time at which the client leaves. For a stalled client, it is the time at which the
    /// client starts or stops reading.
    pub(super) deadline_ns: u64,
    pub(super) visits: u64,
    /// The time at which a resumer that is away reconnects.
    pub(super) away_until_ns: u64,
}

impl ClientSlot {
    /// Makes the slot of a client that has not connected yet.
    pub(super) fn new(client: LoadClient) -> ClientSlot {
        ClientSlot {
            client,
            socket: None,
            partial_frame: Vec::new(),
            counted: false,
            joining: false,
            closing: false,
            away: false,
            ended: false,
            polled: false,
            deadline_ns: u64::MAX,
            visits: 0,
            away_until_ns: u64::MAX,
        }
    }

    /// Returns whether the client reads everything as soon as it arrives.
    pub(super) fn reads_at_once(&self) -> bool {
        !matches!(self.client.role, ClientRole::Stalled | ClientRole::Slow(_))
    }
}

/// Returns whether a client joins and leaves all the time.
pub(super) fn comes_and_goes(role: ClientRole) -> bool {
    matches!(role, ClientRole::Churner | ClientRole::Resumer)
}
