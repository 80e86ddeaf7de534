//! The accept loop: HTTP/1.1 with upgrades, bounds on how long a request may take to arrive and how large its header may be.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Hub, LocalAddress, PeerAddress};

/// How long to wait when the system has no descriptor left: long enough not to spin, short enough to recover at once.
const PAUSE_WITHOUT_DESCRIPTORS: Duration = Duration::from_millis(50);

/// The bounds of [`serve_with`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How long the header of a request may take to arrive, the first one on a connection included: 10 s.
    pub header_timeout: Duration,
    /// The most bytes a request's header may have: 16 KiB.
    pub header_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { header_timeout: Duration::from_secs(10), header_bytes: 16 * 1024 }
    }
}

/// Serves [`Hub::router`] on a listener until `stop` is done; then accepts no more, shuts the hub down and returns.
///
/// # Errors
/// The listener has failed for good. Running out of descriptors is no such failure: accepting pauses, and goes on when it can.
///
/// # Cancel safety
/// Dropping the future ends the accepting and the plain HTTP requests under way; WebSocket connections live on in their own tasks.
pub async fn serve(listener: TcpListener, hub: Hub, stop: impl Future<Output = ()>) -> io::Result<()> {
    let router = hub.router();
    serve_with(listener, hub, router, Options::default(), stop).await
}

/// As [`serve`], with a router and bounds of one's own.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(
    listener: TcpListener,
    hub: Hub,
    router: axum::Router,
    options: Options,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    hub.start();
    let mut stop = pin!(stop);
    let (stopping, _) = watch::channel(());
    let mut requests = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
            Some(_) = requests.join_next(), if !requests.is_empty() => continue,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let served =
                    serve_connection(tcp, peer, router.clone(), options.clone(), stopping.subscribe());
                requests.spawn(served);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if is_of_descriptors(&error) => {
                tracing::warn!(%error, "cannot accept for now");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE_WITHOUT_DESCRIPTORS) => {}
                    () = &mut stop => break,
                }
            }
            Err(error) => return Err(error),
        }
    }
    drop(listener);
    hub.shutdown().await;
    // What is left are plain requests: they get as long as a header may take, and then end with the set.
    stopping.send_replace(());
    let rest = async { while requests.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
    Ok(())
}

async fn serve_connection(
    tcp: TcpStream,
    peer: SocketAddr,
    router: axum::Router,
    options: Options,
    mut stopping: watch::Receiver<()>,
) {
    let _ = tcp.set_nodelay(true);
    let local = tcp.local_addr();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(options.header_bytes.max(8 * 1024));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        if let Ok(local) = local {
            request.extensions_mut().insert(LocalAddress(local));
        }
        router.call(request)
    });
    let connection = http.serve_connection(TokioIo::new(tcp), service).with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection failed");
    }
}

/// Errors of the connection that was to be accepted, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// No descriptor left in the process or the system, or no memory for a socket.
fn is_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .into_iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
