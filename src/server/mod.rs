//! The HTTP server: the routes of a hub, and an accept loop.
//!
//! [`mount`] adds the routes of a hub to an axum application, and [`Hub::routes`] chooses among
//! them. [`Hub::router`] is an axum router of all routes but the page, to mount or to serve by
//! itself. [`serve`] and [`serve_with`] serve it within the limits of [`ServeOptions`]; any other
//! server for axum works too.

mod accept;
mod accept_error;
mod api;
mod base_path;
mod body;
mod channel_list;
mod in_flight;
#[cfg(feature = "metrics")]
mod metrics;
mod processes;
mod proxy_header;
mod refusal;
mod reserve;
mod routes;
mod serve_options;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "viewer")]
mod viewer;

use axum::body::Body;
use axum::extract::{OriginalUri, Request, State};
use axum::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};

use crate::Hub;

pub use accept::{serve, serve_with};
pub use base_path::{BasePath, BasePathError};
#[cfg(feature = "process")]
pub use processes::Processes;
pub use routes::{Routes, mount};
pub use serve_options::ServeOptions;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
#[cfg(feature = "viewer")]
pub use viewer::viewer;

impl Hub {
    /// Returns the routes of a hub, to serve or to mount in an axum application. [`Hub::routes`]
    /// chooses among them, and [`server::mount`](mount) is the short way.
    ///
    /// | route | response |
    /// |---|---|
    /// | `GET /ws` | the WebSocket endpoint |
    /// | `POST /api/actions` | one action or an array of them, as JSON |
    /// | `GET /api/stats` | [`Hub::stats`] |
    /// | `GET /api/channels` | [`Hub::channels`] |
    /// | `GET /api/channels/{channel}/stream` | its lines as text; `?tail=N`: the last N first |
    /// | `GET /api/channels/{channel}/events` | Server-Sent Events, resumed by `Last-Event-ID` |
    /// | `GET /api/processes` | the processes of a supervisor, with a `Processes` layer |
    /// | `GET /metrics` | the counters for Prometheus, with feature `metrics` |
    /// | `GET /healthz` | `ok`, `ok, but stale: …` with a lost backplane, or 503 when stopping |
    ///
    /// A proxy closes a stream that is silent for long. `?keep_alive=S` sends an empty line, or a
    /// comment among the events, after S seconds of silence.
    ///
    /// Any other path is answered with 404 and a text that lists these. All routes but `/healthz`
    /// are behind the hub's [gate](crate::access): a page of another site can neither connect nor
    /// publish, and a hub with an authenticator admits only identified users. `/api/channels` lists
    /// the channels that the caller may subscribe to, on request when another one has appeared.
    ///
    /// ```no_run
    /// # async fn run() -> std::io::Result<()> {
    /// let hub = outrace::Hub::new();
    /// let app = axum::Router::new().nest_service("/live", hub.router());
    /// let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:7223").await?;
    /// axum::serve(listener, app).await
    /// # }
    /// ```
    ///
    /// The connect info tells the hub the addresses of its clients. Without it, the hub cannot tell
    /// the network from loopback, and answers only to loopback names, to IP addresses and to the
    /// names of [`HubBuilder::allow_host`](crate::HubBuilder::allow_host).
    pub fn router(&self) -> Router {
        self.routes().viewer(false).build()
    }
}

/// Tells browsers to believe the content type: lines of a process may look like a page.
async fn no_sniffing(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn websocket(State(hub): State<Hub>, request: Request) -> Response {
    hub.upgrade(request).await.map(Body::new)
}

async fn health(State(hub): State<Hub>) -> Response {
    if hub.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match hub.engine().backplane_stats() {
        // The server itself is well: its viewers are better off here than without it.
        Some(stats) if stats.is_stale() => format!("ok, but stale: {stats}\n").into_response(),
        _ => "ok\n".into_response(),
    }
}

async fn not_found(
    OriginalUri(asked): OriginalUri,
    base: Option<Extension<BasePath>>,
    uri: Uri,
) -> Response {
    let mount = match &base {
        Some(Extension(base)) => base.as_str(),
        // The part of the path that an application has mounted the routes under.
        None => asked.path().strip_suffix(uri.path()).unwrap_or_default(),
    };
    const HELP: &str = "Not found. Here are:\n\
        GET  /ws            WebSocket: {\"type\":\"subscribe\",\"channel\":\"process:ID\"}\n\
        POST /api/actions   publish, as JSON: \
        {\"action\":\"ws.send_process_output\",\"process_id\":\"ID\",\"output\":\"line\"}\n\
        GET  /api/stats     counters\n\
        GET  /api/channels  the channels that have subscribers, a history or a status\n\
        GET  /api/channels/CHANNEL/stream?tail=N  the lines as text, for curl\n\
        GET  /api/channels/CHANNEL/events?tail=N  the same as Server-Sent Events\n\
        GET  /api/processes the supervised processes\n\
        GET  /healthz       whether the server is up\n";
    const METRICS: &str = if cfg!(feature = "metrics") {
        "GET  /metrics       the counters for Prometheus\n"
    } else {
        ""
    };
    let help = [HELP, METRICS].concat();
    let help = help
        .replace("  /", &format!("  {mount}/"))
        .replace("POST /", &format!("POST {mount}/"));
    (StatusCode::NOT_FOUND, help).into_response()
}
