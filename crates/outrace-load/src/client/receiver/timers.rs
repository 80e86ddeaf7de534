//! The timed actions of clients: slow clients read, stalled ones wake up, churners leave.

use super::connection::JOIN_TIMEOUT_NS;
use super::{Receiver, ReceiverError, TICK_NS};
use crate::client::load_client::{ClientState, ConnectionEnd};
use crate::clock::NS_PER_SECOND;
use crate::measure::control::Phase;
use crate::wire::frame::{PONG, push_client_frame};
use crate::workload::ClientRole;

/// The interval at which a client that does not read sends a pong.
///
/// The network thread of a browser does the same for a page that hangs. Without it, the server
/// would consider the client gone.
const KEEP_ALIVE_NS: u64 = 10 * NS_PER_SECOND;

/// A stalled client that wakes up reads for its stall time divided by this.
const STALL_PER_WAKING: u64 = 3;

impl Receiver {
    pub(super) fn tick(&mut self, now_ns: u64, phase: Phase) -> Result<(), ReceiverError> {
        if phase == Phase::Run {
            self.tend_stalled(now_ns)?;
            self.keep_sleepers_alive(now_ns)?;
            self.read_slowly(phase)?;
        }
        for at in 0..self.churners.len() {
            self.tend_churner(self.churners[at], now_ns, phase)?;
        }
        let overdue = self
            .slots
            .iter()
            .find(|slot| slot.joining && slot.deadline_ns < now_ns);
        match overdue {
            Some(slot) => Err(ReceiverError::JoinTimeout {
                client: slot.client.number,
                seconds: JOIN_TIMEOUT_NS / NS_PER_SECOND,
            }),
            None => Ok(()),
        }
    }

    /// Lets all stalled and slow clients read their waiting bytes, since the feeding is over.
    pub(super) fn poll_all_sleepers(&mut self) -> Result<(), ReceiverError> {
        for index in self.sleepers() {
            self.set_polled(index, true)?;
        }
        Ok(())
    }

    fn sleepers(&self) -> Vec<usize> {
        self.stalled.iter().chain(&self.slow).copied().collect()
    }

    /// Lets stalled clients start or stop reading when their time has come.
    fn tend_stalled(&mut self, now_ns: u64) -> Result<(), ReceiverError> {
        let Some(stall) = self.workload.stall else {
            return Ok(());
        };
        let stall_ns = stall.as_nanos() as u64;
        for at in 0..self.stalled.len() {
            let index = self.stalled[at];
            let slot = &mut self.slots[index];
            if slot.client.state == ClientState::Live && now_ns >= slot.deadline_ns {
                let wakes = !slot.polled;
                slot.deadline_ns = now_ns
                    + if wakes {
                        stall_ns / STALL_PER_WAKING
                    } else {
                        stall_ns
                    };
                self.set_polled(index, wakes)?;
            }
        }
        Ok(())
    }

    /// Sends a pong for every client that does not read.
    fn keep_sleepers_alive(&mut self, now_ns: u64) -> Result<(), ReceiverError> {
        if now_ns < self.next_keep_alive_ns {
            return Ok(());
        }
        self.next_keep_alive_ns = now_ns + KEEP_ALIVE_NS;
        for index in self.sleepers() {
            let slot = &mut self.slots[index];
            if slot.client.state == ClientState::Live && !slot.polled {
                push_client_frame(&mut slot.client.outbox, PONG, b"");
                self.flush(index)?;
            }
        }
        Ok(())
    }

    /// Reads the share of this tick for every slow client.
    fn read_slowly(&mut self, phase: Phase) -> Result<(), ReceiverError> {
        for at in 0..self.slow.len() {
            let index = self.slow[at];
            let slot = &self.slots[index];
            if let (ClientRole::Slow(bytes_per_second), ClientState::Live, false) =
                (slot.client.role, slot.client.state, slot.polled)
            {
                let share = (bytes_per_second * TICK_NS / NS_PER_SECOND).max(1) as usize;
                self.read(index, share, phase)?;
            }
        }
        Ok(())
    }

    /// Lets a client that comes and goes leave or reconnect when its time has come.
    fn tend_churner(
        &mut self,
        index: usize,
        now_ns: u64,
        phase: Phase,
    ) -> Result<(), ReceiverError> {
        let slot = &mut self.slots[index];
        let returns = slot.away_until_ns != u64::MAX
            && phase < Phase::Ending
            && (now_ns >= slot.away_until_ns || phase != Phase::Run);
        if returns {
            slot.away_until_ns = u64::MAX;
            return self.connect(index);
        }
        if phase != Phase::Run
            || now_ns < slot.deadline_ns
            || slot.client.state != ClientState::Live
        {
            return Ok(());
        }
        slot.visits += 1;
        if slot.visits.is_multiple_of(2) {
            // Every other visit ends without a close frame, as when a browser is closed.
            slot.client.state = ClientState::Left;
            self.disconnected(index, ConnectionEnd::Closed("left".to_owned()), phase)
        } else {
            slot.deadline_ns = now_ns + JOIN_TIMEOUT_NS;
            slot.client.leave(&self.workload);
            self.flush(index)
        }
    }
}
