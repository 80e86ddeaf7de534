//! The accept loop: HTTP/1.1 with upgrades, bounds on how long a request may take to arrive and how large its header may be.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::in_flight::InFlight;
use crate::config::{MAX_DURATION, check_duration, check_range};
use crate::reason::{PauseReason, RefusalReason};
use crate::{ConfigError, Hub, LocalAddress, PeerAddress};

/// How long to wait when the system has no descriptor left: long enough not to spin, short enough to recover at once.
const PAUSE_WITHOUT_DESCRIPTORS: Duration = Duration::from_millis(50);

/// The bounds of [`serve_with`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How long the header of a request may take to arrive, the first one on a connection included: 10 s by default. Later, the connection is
    /// closed.
    pub header_timeout: Duration,
    /// The most bytes a request's header may have: 16 KiB by default, at least 8 KiB, at most 1 MiB. More is answered 431.
    pub header_bytes: usize,
    /// Connections at once that are neither a WebSocket nor a stream, or not yet: 4,096 by default, at least 1. While there are so many, no more are
    /// accepted; those that wait for it wait in the system's queue.
    pub max_requests: usize,
    /// How long a request may take, from its header to the end of its answer: 60 s by default, and never less than a second more than
    /// `header_timeout`. Later the connection is cut, as it has to be where a peer does not read its answer. The streams of a hub are no such
    /// requests; an endless answer of one's own router is.
    pub request_timeout: Duration,
    /// Serve over TLS, and nothing else. The TLS handshake has as long as a header.
    #[cfg(feature = "tls")]
    pub tls: Option<super::Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            max_requests: 4096,
            request_timeout: Duration::from_secs(60),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Options {
    /// Whether each is within its range.
    ///
    /// # Errors
    /// One is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        // Below 8 KiB the HTTP server does not go.
        check_range("header_bytes", self.header_bytes, 8 * 1024, 1 << 20)?;
        check_range("max_requests", self.max_requests, 1, Semaphore::MAX_PERMITS)?;
        check_duration(
            "header_timeout",
            self.header_timeout,
            Duration::from_millis(1),
            MAX_DURATION,
        )?;
        check_duration(
            "request_timeout",
            self.request_timeout,
            Duration::from_millis(1),
            MAX_DURATION,
        )
    }
}

/// Serves [`Hub::router`] on a listener until `stop` is done; then accepts no more, shuts the hub down and returns.
///
/// # Errors
/// The listener has failed for good. Running out of descriptors is no such failure: accepting pauses, and goes on when it can.
/// [`serve_with`] answers [`InvalidInput`](io::ErrorKind::InvalidInput) for options out of range.
///
/// # Cancel safety
/// Dropping the future ends the accepting and the plain HTTP requests under way; WebSocket connections live on in their own tasks.
pub async fn serve(
    listener: TcpListener,
    hub: Hub,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
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
    options
        .check()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    hub.start();
    let mut stop = pin!(stop);
    let (stopping, _) = watch::channel(());
    let mut requests = JoinSet::new();
    let room = Arc::new(Semaphore::new(options.max_requests));
    let pauses = |reason| hub.engine().totals().count_paused(reason);
    let mut starved = false;
    loop {
        let permit = match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                pauses(PauseReason::Requests);
                tracing::debug!("as many requests as may be are under way");
                tokio::select! {
                    permit = Arc::clone(&room).acquire_owned() => permit.expect("it is never closed"),
                    () = &mut stop => break,
                }
            }
        };
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break Some(accepted),
                () = &mut stop => break None,
                Some(_) = requests.join_next(), if !requests.is_empty() => {}
            }
        };
        match accepted {
            None => break,
            Some(Ok((tcp, peer))) => {
                if std::mem::take(&mut starved) {
                    tracing::info!("accepting again");
                }
                let underway = InFlight::new(permit);
                let stopping = stopping.subscribe();
                let served = serve_connection(
                    tcp,
                    peer,
                    underway,
                    hub.clone(),
                    router.clone(),
                    options.clone(),
                    stopping,
                );
                requests.spawn(served);
            }
            Some(Err(error)) if is_of_one_connection(&error) => {}
            Some(Err(error)) if is_of_descriptors(&error) => {
                pauses(PauseReason::Descriptors);
                if !std::mem::replace(&mut starved, true) {
                    tracing::warn!(%error, "cannot accept for now");
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE_WITHOUT_DESCRIPTORS) => {}
                    () = &mut stop => break,
                }
            }
            Some(Err(error)) => return Err(error),
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
    underway: InFlight,
    hub: Hub,
    router: axum::Router,
    options: Options,
    #[allow(unused_mut, reason = "only a TLS handshake waits for it here")]
    mut stopping: watch::Receiver<()>,
) {
    let _ = tcp.set_nodelay(true);
    let ends = (PeerAddress(peer), tcp.local_addr().ok().map(LocalAddress));
    keep_alive(&tcp);
    #[cfg(feature = "tls")]
    if let Some(tls) = &options.tls {
        let handshake = tokio::time::timeout(options.header_timeout, tls.acceptor().accept(tcp));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = stopping.changed() => return,
        };
        let error = match shaken {
            Ok(Ok(stream)) => {
                return serve_stream(stream, ends, underway, hub, router, options, stopping).await;
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        hub.engine().totals().count_refused(RefusalReason::Tls);
        tracing::debug!(%error, %peer, "a TLS handshake failed");
        return;
    }
    serve_stream(tcp, ends, underway, hub, router, options, stopping).await;
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    (peer, local): (PeerAddress, Option<LocalAddress>),
    underway: InFlight,
    hub: Hub,
    router: axum::Router,
    options: Options,
    mut stopping: watch::Receiver<()>,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(options.header_bytes);
    let router = TowerToHyperService::new(router);
    let watched = underway.clone();
    // One that waits for its next request is closed by the clock of the header, which has to be the first.
    let longest = options
        .request_timeout
        .max(options.header_timeout + Duration::from_secs(1));
    let service = service_fn(move |mut request: Request<Incoming>| {
        underway.begin();
        request.extensions_mut().insert(peer);
        if let Some(local) = local {
            request.extensions_mut().insert(local);
        }
        request.extensions_mut().insert(underway.clone());
        router.call(request)
    });
    let connection = http
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = watched.overdue(longest) => {
            hub.engine().totals().count_refused(RefusalReason::RequestTimeout);
            tracing::debug!(peer = %peer.0, "a request took too long");
            return;
        }
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        let refused = if error.is_parse_too_large() {
            Some(RefusalReason::HeaderSize)
        } else if error.is_timeout() && !watched.has_begun() {
            // One that is kept alive for a next request is closed by the same clock, and nothing is refused by that.
            Some(RefusalReason::HeaderTimeout)
        } else {
            None
        };
        if let Some(reason) = refused {
            hub.engine().totals().count_refused(reason);
        }
        tracing::debug!(%error, peer = %peer.0, "an HTTP connection failed");
    }
}

/// Has the system ask after a peer that is silent: a stream as text has nothing to say that would find out. Without it the connection works all the
/// same.
fn keep_alive(tcp: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(tcp, true);
    let _ = sockopt::set_tcp_keepidle(tcp, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(tcp, 4);
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
