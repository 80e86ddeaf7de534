//! The life of one client's connection: it connects, joins, ends, and connects again.

use super::{Receiver, ReceiverError};
use crate::client::load_client::{ClientState, ConnectionEnd};
use crate::client::slot::comes_and_goes;
use crate::clock::{self, NS_PER_SECOND};
use crate::measure::control::Phase;
use crate::workload::ClientRole;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that connecting and subscribing may take.
pub(super) const JOIN_TIMEOUT_NS: u64 = 20 * NS_PER_SECOND;

/// The longest time for which a client waits to send.
const SEND_TIMEOUT_NS: u64 = 10 * NS_PER_SECOND;

/// The first part of the reason when the server closes a client whose queue is full.
const OVERFLOW: &str = "close code 1013";

impl Receiver {
    /// Connects a client and requests the upgrade.
    pub(super) fn connect(&mut self, index: usize) -> Result<(), ReceiverError> {
        let slot = &mut self.slots[index];
        let addr = self.target.addr;
        let socket = TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT)
            .and_then(|socket| {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
                Ok(socket)
            })
            .map_err(|error| ReceiverError::Connect {
                client: slot.client.number,
                addr,
                error,
            })?;
        slot.socket = Some(socket);
        self.control.set_open(true);
        slot.polled = true;
        slot.joining = true;
        slot.closing = false;
        slot.partial_frame.clear();
        slot.deadline_ns = clock::now_ns() + JOIN_TIMEOUT_NS;
        slot.client
            .begin(&self.target.host, &self.target.path, &self.target.headers);
        self.flush(index)
    }

    /// Sends the client's outbox.
    ///
    /// Its few bytes fit into the socket's buffer. If they do not, this waits for the server.
    pub(super) fn flush(&mut self, index: usize) -> Result<(), ReceiverError> {
        let slot = &mut self.slots[index];
        let (Some(mut socket), number) = (slot.socket.as_ref(), slot.client.number) else {
            return Ok(());
        };
        let mut rest = &slot.client.outbox[..];
        while !rest.is_empty() {
            match socket.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let timeout = clock::timespec(SEND_TIMEOUT_NS);
                    let mut ready = [PollFd::new(&socket, PollFlags::OUT)];
                    if poll(&mut ready, Some(&timeout)) == Ok(0) {
                        return Err(ReceiverError::SendTimeout {
                            client: number,
                            seconds: SEND_TIMEOUT_NS / NS_PER_SECOND,
                        });
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // The server has closed the connection. The next read returns the reason.
                Err(_) => break,
            }
        }
        slot.client.outbox.clear();
        Ok(())
    }

    /// Handles the confirmation of a join.
    pub(super) fn joined(&mut self, index: usize, phase: Phase) -> Result<(), ReceiverError> {
        let now_ns = clock::now_ns();
        let slot = &mut self.slots[index];
        slot.joining = false;
        slot.deadline_ns = u64::MAX;
        if !slot.counted {
            slot.counted = true;
            self.pending_joins -= 1;
            self.joined_at_ns = now_ns;
            self.control.add_joined();
        }
        if std::mem::take(&mut slot.away) {
            self.control.set_away(false);
        }
        match slot.client.role {
            ClientRole::Churner | ClientRole::Resumer => {
                slot.deadline_ns = now_ns + self.workload.churn_stay.as_nanos() as u64;
            }
            // A client that reconnects after the feeding has no reason to stall.
            ClientRole::Stalled | ClientRole::Slow(_) if phase == Phase::Run => {
                slot.deadline_ns = self
                    .workload
                    .stall
                    .map_or(u64::MAX, |stall| now_ns + stall.as_nanos() as u64);
                self.set_polled(index, false)?;
            }
            ClientRole::Stalled | ClientRole::Slow(_) | ClientRole::Reader => {}
        }
        Ok(())
    }

    /// Adds a client's socket to the epoll set, or removes it.
    pub(super) fn set_polled(&mut self, index: usize, polled: bool) -> Result<(), ReceiverError> {
        let slot = &mut self.slots[index];
        if let (Some(socket), true) = (&slot.socket, slot.polled != polled) {
            if polled {
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)?;
            } else {
                epoll::delete(&self.epoll, socket)?;
            }
            slot.polled = polled;
        }
        Ok(())
    }

    /// Handles the end of a connection.
    ///
    /// The end is expected if the server ends or a churner has left. Otherwise it is a fault.
    pub(super) fn disconnected(
        &mut self,
        index: usize,
        end: ConnectionEnd,
        phase: Phase,
    ) -> Result<(), ReceiverError> {
        self.flush(index)?;
        let (invalid, why) = match end {
            ConnectionEnd::Closed(why) => (false, why),
            ConnectionEnd::Invalid(why) => (true, why),
        };
        if !invalid && self.is_overflow(index, &why, phase) {
            self.control.add_overflow();
            self.drop_connection(index);
            self.mark_away(index);
            return self.connect(index);
        }
        let slot = &mut self.slots[index];
        let number = slot.client.number;
        if slot.joining && phase < Phase::Ending {
            return Err(ReceiverError::Join {
                client: number,
                why,
            });
        }
        if invalid {
            self.tally.fault(|| format!("client {number}: {why}"));
        } else if phase < Phase::Ending && slot.client.state != ClientState::Left {
            self.tally
                .fault(|| format!("client {number} was disconnected by the server: {why}"));
        }
        self.drop_connection(index);
        let slot = &mut self.slots[index];
        if comes_and_goes(slot.client.role) && phase < Phase::Ending {
            self.control.add_visit();
            let resumer = slot.client.role == ClientRole::Resumer;
            if phase == Phase::Run && resumer && slot.visits % 4 > 1 {
                // The client stays away for a while, so that it misses something.
                slot.away_until_ns = clock::now_ns() + self.workload.churn_stay.as_nanos() as u64;
                self.mark_away(index);
            } else if phase == Phase::Run || resumer {
                self.mark_away(index);
                self.connect(index)?;
            }
        } else if slot.client.role == ClientRole::Churner {
            self.control.add_visit();
        } else if !slot.ended {
            slot.ended = true;
            self.control.add_ended();
        }
        Ok(())
    }

    /// Returns whether the server closed a client because a broadcast did not fit into its queue.
    ///
    /// A client that does not read may be cut off before the close frame has reached it.
    fn is_overflow(&self, index: usize, why: &str, phase: Phase) -> bool {
        let slot = &self.slots[index];
        let cut_off = !slot.reads_at_once() && !why.starts_with("close code");
        self.workload.reconnects
            && phase < Phase::Ending
            && slot.client.state != ClientState::Left
            && (why.starts_with(OVERFLOW) || cut_off)
    }

    fn mark_away(&mut self, index: usize) {
        if !std::mem::replace(&mut self.slots[index].away, true) {
            self.control.set_away(true);
        }
    }

    fn drop_connection(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if slot.socket.take().is_some() {
            self.control.set_open(false);
        }
        slot.client.state = ClientState::Closed;
    }
}
