//! One thread of many clients: sockets, epoll and one read buffer for all of them.
//!
//! It must not be the bottleneck: a read takes all that waits (up to [`READ_BYTES`]), frames are cut and checked where
//! they lie, and only the cut frame at the end of a read is copied, to be put before the next.

use super::client::{Client, End, State, Taken};
use super::clock::{self, MILLISECOND, SECOND};
use super::control::{Control, Phase};
use super::frame::MAX_FRAME;
use super::stamp::LineShape;
use super::tally::Tally;
use super::target::Target;
use super::workload::{Role, Workload};
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
const JOIN_PATIENCE: u64 = 20 * SECOND;

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
    churners: Vec<usize>,
}

/// A client and its connection.
struct Seat {
    client: Client,
    socket: Option<TcpStream>,
    /// A frame that was cut, until the rest comes.
    kept: Vec<u8>,
    /// Its first join was proved.
    counted: bool,
    /// Connecting, or waiting for the proof of its subscriptions.
    arriving: bool,
    /// A churner that has said its close.
    parting: bool,
    /// Done with every channel, or closed.
    ended: bool,
    /// In the epoll set.
    watched: bool,
    /// When joining or leaving has taken too long; of a churner that has joined, when it leaves.
    deadline: u64,
    visits: u64,
    /// A resumer that is away, until when.
    away_until: u64,
}

fn comes_and_goes(role: Role) -> bool {
    matches!(role, Role::Churner | Role::Resumer)
}

/// Starts thread `index` of `workload.threads`; every so many-th client is its.
pub(crate) fn start(
    target: Arc<Target>,
    workload: Arc<Workload>,
    control: Arc<Control>,
    index: usize,
) -> std::io::Result<JoinHandle<Result<Gathered, String>>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let seats: Vec<Seat> = (index..workload.clients())
        .step_by(workload.threads)
        .map(|number| Seat {
            client: Client::new(number, &workload),
            socket: None,
            kept: Vec::new(),
            counted: false,
            arriving: false,
            parting: false,
            ended: false,
            watched: false,
            deadline: u64::MAX,
            visits: 0,
            away_until: u64::MAX,
        })
        .collect();
    let with_role = |wanted: fn(Role) -> bool| {
        seats.iter().enumerate().filter(|(_, s)| wanted(s.client.role)).map(|(i, _)| i).collect()
    };
    let receiver = Receiver {
        slow: with_role(|role| matches!(role, Role::Slow(_))),
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
    };
    std::thread::Builder::new().name(format!("receiver-{index}")).spawn(move || receiver.run())
}

impl Receiver {
    fn run(mut self) -> Result<Gathered, String> {
        let control = Arc::clone(&self.control);
        self.receive().inspect_err(|_| control.fail()).map(|()| Gathered {
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
            self.tally.set_window(self.control.origin(), self.control.window());
            for event in &events {
                self.read(event.data.u64() as usize, READ_BYTES, phase)?;
            }
            if phase == Phase::Stop {
                return Ok(());
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
            .map_err(|e| format!("client {number} could not connect to {}: {e}", self.target.addr))?;
        seat.socket = Some(socket);
        seat.watched = true;
        seat.arriving = true;
        seat.parting = false;
        seat.kept.clear();
        seat.deadline = clock::now() + JOIN_PATIENCE;
        seat.client.begin(&self.target.host, &self.target.path, &self.target.headers);
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
                    let mut ready = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::OUT)];
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
            Ok(0) => Err(End::Closed("the end of the stream, without a close frame".to_owned())),
            Ok(n) => {
                let now = clock::now();
                let bytes = &self.buffer[..kept + n];
                seat.client.take(bytes, now, &self.shape, &self.workload, &mut self.tally).inspect(|taken| {
                    self.tally.arrived(now, taken.lines, taken.skipped, n as u64);
                    seat.kept.clear();
                    seat.kept.extend_from_slice(&bytes[taken.bytes..]);
                })
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(e) => Err(End::Closed(e.to_string())),
        };
        match outcome {
            Ok(taken) => self.took(index, &taken),
            Err(end) => self.ended(index, end, phase),
        }
    }

    /// After a read: passes on what it changed.
    fn took(&mut self, index: usize, taken: &Taken) -> Result<(), String> {
        if taken.needed > self.buffer.len() {
            self.buffer.resize(taken.needed.next_power_of_two().min(2 * MAX_FRAME), 0);
        }
        let seat = &mut self.seats[index];
        if seat.client.role != Role::Churner {
            if taken.lines + taken.skipped > 0 {
                if seat.client.role != Role::Resumer {
                    self.control.add_received(taken.lines, taken.skipped);
                }
                self.control.set_progress(seat.client.number, seat.client.progress());
            }
            if !seat.ended && seat.client.has_ended() {
                seat.ended = true;
                self.control.add_ended();
            }
        }
        match seat.client.state {
            State::Live if seat.arriving => self.joined(index)?,
            State::Left if !seat.parting => {
                seat.parting = true;
                seat.client.close();
            }
            _ => {}
        }
        if self.seats[index].client.outbox.is_empty() { Ok(()) } else { self.flush(index) }
    }

    fn joined(&mut self, index: usize) -> Result<(), String> {
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
        match seat.client.role {
            Role::Churner | Role::Resumer => seat.deadline = now + self.workload.churn_stay.as_nanos() as u64,
            Role::Stalled | Role::Slow(_) => {
                let socket = seat.socket.as_ref().expect("a client that has just joined is connected");
                epoll::delete(&self.epoll, socket).map_err(|e| format!("epoll failed: {e}"))?;
                seat.watched = false;
            }
            Role::Reader => {}
        }
        Ok(())
    }

    /// The connection is over: expected of a server that ends and of a churner that left, a fault of any other.
    fn ended(&mut self, index: usize, end: End, phase: Phase) -> Result<(), String> {
        self.flush(index)?;
        let seat = &mut self.seats[index];
        let number = seat.client.number;
        let (broken, why) = match end {
            End::Closed(why) => (false, why),
            End::Broken(why) => (true, why),
        };
        if seat.arriving && phase < Phase::Ending {
            return Err(format!("client {number} could not join: {why}"));
        }
        if broken {
            self.tally.fault(|| format!("client {number}: {why}"));
        } else if phase < Phase::Ending && seat.client.state != State::Left {
            self.tally.fault(|| format!("client {number} was disconnected by the server: {why}"));
        }
        seat.socket = None;
        seat.client.state = State::Closed;
        if comes_and_goes(seat.client.role) && phase < Phase::Ending {
            self.control.add_visit();
            if phase == Phase::Run && seat.client.role == Role::Resumer && seat.visits % 4 > 1 {
                // Away for a while, so that there is something to catch up with.
                seat.away_until = clock::now() + self.workload.churn_stay.as_nanos() as u64;
            } else if phase == Phase::Run || seat.client.role == Role::Resumer {
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

    /// Feeding is over: the stalled and the slow read what waits for them.
    fn wake_sleepers(&mut self) -> Result<(), String> {
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let sleeps = matches!(seat.client.role, Role::Stalled | Role::Slow(_)) && !seat.watched;
            if let (true, Some(socket)) = (sleeps, &seat.socket) {
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN)
                    .map_err(|e| format!("epoll failed: {e}"))?;
                seat.watched = true;
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: u64, phase: Phase) -> Result<(), String> {
        for at in 0..if phase == Phase::Run { self.slow.len() } else { 0 } {
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
                seat.deadline = now + JOIN_PATIENCE;
                seat.client.leave(&self.workload);
                self.flush(index)?;
            }
        }
        let overdue = self.seats.iter().find(|seat| seat.arriving && seat.deadline < now);
        match overdue {
            Some(seat) => Err(format!(
                "client {} could not join: no answer for {} s",
                seat.client.number,
                JOIN_PATIENCE / SECOND
            )),
            None => Ok(()),
        }
    }
}
