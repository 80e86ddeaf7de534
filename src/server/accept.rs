//! The accept loop. It serves HTTP/1.1 with upgrades, and bounds the number, the size and the
//! duration of requests.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::ServeOptions;
use super::accept_error::{is_of_descriptors, is_of_one_connection, refusal_of};
use super::in_flight::InFlight;
use super::refusal::refuse;
use super::reserve::{Reserve, ReservedPlace};
use crate::reason::{PauseReason, RefusalReason};
use crate::{Hub, LocalAddress, PeerAddress};

/// The pause after the system ran out of descriptors: long enough not to spin, short enough to
/// recover at once.
const PAUSE_WITHOUT_DESCRIPTORS: Duration = Duration::from_millis(50);

/// How long the header of a request may take on a connection that has a descriptor of the reserve:
/// as long as a peer needs that connects in order to ask something.
const RESERVED_HEADER_TIMEOUT: Duration = Duration::from_millis(500);

/// The time that plain requests have to finish after the hub has shut down.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// The minimum difference between the timeout of a request and that of a header. The header's
/// timeout has to expire first, because it also closes a connection that waits for its next
/// request.
const REQUEST_TIMEOUT_MARGIN: Duration = Duration::from_secs(1);

/// Serves [`Hub::router`] on a listener until `stop` completes, with the default [`ServeOptions`].
///
/// After `stop`, the loop accepts no more connections, shuts the hub down
/// ([`Hub::shutdown`]), gives plain requests one second to finish, and returns.
///
/// ```no_run
/// # async fn run() -> std::io::Result<()> {
/// let hub = outrace::Hub::new();
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:7223").await?;
/// outrace::server::serve(listener, hub, std::future::pending()).await
/// # }
/// ```
///
/// # Errors
/// Returns the listener's error when it fails for good. Running out of descriptors is no such
/// failure: the loop pauses, and continues when it can.
///
/// # Cancel safety
/// Dropping the future stops accepting and aborts the plain HTTP requests in flight. WebSocket
/// connections continue in tasks of their own.
pub async fn serve(
    listener: TcpListener,
    hub: Hub,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = hub.router();
    serve_with(listener, hub, router, ServeOptions::default(), stop).await
}

/// Serves the given router on a listener until `stop` completes, within the given limits.
///
/// The hub should be the one behind the router: it counts the refused connections, and is shut down
/// at the end. See [`serve`] for the order of the shutdown.
///
/// ```no_run
/// # async fn run() -> std::io::Result<()> {
/// use outrace::server::{ServeOptions, serve_with};
///
/// let hub = outrace::Hub::new();
/// let router = hub.router().route("/hello", axum::routing::get(async || "hello"));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:7223").await?;
/// let options = ServeOptions::new().max_requests(1000);
/// serve_with(listener, hub, router, options, std::future::pending()).await
/// # }
/// ```
///
/// # Errors
/// Returns [`InvalidInput`](io::ErrorKind::InvalidInput) with a
/// [`ConfigError`](crate::ConfigError) when an option is out of range; otherwise the same errors as
/// [`serve`].
///
/// # Cancel safety
/// The same as for [`serve`].
pub async fn serve_with(
    listener: TcpListener,
    hub: Hub,
    router: axum::Router,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    options
        .check()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    hub.start();
    Arc::new(Acceptor::new(hub, router, options))
        .run(listener, stop)
        .await
}

/// Accepts connections and serves them. The accept loop and the tasks of the connections share it.
struct Acceptor {
    hub: Hub,
    router: axum::Router,
    options: ServeOptions,
    /// One permit for each connection that is neither a WebSocket nor a stream.
    permits: Arc<Semaphore>,
    /// Descriptors for when the process has no other left.
    reserve: Arc<Reserve>,
    /// Whether the connections have to finish.
    stopping: watch::Sender<bool>,
}

/// An accepted connection, before it is known what will be asked on it.
struct AcceptedConnection {
    peer: PeerAddress,
    local: Option<LocalAddress>,
    in_flight: InFlight,
    /// Set for a connection that has a descriptor of the reserve.
    reserved: Option<Reserved>,
}

/// What a connection with a descriptor of the reserve may do.
#[derive(Debug, Clone, Copy)]
struct Reserved {
    /// Whether it may become a WebSocket or a stream.
    may_last: bool,
}

impl Acceptor {
    fn new(hub: Hub, router: axum::Router, options: ServeOptions) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(options.max_requests)),
            reserve: Reserve::open(),
            stopping: watch::Sender::new(false),
            hub,
            router,
            options,
        }
    }

    /// Runs the accept loop and the shutdown.
    async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut stop = pin!(stop);
        let mut requests = JoinSet::new();
        let mut out_of_descriptors = false;
        let mut place = None;
        loop {
            let permit = tokio::select! {
                permit = self.permit() => permit,
                () = &mut stop => break,
            };
            let accepted = loop {
                tokio::select! {
                    accepted = listener.accept() => break accepted,
                    () = &mut stop => return self.shut_down(listener, requests).await,
                    Some(_) = requests.join_next(), if !requests.is_empty() => {}
                }
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let place = place.take();
                    if place.is_none() {
                        self.reserve.refill();
                        if std::mem::take(&mut out_of_descriptors) {
                            tracing::info!("accepting again");
                        }
                    }
                    requests.spawn(Arc::clone(&self).serve_tcp(tcp, peer, permit, place));
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if is_of_descriptors(&error) => {
                    if !std::mem::replace(&mut out_of_descriptors, true) {
                        tracing::warn!(%error, "cannot accept for now, but for a reserve");
                    }
                    // The old place first: dropped after the release, it would take back the
                    // descriptor that was just released.
                    drop(place.take());
                    place = self.reserve.release();
                    if place.is_some() {
                        continue;
                    }
                    self.count_paused(PauseReason::Descriptors);
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE_WITHOUT_DESCRIPTORS) => {}
                        () = &mut stop => break,
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.shut_down(listener, requests).await
    }

    /// Takes a permit for one more connection. Waits for one if there is none.
    async fn permit(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return permit;
        }
        self.count_paused(PauseReason::Requests);
        tracing::debug!("the maximum number of requests is in flight");
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    /// Closes the listener, shuts the hub down, and waits a bounded time for plain requests.
    async fn shut_down(&self, listener: TcpListener, mut requests: JoinSet<()>) -> io::Result<()> {
        drop(listener);
        self.hub.shutdown().await;
        self.stopping.send_replace(true);
        let rest = async { while requests.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, rest).await;
        Ok(())
    }

    /// Serves one accepted connection. `place` is its place in the reserve, if it has one.
    async fn serve_tcp(
        self: Arc<Self>,
        mut tcp: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        place: Option<ReservedPlace>,
    ) {
        let _ = tcp.set_nodelay(true);
        keep_alive(&tcp);
        let mut connection = AcceptedConnection {
            peer: PeerAddress(peer),
            local: tcp.local_addr().ok().map(LocalAddress),
            in_flight: InFlight::new(permit),
            reserved: place.as_ref().map(|place| Reserved {
                may_last: place.may_last,
            }),
        };
        if self.options.proxies.trust(peer.ip()) {
            let limit = self.header_timeout(&connection);
            // Boxed: few connections need the room for a header.
            match Box::pin(self.client_of(&mut tcp, peer, limit)).await {
                Some(client) => connection.peer = PeerAddress(client),
                None => return,
            }
        }
        self.serve_stream(tcp, connection).await;
        // The connection is closed, or has become a client.
        drop(place);
    }

    /// Serves one accepted connection, after a TLS handshake if there is a certificate.
    async fn serve_stream(&self, tcp: TcpStream, connection: AcceptedConnection) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.options.tls {
            let PeerAddress(peer) = connection.peer;
            let limit = self.header_timeout(&connection);
            if let Some(stream) = self.handshake(tls, tcp, peer, limit).await {
                self.serve_http(stream, connection).await;
            }
            return;
        }
        self.serve_http(tcp, connection).await;
    }

    /// Returns how long the header of a request may take.
    fn header_timeout(&self, connection: &AcceptedConnection) -> Duration {
        let timeout = self.options.header_timeout;
        match connection.reserved {
            Some(_) => timeout.min(RESERVED_HEADER_TIMEOUT),
            None => timeout,
        }
    }

    /// Reads the header of the PROXY protocol. Returns the address of the proxy's client, or `None`
    /// when there is no header or the server stops.
    async fn client_of(
        &self,
        tcp: &mut TcpStream,
        proxy: SocketAddr,
        limit: Duration,
    ) -> Option<SocketAddr> {
        match self.within(limit, super::proxy_header::read(tcp)).await? {
            Ok(client) => Some(client.unwrap_or(proxy)),
            Err(error) => {
                self.count_refused(RefusalReason::ProxyHeader);
                tracing::debug!(%error, %proxy, "there is no header of the PROXY protocol");
                None
            }
        }
    }

    /// Performs the TLS handshake. Returns `None` when it fails or the server stops.
    #[cfg(feature = "tls")]
    async fn handshake(
        &self,
        tls: &super::Tls,
        tcp: TcpStream,
        peer: SocketAddr,
        limit: Duration,
    ) -> Option<super::tls::TlsStream> {
        match self.within(limit, tls.acceptor().accept(tcp)).await? {
            Ok(stream) => Some(stream),
            Err(error) => {
                self.count_refused(RefusalReason::Tls);
                tracing::debug!(%error, %peer, "a TLS handshake failed");
                None
            }
        }
    }

    /// Waits for `work` no longer than `limit`. Returns `None` when the server stops.
    async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = io::Result<T>>,
    ) -> Option<io::Result<T>> {
        tokio::select! {
            result = tokio::time::timeout(limit, work) => {
                Some(result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
            }
            () = self.stopped() => None,
        }
    }

    /// Serves the requests of one connection, until it ends or is upgraded.
    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        accepted: AcceptedConnection,
    ) {
        let PeerAddress(peer) = accepted.peer;
        let in_flight = accepted.in_flight.clone();
        let (header_timeout, reserved) = (self.header_timeout(&accepted), accepted.reserved);
        let router = TowerToHyperService::new(self.router.clone());
        let hub = self.hub.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            accepted.begin(&mut request);
            let has_no_place = reserved.is_some_and(|reserved| !reserved.may_last);
            let refusal = (has_no_place && would_last(&request)).then(|| without_place(&hub));
            let router = router.clone();
            async move {
                match refusal {
                    Some(refusal) => Ok(refusal),
                    None => router.call(request).await,
                }
            }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .keep_alive(reserved.is_none())
            .max_buf_size(self.options.header_bytes);
        let mut connection = pin!(
            http.serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = in_flight.overdue(self.request_timeout()) => {
                self.count_refused(RefusalReason::RequestTimeout);
                tracing::debug!(%peer, "a request took too long");
                return;
            }
            () = in_flight.stalled(self.hub.engine().config().write_timeout) => {
                tracing::debug!(%peer, "a stream's peer took nothing for too long");
                return;
            }
            () = self.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            if let Some(reason) = refusal_of(&error, in_flight.has_begun()) {
                self.count_refused(reason);
            }
            tracing::debug!(%error, %peer, "an HTTP connection failed");
        }
    }

    fn request_timeout(&self) -> Duration {
        self.options
            .request_timeout
            .max(self.options.header_timeout + REQUEST_TIMEOUT_MARGIN)
    }

    /// Completes when the connections have to finish.
    async fn stopped(&self) {
        // It fails only without a sender, and `self` is the sender.
        let _ = self
            .stopping
            .subscribe()
            .wait_for(|&stopping| stopping)
            .await;
    }

    fn count_paused(&self, reason: PauseReason) {
        self.hub.engine().totals().count_paused(reason);
    }

    fn count_refused(&self, reason: RefusalReason) {
        self.hub.engine().totals().count_refused(reason);
    }
}

impl AcceptedConnection {
    /// Marks the arrival of a request's header, and adds the request's extensions.
    fn begin(&self, request: &mut Request<Incoming>) {
        self.in_flight.begin();
        let extensions = request.extensions_mut();
        extensions.insert(self.peer);
        if let Some(local) = self.local {
            extensions.insert(local);
        }
        extensions.insert(self.in_flight.clone());
    }
}

/// Enables TCP keep-alive. A text stream sends nothing while its channel is silent, so that only
/// keep-alive finds a vanished peer. The connection also works without it.
fn keep_alive(tcp: &TcpStream) {
    use rustix::net::sockopt;
    let _ = sockopt::set_socket_keepalive(tcp, true);
    let _ = sockopt::set_tcp_keepidle(tcp, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(tcp, 4);
}

/// Whether a request asks for a WebSocket or a stream, on whatever path the routes are mounted.
fn would_last(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    request.headers().contains_key(http::header::UPGRADE)
        || path.ends_with("/stream")
        || path.ends_with("/events")
}

/// Refuses a connection that would keep a descriptor of the reserve.
fn without_place(hub: &Hub) -> Response {
    const TEXT: &str = "Too many open files: the server has no descriptor left for this.";
    refuse(
        hub,
        RefusalReason::Descriptors,
        StatusCode::SERVICE_UNAVAILABLE,
        TEXT,
    )
}
