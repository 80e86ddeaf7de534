//! What the kernel alone costs: frames encoded beforehand in blocks of a given size, and nothing per socket but a bare
//! non-blocking `write`. Only the stamps in a block are made anew, once per block and not per client, so that the
//! same receivers can check order, completeness and latency. It never skips: no client gets further ahead of the
//! slowest than [`RING`] blocks.

use crate::clock;
use crate::frame::push_server_text;
use crate::stamp::{LineShape, STAMP_BYTES, Stamp};
use memchr::memmem;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Ready blocks at a time: enough that writing goes on while the slowest client reads, few enough to stay in a cache.
const RING: u64 = 4;

#[derive(clap::Args, Clone, Debug)]
pub struct FloorArgs {
    /// Clients to wait for
    #[arg(long)]
    clients: usize,
    /// Bytes of a line
    #[arg(long)]
    line_bytes: usize,
    /// Bytes per write, rounded to whole frames
    #[arg(long)]
    block_bytes: usize,
    /// Lines per second; without, as fast as the clients read
    #[arg(long)]
    rate: Option<u64>,
}

/// Accepts the clients, waits for `start END_NS ORIGIN_NS` on standard input, writes blocks, says how many lines on
/// standard output, and ends with its input.
pub(crate) fn run(args: &FloorArgs) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("the floor failed: {e}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    eprintln!(
        "listening on ws://{}/ws",
        listener.local_addr().map_err(failed)?
    );
    let sockets: Vec<TcpStream> = (0..args.clients)
        .map(|_| join(&listener))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let mut input = std::io::stdin().lock();
    let mut order = String::new();
    input.read_line(&mut order).map_err(failed)?;
    let mut times = order
        .split_ascii_whitespace()
        .skip(1)
        .map(str::parse::<u64>);
    let (Some(Ok(origin)), Some(Ok(end))) = (times.next(), times.next()) else {
        return Err(format!(
            "the floor expected \"start ORIGIN END\" on its input, not {order:?}"
        ));
    };
    let mut floor = Floor::new(args, sockets, origin, end);
    clock::sharpen_sleeps();
    floor.write_all().map_err(failed)?;
    println!("{} {} {}", floor.lines, floor.writes, floor.bytes);
    // Until the generator has drained.
    input.read_line(&mut order).map_err(failed)?;
    let mut last = Vec::new();
    push_server_text(&mut last, br#"{"type":"process_status","channel":"process:load","processId":"load","data":{"status":"exited","exitCode":0},"timestamp":"2026-01-01T00:00:00.000Z"}"#);
    last.extend_from_slice(&[0x88, 2, 0x03, 0xe9]);
    for mut socket in floor.lanes.into_iter().map(|lane| lane.socket) {
        socket
            .set_nonblocking(false)
            .and_then(|()| socket.write_all(&last))
            .map_err(failed)?;
    }
    Ok(())
}

/// One client: upgrade, then whatever it subscribes to, until its ping.
fn join(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    read_until(&mut stream, &mut bytes, |bytes| {
        match memmem::find(bytes, b"\r\n\r\n") {
            Some(end) => ControlFlow::Break(end + 4),
            None => ControlFlow::Continue(0),
        }
    })?;
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key:"))
        .unwrap_or_default();
    let accept = derive_accept_key(key.trim().as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )?;
    bytes.clear();
    read_until(&mut stream, &mut bytes, |bytes| match is_ping(bytes) {
        true => ControlFlow::Break(bytes.len()),
        false => ControlFlow::Continue(0),
    })?;
    let mut pong = Vec::new();
    push_server_text(
        &mut pong,
        br#"{"type":"pong","timestamp":"2026-01-01T00:00:00.000Z"}"#,
    );
    stream.write_all(&pong)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Whether the last of some masked frames is the ping that ends a join.
fn is_ping(mut bytes: &[u8]) -> bool {
    while bytes.len() >= 6 {
        // A client's frame is a server's with a mask of four bytes between header and payload.
        let short = usize::from(bytes[1] & 0x7f);
        let (header, length) = if short == 126 && bytes.len() >= 8 {
            (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]])))
        } else {
            (2, short)
        };
        let Some(masked) = bytes.get(header + 4..header + 4 + length) else {
            return false;
        };
        let mask = &bytes[header..header + 4];
        let plain: Vec<u8> = masked
            .iter()
            .zip(mask.iter().cycle())
            .map(|(b, m)| b ^ m)
            .collect();
        if memmem::find(&plain, b"\"ping\"").is_some() {
            return true;
        }
        bytes = &bytes[header + 4 + length..];
    }
    false
}

fn read_until(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> ControlFlow<usize, usize>,
) -> std::io::Result<()> {
    let mut chunk = [0; 4096];
    while done(bytes).is_continue() {
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
    Ok(())
}

struct Floor {
    lanes: Vec<Lane>,
    /// Block `n` is in place `n % RING`.
    ring: Vec<Vec<u8>>,
    /// Blocks made ready so far.
    ready: u64,
    /// Where each frame's stamp stands in a block.
    stamps: Vec<usize>,
    rate: Option<u64>,
    origin: u64,
    end: u64,
    lines: u64,
    writes: u64,
    bytes: u64,
}

struct Lane {
    socket: TcpStream,
    /// The block it gets next, and how much of it the kernel has taken.
    block: u64,
    offset: usize,
    /// The kernel took less than it was offered.
    full: bool,
}

impl Floor {
    fn new(args: &FloorArgs, sockets: Vec<TcpStream>, origin: u64, end: u64) -> Floor {
        let frame = ready_frame(args.line_bytes);
        let stamp = memmem::find(&frame, b"\"~").map_or(0, |at| at + 1);
        let frames = (args.block_bytes as f64 / frame.len() as f64)
            .round()
            .max(1.0) as usize;
        Floor {
            lanes: sockets
                .into_iter()
                .map(|socket| Lane {
                    socket,
                    block: 0,
                    offset: 0,
                    full: false,
                })
                .collect(),
            ring: (0..RING).map(|_| frame.repeat(frames)).collect(),
            ready: 0,
            stamps: (0..frames).map(|i| i * frame.len() + stamp).collect(),
            rate: args.rate,
            origin,
            end,
            lines: 0,
            writes: 0,
            bytes: 0,
        }
    }

    /// Blocks of lines to all, each when its last line is due, until the end and until all have them.
    fn write_all(&mut self) -> std::io::Result<()> {
        clock::sleep_until(self.origin);
        loop {
            let next = self.next_due();
            let now = clock::now();
            let has_room = self.slowest() + RING > self.ready;
            if let Some(due) = next
                && due <= now
                && has_room
            {
                self.make_ready(now);
            }
            self.write_ready()?;
            let all_written = self.slowest() == self.ready;
            match self.next_due() {
                None if all_written => return Ok(()),
                // All are full: whatever is due waits for them.
                next => self.wait_for_room(next.filter(|_| self.slowest() + RING > self.ready))?,
            }
        }
    }

    /// When the next block can be written; nothing after the end.
    fn next_due(&self) -> Option<u64> {
        let last = self.lines + self.stamps.len() as u64 - 1;
        let due = self.intended(last).unwrap_or_else(clock::now);
        (due < self.end).then_some(due)
    }

    fn intended(&self, line: u64) -> Option<u64> {
        let rate = self.rate?;
        Some(self.origin + (u128::from(line) * u128::from(clock::SECOND) / u128::from(rate)) as u64)
    }

    /// Linear in the number of clients, each of which costs a system call for the same block.
    fn slowest(&self) -> u64 {
        self.lanes
            .iter()
            .map(|lane| lane.block)
            .min()
            .unwrap_or(self.ready)
    }

    /// Stamps the next block.
    fn make_ready(&mut self, now: u64) {
        let place = (self.ready % RING) as usize;
        for (i, at) in self.stamps.iter().enumerate() {
            let sequence = self.lines + i as u64;
            let sent = self.intended(sequence).unwrap_or(now);
            Stamp {
                publisher: 0,
                sequence,
                sent,
            }
            .write(&mut self.ring[place][*at..*at + STAMP_BYTES]);
        }
        self.lines += self.stamps.len() as u64;
        self.ready += 1;
    }

    /// Writes what is ready to every socket that has room.
    fn write_ready(&mut self) -> std::io::Result<()> {
        for lane in &mut self.lanes {
            while lane.block < self.ready && !lane.full {
                let rest = &self.ring[(lane.block % RING) as usize][lane.offset..];
                let written = match lane.socket.write(rest) {
                    Ok(n) => n,
                    Err(e)
                        if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                    {
                        0
                    }
                    Err(e) => return Err(e),
                };
                self.writes += u64::from(written > 0);
                self.bytes += written as u64;
                lane.full = written < rest.len();
                lane.offset += written;
                if !lane.full {
                    lane.block += 1;
                    lane.offset = 0;
                }
            }
        }
        Ok(())
    }

    /// Sleeps until `due`, or until a full socket has room.
    fn wait_for_room(&mut self, due: Option<u64>) -> std::io::Result<()> {
        let mut full: Vec<&mut Lane> = self.lanes.iter_mut().filter(|lane| lane.full).collect();
        if full.is_empty() {
            due.into_iter().for_each(clock::sleep_until);
            return Ok(());
        }
        let timeout = due.map(|due| clock::timespec(due.saturating_sub(clock::now())));
        let mut waiting: Vec<PollFd<'_>> = full
            .iter()
            .map(|lane| PollFd::new(&lane.socket, PollFlags::OUT))
            .collect();
        poll(&mut waiting, timeout.as_ref())?;
        let room: Vec<bool> = waiting.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (lane, room) in full.iter_mut().zip(room) {
            lane.full = !room;
        }
        Ok(())
    }
}

/// A frame as the engine sends it.
fn ready_frame(line_bytes: usize) -> Vec<u8> {
    let mut line = LineShape::new(line_bytes).line();
    Stamp {
        publisher: 0,
        sequence: 0,
        sent: 0,
    }
    .write(&mut line);
    let message = format!(
        "{{\"type\":\"process_output\",\"channel\":\"process:load\",\"processId\":\"load\",\"data\":\"{}\",\"timestamp\":\"2026-01-01T00:00:00.000Z\"}}",
        String::from_utf8_lossy(&line)
    );
    let mut frame = Vec::new();
    push_server_text(&mut frame, message.as_bytes());
    frame
}

/// Bytes of the frame of one line, for turning lines per write into bytes.
pub(crate) fn frame_bytes(line_bytes: usize) -> usize {
    ready_frame(line_bytes).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Cut, PONG, TEXT, cut, push_client_frame};

    #[test]
    fn a_ready_frame_is_one_text_frame_whose_line_receivers_know() {
        let bytes = ready_frame(100);
        let Cut::Frame(frame) = cut(&bytes) else {
            panic!("no frame")
        };
        assert_eq!((frame.opcode, frame.len), (TEXT, bytes.len()));
        let mut hint = 0;
        assert!(crate::stamp::find(frame.payload, &mut hint).is_some());
        assert!(LineShape::new(100).follows(frame.payload, hint));
    }

    #[test]
    fn the_ping_that_ends_a_join_is_found_behind_subscriptions_only_when_whole() {
        let mut bytes = Vec::new();
        push_client_frame(&mut bytes, PONG, b"");
        push_client_frame(&mut bytes, TEXT, &[b'x'; 300]);
        assert!(!is_ping(&bytes));
        push_client_frame(&mut bytes, TEXT, b"{\"type\":\"ping\"}");
        assert!(is_ping(&bytes));
        assert!(!is_ping(&bytes[..bytes.len() - 1]));
    }
}
