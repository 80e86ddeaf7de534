//! The memory that clients cost the server's process, which is this program, started again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use outrace::Hub;

use outrace_testkit::socket::{FIN, PING, masked};
use outrace_testkit::{Server, Socket, resident_bytes};

/// The variable that makes a new process the server.
pub(crate) const SERVER: &str = "OUTRACE_FOOTPRINT_SERVER";
const CLIENTS: usize = 2000;

/// Serves until its standard input ends.
pub(crate) fn serve() {
    // One of the tests sends pings without end, which the default rate refuses.
    let unbounded = Hub::builder()
        .message_rate(1_000_000_000)
        .message_burst(1_000_000_000);
    let server = Server::with(unbounded);
    println!("{}", server.address);
    let _ = std::io::stdin().read(&mut [0]);
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(SERVER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            address: line.trim().parse().unwrap(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

pub(crate) fn an_idle_subscribed_client_costs_under_8_kib() {
    let process = Process::start();
    let connect = || {
        let mut socket = Socket::connect(process.address);
        socket.subscribe("process:p");
        socket
    };
    // The first pages of the runtime and the allocator do not count as memory of the clients.
    let _first: Vec<Socket> = (0..100).map(|_| connect()).collect();
    let before = resident_bytes(process.child.id());
    let _clients: Vec<Socket> = (0..CLIENTS).map(|_| connect()).collect();
    let each = resident_bytes(process.child.id()).saturating_sub(before) / CLIENTS;
    println!("memory: {each} bytes for an idle subscribed client ({CLIENTS} clients)");
    assert!(each < 8 * 1024, "{each} bytes");
}

pub(crate) fn a_peer_that_pings_on_without_reading_costs_no_memory() {
    let process = Process::start();
    let mut socket = Socket::connect_narrow(process.address);
    let pings = masked(FIN | PING, &[7; 125]).repeat(1000);
    let mut stream = socket.stream().try_clone().unwrap();
    let mut send = |times: usize| {
        for _ in 0..times {
            stream.write_all(&pings).unwrap();
        }
    };
    socket.ping();
    // The kernel's buffers are not memory of the process. They are full after some megabytes.
    send(60);
    let before = resident_bytes(process.child.id());
    send(300);
    let grown = resident_bytes(process.child.id()).saturating_sub(before);
    println!("memory: {grown} bytes after 39 MB of pings by a peer that does not read");
    assert!(grown < 4 << 20, "{grown} bytes");
}
