//! A client and its connection, as the thread that holds it sees them.

use crate::client::Client;
use crate::workload::Role;
use std::net::TcpStream;

/// A client and its connection.
pub(super) struct Seat {
    pub(super) client: Client,
    pub(super) socket: Option<TcpStream>,
    /// A frame that was cut, until the rest comes.
    pub(super) kept: Vec<u8>,
    /// Its first join was proved.
    pub(super) counted: bool,
    /// Connecting, or waiting for the proof of its subscriptions.
    pub(super) arriving: bool,
    /// A churner that has said its close.
    pub(super) parting: bool,
    /// Gone, and to come back.
    pub(super) away: bool,
    /// Done with every channel, or closed.
    pub(super) ended: bool,
    /// In the epoll set.
    pub(super) watched: bool,
    /// When joining or leaving has taken too long; of a churner that has joined, when it leaves; of a stalled client, when it wakes or stalls again.
    pub(super) deadline: u64,
    pub(super) visits: u64,
    /// A resumer that is away, until when.
    pub(super) away_until: u64,
}

impl Seat {
    /// Not connected yet.
    pub(super) fn new(client: Client) -> Seat {
        Seat {
            client,
            socket: None,
            kept: Vec::new(),
            counted: false,
            arriving: false,
            parting: false,
            away: false,
            ended: false,
            watched: false,
            deadline: u64::MAX,
            visits: 0,
            away_until: u64::MAX,
        }
    }

    /// Whether it reads whatever comes, whenever it comes.
    pub(super) fn reads(&self) -> bool {
        !matches!(self.client.role, Role::Stalled | Role::Slow(_))
    }
}

/// Whether a client joins and leaves all the time.
pub(super) fn comes_and_goes(role: Role) -> bool {
    matches!(role, Role::Churner | Role::Resumer)
}
