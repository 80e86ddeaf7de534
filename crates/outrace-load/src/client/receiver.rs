//! One thread of many clients: their sockets, an epoll set, and one read buffer for all of them.
//!
//! The thread must not be the bottleneck. A read takes all waiting bytes, up to [`READ_BYTES`].
//! Frames are parsed and checked in the read buffer. Only the incomplete frame at the end of a read
//! is copied, and precedes the next read.

mod connection;
mod timers;

use super::load_client::{ClientState, ConnectionEnd, LoadClient, ReadSummary, ReceiveContext};
use super::slot::{ClientSlot, comes_and_goes};
use crate::clock::{self, NS_PER_MS};
use crate::measure::control::{Phase, RoundControl};
use crate::measure::tally::ReceiverTally;
use crate::wire::frame::MAX_FRAME_BYTES;
use crate::wire::line_template::LineTemplate;
use crate::wire::target::Target;
use crate::workload::{ClientRole, Workload};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The size of one read. Larger reads cost fewer system calls, but do not fit into the cache.
const READ_BYTES: usize = 256 * 1024;

/// The most upgrades under way at once per thread. It is well below any listen backlog.
const MAX_PENDING_JOINS: usize = 64;

/// The interval at which timers are checked and slow clients read.
const TICK_NS: u64 = 20 * NS_PER_MS;

/// The reason why a receiver thread gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiverError {
    #[error("could not start a receiver: {0}")]
    Start(std::io::Error),
    #[error("epoll failed: {0}")]
    Epoll(#[from] rustix::io::Errno),
    #[error("client {client} could not connect to {addr}: {error}")]
    Connect {
        client: usize,
        addr: SocketAddr,
        error: std::io::Error,
    },
    #[error("client {client} could not send for {seconds} s: the server does not read")]
    SendTimeout { client: usize, seconds: u64 },
    #[error("client {client} could not join: {why}")]
    Join { client: usize, why: String },
    #[error("client {client} could not join: no response for {seconds} s")]
    JoinTimeout { client: usize, seconds: u64 },
    #[error("a receiver thread panicked")]
    Panicked,
}

/// The result of a receiver thread.
pub(crate) struct ReceiverResult {
    pub(crate) clients: Vec<LoadClient>,
    pub(crate) tally: ReceiverTally,
    /// The time at which the last first join was confirmed.
    pub(crate) joined_at_ns: u64,
}

pub(crate) struct Receiver {
    target: Arc<Target>,
    workload: Arc<Workload>,
    template: LineTemplate,
    control: Arc<RoundControl>,
    epoll: OwnedFd,
    slots: Vec<ClientSlot>,
    buffer: Vec<u8>,
    tally: ReceiverTally,
    /// The next slot to connect for the first time.
    next_join: usize,
    pending_joins: usize,
    joined_at_ns: u64,
    /// The indexes of the slow, stalled and churning clients.
    slow: Vec<usize>,
    stalled: Vec<usize>,
    churners: Vec<usize>,
    /// The number of the last answered request for latencies.
    answered_request: u64,
    next_keep_alive_ns: u64,
}

/// Starts thread `index`, which connects the clients with these numbers to `target`.
pub(crate) fn start(
    target: Arc<Target>,
    workload: Arc<Workload>,
    control: Arc<RoundControl>,
    index: usize,
    numbers: impl Iterator<Item = usize>,
) -> Result<JoinHandle<Result<ReceiverResult, ReceiverError>>, ReceiverError> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let answered_request = control.interval.request_number();
    let slots: Vec<ClientSlot> = numbers
        .map(|number| ClientSlot::new(LoadClient::new(number, &workload)))
        .collect();
    let with_role = |wanted: fn(ClientRole) -> bool| {
        slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| wanted(slot.client.role))
            .map(|(i, _)| i)
            .collect()
    };
    let receiver = Receiver {
        slow: with_role(|role| matches!(role, ClientRole::Slow(_))),
        stalled: with_role(|role| role == ClientRole::Stalled),
        churners: with_role(comes_and_goes),
        template: LineTemplate::new(workload.line_bytes),
        target,
        workload,
        control,
        epoll,
        slots,
        buffer: vec![0; READ_BYTES],
        tally: ReceiverTally::new(),
        next_join: 0,
        pending_joins: 0,
        joined_at_ns: 0,
        answered_request,
        next_keep_alive_ns: 0,
    };
    std::thread::Builder::new()
        .name(format!("receiver-{index}"))
        .spawn(move || receiver.run())
        .map_err(ReceiverError::Start)
}

impl Receiver {
    fn run(mut self) -> Result<ReceiverResult, ReceiverError> {
        let control = Arc::clone(&self.control);
        self.receive()
            .inspect_err(|_| control.fail())
            .map(|()| ReceiverResult {
                clients: self.slots.into_iter().map(|slot| slot.client).collect(),
                tally: self.tally,
                joined_at_ns: self.joined_at_ns,
            })
    }

    fn receive(&mut self) -> Result<(), ReceiverError> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
        let mut next_tick_ns = clock::now_ns() + TICK_NS;
        let mut draining = false;
        loop {
            while self.next_join < self.slots.len() && self.pending_joins < MAX_PENDING_JOINS {
                self.connect(self.next_join)?;
                self.next_join += 1;
                self.pending_joins += 1;
            }
            let timeout = clock::timespec(TICK_NS);
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let phase = self.control.phase();
            self.tally
                .set_window(self.control.origin_ns(), self.control.window_ns());
            for event in &events {
                self.read(event.data.u64() as usize, READ_BYTES, phase)?;
            }
            if phase == Phase::Stop {
                return Ok(());
            }
            let request = self.control.interval.request_number();
            if request != self.answered_request {
                self.answered_request = request;
                self.tally.share(&self.control.interval);
            }
            if phase >= Phase::Drain && !draining {
                draining = true;
                self.poll_all_sleepers()?;
            }
            let now_ns = clock::now_ns();
            if now_ns >= next_tick_ns {
                next_tick_ns = now_ns + TICK_NS;
                self.tick(now_ns, phase)?;
            }
        }
    }

    /// Reads at most `max_bytes` of a client's socket.
    fn read(&mut self, index: usize, max_bytes: usize, phase: Phase) -> Result<(), ReceiverError> {
        let slot = &mut self.slots[index];
        let Some(mut socket) = slot.socket.as_ref() else {
            return Ok(());
        };
        let kept = slot.partial_frame.len();
        let end = (kept + max_bytes).min(self.buffer.len());
        self.buffer[..kept].copy_from_slice(&slot.partial_frame);
        let result = match socket.read(&mut self.buffer[kept..end]) {
            Ok(0) => Err(ConnectionEnd::Closed(
                "the end of the stream, without a close frame".to_owned(),
            )),
            Ok(n) => {
                let now_ns = clock::now_ns();
                let bytes = &self.buffer[..kept + n];
                let mut context = ReceiveContext {
                    now_ns,
                    template: &self.template,
                    workload: &self.workload,
                    tally: &mut self.tally,
                };
                let result = slot.client.receive(bytes, &mut context);
                result.inspect(|summary| {
                    self.tally
                        .add_arrival(now_ns, summary.lines, summary.skipped, n as u64);
                    slot.partial_frame.clear();
                    slot.partial_frame
                        .extend_from_slice(&bytes[summary.bytes..]);
                })
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(e) => Err(ConnectionEnd::Closed(e.to_string())),
        };
        match result {
            Ok(summary) => self.after_read(index, &summary, phase),
            Err(end) => self.disconnected(index, end, phase),
        }
    }

    /// Reports the result of a read, and acts on what it changed.
    fn after_read(
        &mut self,
        index: usize,
        summary: &ReadSummary,
        phase: Phase,
    ) -> Result<(), ReceiverError> {
        if summary.needed_bytes > self.buffer.len() {
            let bytes = summary.needed_bytes.next_power_of_two();
            self.buffer.resize(bytes.min(2 * MAX_FRAME_BYTES), 0);
        }
        let slot = &mut self.slots[index];
        if slot.client.role != ClientRole::Churner {
            if summary.lines + summary.skipped > 0 {
                if slot.client.role != ClientRole::Resumer {
                    self.control.add_received(summary.lines, summary.skipped);
                }
                self.control
                    .set_progress(slot.client.number, slot.client.progress());
            }
            if !slot.ended && slot.client.has_ended() {
                slot.ended = true;
                self.control.add_ended();
            }
        }
        match slot.client.state {
            ClientState::Live if slot.joining => self.joined(index, phase)?,
            ClientState::Left if !slot.closing => {
                slot.closing = true;
                slot.client.close();
            }
            _ => {}
        }
        if self.slots[index].client.outbox.is_empty() {
            Ok(())
        } else {
            self.flush(index)
        }
    }
}
