//! A hub on a loopback port of its own.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrace::server::ServeOptions;
use outrace::{Client, Hub, HubBuilder};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Socket, TIMEOUT, until};

/// Serves `hub` on a free loopback port in the caller's runtime, and returns the URL.
///
/// It is served for as long as the runtime lives.
pub async fn serve(hub: &Hub) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let never = std::future::pending();
    tokio::spawn(outrace::server::serve(listener, hub.clone(), never));
    url
}

/// Serves one connection to `hub` in memory, in the caller's runtime. Returns the peer's end.
///
/// With a paused clock, time passes only while every task waits. `capacity` is the number of bytes
/// that each direction holds.
pub fn serve_in_memory(hub: &Hub, capacity: usize) -> (DuplexStream, JoinHandle<()>) {
    let (peer, ours) = tokio::io::duplex(capacity);
    let hub = hub.clone();
    let service = service_fn(move |request| {
        let hub = hub.clone();
        async move { Ok::<_, Infallible>(hub.upgrade(request).await) }
    });
    let served = tokio::spawn(async move {
        let connection = http1::Builder::new().serve_connection(TokioIo::new(ours), service);
        // The error is the peer's: a test sees it at the peer's end.
        let _ = connection.with_upgrades().await;
    });
    (peer, served)
}

/// A hub that is served on a free loopback port, in a runtime of its own. For tests that block.
#[derive(Debug)]
pub struct Server {
    /// The hub.
    pub hub: Hub,
    /// The address that it listens on.
    pub address: SocketAddr,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    /// Serves a hub with its own router and the default bounds.
    pub fn start(hub: Hub) -> Self {
        let router = hub.router();
        Self::with_router(hub, router, ServeOptions::default())
    }

    /// Serves a hub behind `router`, with the bounds of `options`.
    pub fn with_router(hub: Hub, router: axum::Router, options: ServeOptions) -> Self {
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

    /// Builds a hub and serves it.
    pub fn with(builder: HubBuilder) -> Self {
        Self::start(builder.build().unwrap())
    }

    /// Serves a hub with the default settings.
    #[allow(
        clippy::new_without_default,
        reason = "a server is no value with a default"
    )]
    pub fn new() -> Self {
        Self::start(Hub::new())
    }

    /// Connects a client.
    pub fn connect(&self) -> Socket {
        Socket::connect(self.address)
    }

    /// Connects a client and subscribes. The subscription is active when this returns.
    pub fn subscriber(&self, channel: &str) -> Socket {
        let mut socket = self.connect();
        socket.subscribe(channel);
        socket
    }

    /// As [`Server::subscriber`], with small kernel buffers for what the client has not read.
    pub fn narrow_subscriber(&self, channel: &str) -> Socket {
        let mut socket = Socket::connect_narrow(self.address);
        socket.subscribe(channel);
        socket
    }

    /// Returns the hub's side of a client.
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

    /// Returns the number of tasks that are alive in the server's runtime.
    pub fn tasks(&self) -> usize {
        self.runtime.as_ref().unwrap().metrics().num_alive_tasks()
    }

    /// Asks the server to stop. [`Server::join`] waits until it has.
    pub fn stop(&mut self) {
        let _ = self.stop.take().expect("stopped once").send(());
    }

    /// Waits until the server has ended, and returns its result.
    pub fn join(&mut self) -> std::io::Result<()> {
        let served = self.served.take().expect("joined once");
        let runtime = self.runtime.as_ref().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(TIMEOUT, served).await })
            .expect("the server ends")
            .unwrap()
    }

    /// Ends the runtime, with every task that runs in it.
    pub fn drop_runtime(&mut self) {
        self.runtime.take().unwrap().shutdown_timeout(TIMEOUT);
    }

    /// Waits until every offered message is written, skipped or discarded.
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
