//! One thread of many clients: sockets, epoll and one read buffer for all of them.
//!
//! It must not be the bottleneck: a read takes all that waits (up to [`READ_BYTES`]), frames are cut and checked where
//! they lie, and only the cut frame at the end of a read is copied, to be put before the next.

use crate::client::{Client, End, State, Taken};
use crate::clock::{self, MILLISECOND, SECOND};
use crate::control::{Control, Phase};
use crate::frame::{MAX_FRAME, PONG, push_client_frame};
use crate::seat::{Seat, comes_and_goes};
use crate::stamp::LineShape;
use crate::tally::Tally;
use crate::target::Target;
use crate::workload::{Role, Workload};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// One read's worth. Larger reads cost fewer system calls, but leave the cache.
const READ_BYTES: usize = 256 * 1024;

/// Upgrades under way at once, per thread: well below any listen backlog.
const JOINS_AT_ONCE: usize = 64;

/// How long a connection and its subscriptions may take.
const JOIN_TIMEOUT: u64 = 20 * SECOND;

/// Who does not read sends a pong this often, as a browser's network thread does for a page that is stuck: else the server takes it for gone.
const SIGN_OF_LIFE: u64 = 10 * SECOND;

/// Of its time, a stalled client that wakes reads for this part of its stall.
const WAKING: u64 = 3;

/// Slow readers read this often.
const SLOW_TICK: u64 = 20 * MILLISECOND;

/// What a thread hands back.
pub(crate) struct Gathered {
    pub(crate) clients: Vec<Client>,
    pub(crate) tally: Tally,
    /// When its last first-time join was proved.
    pub(crate) joined_at: u64,
}

pub(crate) struct Receiver {
    target: Arc<Target>,
    workload: Arc<Workload>,
    shape: LineShape,
    control: Arc<Control>,
    epoll: OwnedFd,
    seats: Vec<Seat>,
    buffer: Vec<u8>,
    tally: Tally,
    next_join: usize,
    joining: usize,
    joined_at: u64,
    slow: Vec<usize>,
    stalled: Vec<usize>,
    churners: Vec<usize>,
    /// Of the interval for which latencies were given last.
    interval: u64,
    next_sign: u64,
}

/// Starts thread `index` of `workload.threads`; every so many-th client is its.
pub(crate) fn start(
    target: Arc<Target>,
    workload: Arc<Workload>,
    control: Arc<Control>,
    index: usize,
) -> std::io::Result<JoinHandle<Result<Gathered, String>>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let control_number = control.interval.number();
    let seats: Vec<Seat> = (index..workload.clients())
        .step_by(workload.threads)
        .map(|number| Seat::new(Client::new(number, &workload)))
        .collect();
    let with_role = |wanted: fn(Role) -> bool| {
        seats
            .iter()
            .enumerate()
            .filter(|(_, s)| wanted(s.client.role))
            .map(|(i, _)| i)
            .collect()
    };
    let receiver = Receiver {
        slow: with_role(|role| matches!(role, Role::Slow(_))),
        stalled: with_role(|role| role == Role::Stalled),
        churners: with_role(comes_and_goes),
        shape: LineShape::new(workload.line_bytes),
        target,
        workload,
        control,
        epoll,
        seats,
        buffer: vec![0; READ_BYTES],
        tally: Tally::new(),
        next_join: 0,
        joining: 0,
        joined_at: 0,
        interval: control_number,
        next_sign: 0,
    };
    std::thread::Builder::new()
        .name(format!("receiver-{index}"))
        .spawn(move || receiver.run())
}

impl Receiver {
    fn run(mut self) -> Result<Gathered, String> {
        let control = Arc::clone(&self.control);
        self.receive()
            .inspect_err(|_| control.fail())
            .map(|()| Gathered {
                clients: self.seats.into_iter().map(|seat| seat.client).collect(),
                tally: self.tally,
                joined_at: self.joined_at,
            })
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
        let mut next_tick = clock::now() + SLOW_TICK;
        let mut drained = false;
        loop {
            while self.next_join < self.seats.len() && self.joining < JOINS_AT_ONCE {
                self.open(self.next_join)?;
                self.next_join += 1;
                self.joining += 1;
            }
            let timeout = clock::timespec(SLOW_TICK);
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(format!("epoll failed: {e}")),
            }
            let phase = self.control.phase();
            self.tally
                .set_window(self.control.origin(), self.control.window());
            for event in &events {
                self.read(event.data.u64() as usize, READ_BYTES, phase)?;
            }
            if phase == Phase::Stop {
                return Ok(());
            }
            if self.control.interval.number() != self.interval {
                self.interval = self.control.interval.number();
                self.tally.give(&self.control.interval);
            }
            if phase >= Phase::Drain && !drained {
                drained = true;
                self.wake_sleepers()?;
            }
            let now = clock::now();
            if now >= next_tick {
                next_tick = now + SLOW_TICK;
                self.tick(now, phase)?;
            }
        }
    }

    /// Connects, and asks for the upgrade.
    fn open(&mut self, index: usize) -> Result<(), String> {
        let seat = &mut self.seats[index];
        let number = seat.client.number;
        let socket = TcpStream::connect_timeout(&self.target.addr, Duration::from_secs(10))
            .and_then(|socket| {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
                Ok(socket)
            })
            .map_err(|e| {
                format!(
                    "client {number} could not connect to {}: {e}",
                    self.target.addr
                )
            })?;
        seat.socket = Some(socket);
        self.control.set_open(true);
        seat.watched = true;
        seat.arriving = true;
        seat.parting = false;
        seat.kept.clear();
        seat.deadline = clock::now() + JOIN_TIMEOUT;
        seat.client
            .begin(&self.target.host, &self.target.path, &self.target.headers);
        self.flush(index)
    }

    /// Sends what the client has to say. Its few bytes fit the socket's buffer; if not, this waits for the server.
    fn flush(&mut self, index: usize) -> Result<(), String> {
        let seat = &mut self.seats[index];
        let (Some(mut socket), number) = (seat.socket.as_ref(), seat.client.number) else {
            return Ok(());
        };
        let mut rest = &seat.client.outbox[..];
        while !rest.is_empty() {
            match socket.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let patience = clock::timespec(10 * SECOND);
                    let mut ready = [rustix::event::PollFd::new(
                        &socket,
                        rustix::event::PollFlags::OUT,
                    )];
                    if rustix::event::poll(&mut ready, Some(&patience)) == Ok(0) {
                        return Err(format!(
                            "client {number} could not send for 10 s: the server does not read"
                        ));
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // The server has closed; the next read says how.
                Err(_) => break,
            }
        }
        seat.client.outbox.clear();
        Ok(())
    }

    fn read(&mut self, index: usize, limit: usize, phase: Phase) -> Result<(), String> {
        let seat = &mut self.seats[index];
        let Some(mut socket) = seat.socket.as_ref() else {
            return Ok(());
        };
        let kept = seat.kept.len();
        let end = (kept + limit).min(self.buffer.len());
        self.buffer[..kept].copy_from_slice(&seat.kept);
        let outcome = match socket.read(&mut self.buffer[kept..end]) {
            Ok(0) => Err(End::Closed(
                "the end of the stream, without a close frame".to_owned(),
            )),
            Ok(n) => {
                let now = clock::now();
                let bytes = &self.buffer[..kept + n];
                seat.client
                    .take(bytes, now, &self.shape, &self.workload, &mut self.tally)
                    .inspect(|taken| {
                        self.tally
                            .arrived(now, taken.lines, taken.skipped, n as u64);
                        seat.kept.clear();
                        seat.kept.extend_from_slice(&bytes[taken.bytes..]);
                    })
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(e) => Err(End::Closed(e.to_string())),
        };
        match outcome {
            Ok(taken) => self.took(index, &taken, phase),
            Err(end) => self.ended(index, end, phase),
        }
    }

    /// After a read: passes on what it changed.
    fn took(&mut self, index: usize, taken: &Taken, phase: Phase) -> Result<(), String> {
        if taken.needed > self.buffer.len() {
            self.buffer
                .resize(taken.needed.next_power_of_two().min(2 * MAX_FRAME), 0);
        }
        let seat = &mut self.seats[index];
        if seat.client.role != Role::Churner {
            if taken.lines + taken.skipped > 0 {
                if seat.client.role != Role::Resumer {
                    self.control.add_received(taken.lines, taken.skipped);
                }
                self.control
                    .set_progress(seat.client.number, seat.client.progress());
            }
            if !seat.ended && seat.client.has_ended() {
                seat.ended = true;
                self.control.add_ended();
            }
        }
        match seat.client.state {
            State::Live if seat.arriving => self.joined(index, phase)?,
            State::Left if !seat.parting => {
                seat.parting = true;
                seat.client.close();
            }
            _ => {}
        }
        if self.seats[index].client.outbox.is_empty() {
            Ok(())
        } else {
            self.flush(index)
        }
    }

    fn joined(&mut self, index: usize, phase: Phase) -> Result<(), String> {
        let now = clock::now();
        let seat = &mut self.seats[index];
        seat.arriving = false;
        seat.deadline = u64::MAX;
        if !seat.counted {
            seat.counted = true;
            self.joining -= 1;
            self.joined_at = now;
            self.control.add_joined();
        }
        if std::mem::take(&mut seat.away) {
            self.control.set_away(false);
        }
        match seat.client.role {
            Role::Churner | Role::Resumer => {
                seat.deadline = now + self.workload.churn_stay.as_nanos() as u64
            }
            // Who comes back when the feeding is over has nothing to wait for.
            Role::Stalled | Role::Slow(_) if phase == Phase::Run => {
                seat.deadline = self
                    .workload
                    .stall
                    .map_or(u64::MAX, |stall| now + stall.as_nanos() as u64);
                self.watch(index, false)?;
            }
            Role::Stalled | Role::Slow(_) | Role::Reader => {}
        }
        Ok(())
    }

    /// Puts a client's socket into the epoll set, or takes it out.
    fn watch(&mut self, index: usize, watched: bool) -> Result<(), String> {
        let seat = &mut self.seats[index];
        if let (Some(socket), true) = (&seat.socket, seat.watched != watched) {
            let done = if watched {
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)
            } else {
                epoll::delete(&self.epoll, socket)
            };
            done.map_err(|e| format!("epoll failed: {e}"))?;
            seat.watched = watched;
        }
        Ok(())
    }

    /// Whether the server closed a client whose queue had no room for a message to everybody. Who does not read may be cut off before the
    /// close frame has reached it.
    fn is_overflow(&self, index: usize, why: &str, phase: Phase) -> bool {
        let seat = &self.seats[index];
        let told = why.starts_with("close code 1013");
        self.workload.comes_back
            && phase < Phase::Ending
            && seat.client.state != State::Left
            && (told || !seat.reads() && !why.starts_with("close code"))
    }

    /// Gone, to come back.
    fn go_away(&mut self, index: usize) {
        if !std::mem::replace(&mut self.seats[index].away, true) {
            self.control.set_away(true);
        }
    }

    /// The connection is over: expected of a server that ends and of a churner that left, a fault of any other.
    fn ended(&mut self, index: usize, end: End, phase: Phase) -> Result<(), String> {
        self.flush(index)?;
        let (broken, why) = match end {
            End::Closed(why) => (false, why),
            End::Broken(why) => (true, why),
        };
        if !broken && self.is_overflow(index, &why, phase) {
            self.control.add_overflow();
            self.hang_up(index);
            self.go_away(index);
            return self.open(index);
        }
        let seat = &mut self.seats[index];
        let number = seat.client.number;
        if seat.arriving && phase < Phase::Ending {
            return Err(format!("client {number} could not join: {why}"));
        }
        if broken {
            self.tally.fault(|| format!("client {number}: {why}"));
        } else if phase < Phase::Ending && seat.client.state != State::Left {
            self.tally
                .fault(|| format!("client {number} was disconnected by the server: {why}"));
        }
        self.hang_up(index);
        let seat = &mut self.seats[index];
        if comes_and_goes(seat.client.role) && phase < Phase::Ending {
            self.control.add_visit();
            if phase == Phase::Run && seat.client.role == Role::Resumer && seat.visits % 4 > 1 {
                // Away for a while, so that there is something to catch up with.
                seat.away_until = clock::now() + self.workload.churn_stay.as_nanos() as u64;
                self.go_away(index);
            } else if phase == Phase::Run || seat.client.role == Role::Resumer {
                self.go_away(index);
                self.open(index)?;
            }
        } else if seat.client.role == Role::Churner {
            self.control.add_visit();
        } else if !seat.ended {
            seat.ended = true;
            self.control.add_ended();
        }
        Ok(())
    }

    /// Drops the connection.
    fn hang_up(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        if seat.socket.take().is_some() {
            self.control.set_open(false);
        }
        seat.client.state = State::Closed;
    }

    /// Feeding is over: the stalled and the slow read what waits for them.
    fn wake_sleepers(&mut self) -> Result<(), String> {
        for at in 0..self.stalled.len() + self.slow.len() {
            let index = self
                .stalled
                .iter()
                .chain(&self.slow)
                .copied()
                .nth(at)
                .expect("`at` is within both");
            self.watch(index, true)?;
        }
        Ok(())
    }

    /// Stalled clients that wake now and then, and signs of life from those that do not read.
    fn tend_sleepers(&mut self, now: u64) -> Result<(), String> {
        let signs = now >= self.next_sign;
        if signs {
            self.next_sign = now + SIGN_OF_LIFE;
        }
        for at in 0..self.stalled.len() {
            let index = self.stalled[at];
            let seat = &mut self.seats[index];
            if let (Some(stall), State::Live, true) =
                (self.workload.stall, seat.client.state, now >= seat.deadline)
            {
                let wakes = !seat.watched;
                let stall = stall.as_nanos() as u64;
                seat.deadline = now + if wakes { stall / WAKING } else { stall };
                self.watch(index, wakes)?;
            }
        }
        for at in 0..if signs {
            self.stalled.len() + self.slow.len()
        } else {
            0
        } {
            let index = self
                .stalled
                .iter()
                .chain(&self.slow)
                .copied()
                .nth(at)
                .expect("`at` is within both");
            let seat = &mut self.seats[index];
            if seat.client.state == State::Live && !seat.watched {
                push_client_frame(&mut seat.client.outbox, PONG, b"");
                self.flush(index)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: u64, phase: Phase) -> Result<(), String> {
        if phase == Phase::Run {
            self.tend_sleepers(now)?;
        }
        for at in 0..if phase == Phase::Run {
            self.slow.len()
        } else {
            0
        } {
            let index = self.slow[at];
            let seat = &self.seats[index];
            if let (Role::Slow(per_second), State::Live, false) =
                (seat.client.role, seat.client.state, seat.watched)
            {
                let share = (per_second * SLOW_TICK / SECOND).max(1) as usize;
                self.read(index, share, phase)?;
            }
        }
        for at in 0..self.churners.len() {
            let index = self.churners[at];
            let seat = &mut self.seats[index];
            if seat.away_until != u64::MAX
                && phase < Phase::Ending
                && (now >= seat.away_until || phase != Phase::Run)
            {
                seat.away_until = u64::MAX;
                self.open(index)?;
                continue;
            }
            if phase != Phase::Run || now < seat.deadline {
                continue;
            }
            if seat.client.state != State::Live {
                continue;
            }
            seat.visits += 1;
            if seat.visits.is_multiple_of(2) {
                // Every other visit ends without a word, as when a browser is closed.
                seat.client.state = State::Left;
                self.ended(index, End::Closed("left".to_owned()), phase)?;
            } else {
                seat.deadline = now + JOIN_TIMEOUT;
                seat.client.leave(&self.workload);
                self.flush(index)?;
            }
        }
        let overdue = self
            .seats
            .iter()
            .find(|seat| seat.arriving && seat.deadline < now);
        match overdue {
            Some(seat) => Err(format!(
                "client {} could not join: no answer for {} s",
                seat.client.number,
                JOIN_TIMEOUT / SECOND
            )),
            None => Ok(()),
        }
    }
}
