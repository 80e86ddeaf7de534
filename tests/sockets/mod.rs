//! A server on a port of its own, and clients on plain sockets that see every frame as it is.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod http;
pub mod socket;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outrace::server::ServeOptions;
use outrace::{Client, Hub, HubBuilder};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub use socket::Socket;

/// How long anything may take before a test fails. Nothing waits so long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A hub that is served on a loopback port, in a runtime of its own.
pub struct Server {
    pub hub: Hub,
    pub address: SocketAddr,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

impl Server {
    pub fn start(hub: Hub) -> Self {
        let router = hub.router();
        Self::routed(hub, router, ServeOptions::default())
    }

    /// A hub behind a router and bounds of one's own.
    pub fn routed(hub: Hub, router: axum::Router, options: ServeOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stop_asked = async {
            let _ = stopped.await;
        };
        let served = runtime.spawn(outrace::server::serve_with(
            listener,
            hub.clone(),
            router,
            options,
            stop_asked,
        ));
        Self {
            hub,
            address,
            runtime: Some(runtime),
            stop: Some(stop),
            served: Some(served),
        }
    }

    pub fn with(builder: HubBuilder) -> Self {
        Self::start(builder.build().unwrap())
    }

    pub fn new() -> Self {
        Self::start(Hub::new())
    }

    pub fn connect(&self) -> Socket {
        Socket::connect(self.address)
    }

    /// A client that is subscribed, proven by a ping.
    pub fn subscriber(&self, channel: &str) -> Socket {
        let mut socket = self.connect();
        socket.subscribe(channel);
        socket
    }

    /// A client that is subscribed and takes little before it has to be read.
    pub fn narrow_subscriber(&self, channel: &str) -> Socket {
        let mut socket = Socket::connect_narrow(self.address);
        socket.subscribe(channel);
        socket
    }

    /// The hub's side of a client.
    pub fn client(&self, socket: &Socket) -> Arc<Client> {
        let address = socket.local_address();
        let mut found = None;
        until("the client is listed", || {
            found = self
                .hub
                .clients()
                .find(|client| client.address() == Some(address));
            found.is_some()
        });
        found.unwrap()
    }

    /// Tasks that live in the server's runtime.
    pub fn tasks(&self) -> usize {
        self.runtime.as_ref().unwrap().metrics().num_alive_tasks()
    }

    /// Asks the server to stop; what it does until then goes on in its runtime.
    pub fn stop(&mut self) {
        let _ = self.stop.take().expect("stopped once").send(());
    }

    /// Waits for the server's end.
    pub fn join(&mut self) -> std::io::Result<()> {
        let served = self.served.take().expect("joined once");
        let runtime = self.runtime.as_ref().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, served).await })
            .expect("the server ends")
            .unwrap()
    }

    /// Ends the runtime as it is, with all that runs in it.
    pub fn drop_runtime(&mut self) {
        self.runtime.take().unwrap().shutdown_timeout(PATIENCE);
    }

    /// Waits until nothing waits for anybody: what was published is written, skipped or discarded.
    pub fn settle(&self) {
        until("the queues are empty and the counters agree", || {
            let stats = self.hub.stats();
            stats.queued == 0 && stats.offered == stats.written + stats.skipped + stats.discarded
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for a state that nothing announces.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Joins a thread that has to end by itself: a deadlock fails the test instead of hanging it.
#[track_caller]
pub fn join<T>(what: &str, thread: JoinHandle<T>) -> T {
    until(what, || thread.is_finished());
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Checks that a message ends with a timestamp of now and answers what stands before it, closed with a brace.
#[track_caller]
pub fn without_timestamp(message: &str) -> String {
    const SHAPE: &str = r#""timestamp":"0000-00-00T00:00:00.000Z"}"#;
    let start = message
        .len()
        .checked_sub(SHAPE.len())
        .unwrap_or_else(|| panic!("too short: {message}"));
    let (rest, stamp) = message.split_at(start);
    let shape: String = stamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, SHAPE, "{message}");
    let time = stamp
        .trim_start_matches(r#""timestamp":""#)
        .trim_end_matches(r#""}"#);
    let time = chrono::DateTime::parse_from_rfc3339(time).unwrap();
    let age = chrono::Utc::now()
        .signed_duration_since(time)
        .num_milliseconds();
    assert!((-1000..60_000).contains(&age), "{age} ms old: {message}");
    let rest = rest
        .strip_suffix(',')
        .unwrap_or_else(|| panic!("the timestamp comes last: {message}"));
    format!("{rest}}}")
}

/// The numbers `0..` of a text's `data`, as the tests publish them: `"publisher:number"`.
pub fn labelled(message: &serde_json::Value) -> Option<(usize, usize)> {
    let (publisher, number) = message["data"].as_str()?.split_once(':')?;
    Some((
        publisher.parse().ok()?,
        number
            .split_once(' ')
            .map_or(number, |(n, _)| n)
            .parse()
            .ok()?,
    ))
}
