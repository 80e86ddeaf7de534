//! What a client costs the server's process. The server runs in a process of its own: this binary, started again.
//!
//! Without the test harness, so that the figure is always printed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]
#![cfg_attr(not(feature = "server"), allow(dead_code, unused))]

#[cfg(feature = "server")]
mod sockets;

#[cfg(all(feature = "server", target_os = "linux"))]
fn main() {
    if std::env::var_os("OUTRACE_MEMORY_SERVER").is_some() {
        measured::serve();
    } else {
        measured::an_idle_subscribed_client_costs_under_8_kib();
        measured::a_peer_that_pings_on_without_reading_costs_no_memory();
    }
}

#[cfg(not(all(feature = "server", target_os = "linux")))]
fn main() {}

#[cfg(all(feature = "server", target_os = "linux"))]
mod measured {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::SocketAddr;
    use std::process::{Child, Command, Stdio};

    use outrace::Hub;

    use crate::sockets::socket::{PING, masked};
    use crate::sockets::{Server, Socket};

    const CLIENTS: usize = 2000;

    /// Serves until its standard input ends.
    pub(crate) fn serve() {
        // One of the tests pings without end, which is refused otherwise.
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
                .env("OUTRACE_MEMORY_SERVER", "1")
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

        /// Resident memory in bytes.
        fn resident(&self) -> usize {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("VmRSS:"))
                .unwrap();
            let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            kib * 1024
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
        // The runtime's and the allocator's first pages are not the clients'.
        let _first: Vec<Socket> = (0..100).map(|_| connect()).collect();
        let before = process.resident();
        let _clients: Vec<Socket> = (0..CLIENTS).map(|_| connect()).collect();
        let each = process.resident().saturating_sub(before) / CLIENTS;
        println!("memory: {each} bytes for an idle subscribed client ({CLIENTS} clients)");
        assert!(each < 8 * 1024, "{each} bytes");
    }

    pub(crate) fn a_peer_that_pings_on_without_reading_costs_no_memory() {
        let process = Process::start();
        let mut socket = Socket::connect_narrow(process.address);
        let pings = masked(0x80 | PING, &[7; 125]).repeat(1000);
        let mut stream = socket.stream().try_clone().unwrap();
        let mut send = |times: usize| {
            for _ in 0..times {
                stream.write_all(&pings).unwrap();
            }
        };
        socket.ping();
        // What the kernel's buffers hold is not the process's; after some megabytes they are full.
        send(60);
        let before = process.resident();
        send(300);
        let grown = process.resident().saturating_sub(before);
        println!("memory: {grown} bytes after 39 MB of pings by a peer that does not read");
        assert!(grown < 4 << 20, "{grown} bytes");
    }
}
