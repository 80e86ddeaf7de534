//! One connection to a server, for callers that read its messages themselves.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::time::Duration;

use super::attempt::establish;
use super::endpoint::Endpoint;
use super::event::DisconnectReason;
use super::live_socket::LiveSocket;
use super::watcher::MAX_CONNECT_TIMEOUT;

/// An open connection, and the requests that were not given to it yet.
pub(crate) struct Link {
    socket: LiveSocket,
    unsent: VecDeque<String>,
}

/// The reason why there is no link.
pub(crate) struct LinkFailure {
    pub(crate) reason: DisconnectReason,
    /// Whether the server refuses because it would close a loop of relays.
    pub(crate) is_loop: bool,
}

impl Link {
    /// Connects. Fails after 10 s, or after `idle_timeout` if that is shorter.
    pub(crate) async fn open(
        endpoint: Endpoint,
        idle_timeout: Duration,
    ) -> Result<Self, LinkFailure> {
        let limit = idle_timeout.min(MAX_CONNECT_TIMEOUT);
        let established = establish(vec![endpoint], false, limit)
            .await
            .map_err(|failure| LinkFailure {
                reason: failure.reason,
                is_loop: failure.is_loop,
            })?;
        Ok(Self {
            socket: LiveSocket::new(established.socket, idle_timeout),
            unsent: VecDeque::new(),
        })
    }

    /// Sends a request with the next call of [`Link::frame`].
    pub(crate) fn send(&mut self, request: String) {
        self.unsent.push_back(request);
    }

    /// Waits for a frame, whose messages [`Link::next_message`] then returns.
    ///
    /// # Cancel safety
    /// No frame and no request is lost if the future is dropped.
    pub(crate) async fn frame(&mut self) -> Result<(), DisconnectReason> {
        poll_fn(|cx| {
            self.socket.send(cx, &mut self.unsent);
            self.socket.poll_frame(cx)
        })
        .await
    }

    /// Returns the next message of the current frame.
    pub(crate) fn next_message(&mut self) -> Option<&str> {
        self.socket.next_message()
    }

    /// Returns whether the server sent anything but a close frame.
    pub(crate) fn is_good(&self) -> bool {
        self.socket.is_good()
    }
}
