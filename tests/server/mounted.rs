//! A hub behind each kind of server and in front of each kind of page: what a foreign page can
//! reach when its own name points at a loopback listener.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrace::server::{BasePath, ServeOptions, serve, serve_with, viewer};
use outrace::{Hub, PeerAddress};
use outrace_testkit::Server;
use outrace_testkit::http::{self, Response, exchange};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// A way to serve a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Serve,
    ServeWith,
    Nested,
    NestedService,
    NestedWithSlash,
    Based,
    Axum,
    AxumWithConnectInfo,
    AxumNestedWithConnectInfo,
    Hyper,
    HyperWithPeer,
}

/// Serves a hub on loopback.
fn start(way: Way, hub: &Hub) -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let listener = runtime
        .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let hub = hub.clone();
    let never = std::future::pending::<()>();
    let app = hub.router().merge(viewer());
    let nested = match way {
        Way::NestedService => axum::Router::new().nest_service("/live", app.clone()),
        Way::NestedWithSlash => axum::Router::new().nest("/live/", app.clone()),
        Way::Based => "/live".parse::<BasePath>().unwrap().mount(app.clone()),
        _ => axum::Router::new().nest("/live", app.clone()),
    };
    runtime.spawn(async move {
        match way {
            Way::Serve => serve(listener, hub, never).await.unwrap(),
            Way::ServeWith => serve_with(listener, hub, app, ServeOptions::default(), never)
                .await
                .unwrap(),
            Way::Nested | Way::NestedService | Way::NestedWithSlash | Way::Based => {
                serve_with(listener, hub, nested, ServeOptions::default(), never)
                    .await
                    .unwrap();
            }
            Way::Axum => axum::serve(listener, app).await.unwrap(),
            Way::AxumWithConnectInfo => {
                let app = app.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, app).await.unwrap();
            }
            Way::AxumNestedWithConnectInfo => {
                let app = nested.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, app).await.unwrap();
            }
            Way::Hyper | Way::HyperWithPeer => loop {
                let (tcp, peer) = listener.accept().await.unwrap();
                let hub = hub.clone();
                let service = service_fn(move |mut request: hyper::Request<_>| {
                    let hub = hub.clone();
                    if way == Way::HyperWithPeer {
                        request.extensions_mut().insert(PeerAddress(peer));
                    }
                    async move { Ok::<_, Infallible>(hub.upgrade(request).await) }
                });
                tokio::spawn(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(tcp), service)
                        .with_upgrades(),
                );
            },
        }
    });
    (runtime, address)
}

impl Way {
    const ALL: [Self; 11] = [
        Self::Serve,
        Self::ServeWith,
        Self::Nested,
        Self::NestedService,
        Self::NestedWithSlash,
        Self::Based,
        Self::Axum,
        Self::AxumWithConnectInfo,
        Self::AxumNestedWithConnectInfo,
        Self::Hyper,
        Self::HyperWithPeer,
    ];

    fn prefix(self) -> &'static str {
        match self {
            Self::Nested
            | Self::NestedService
            | Self::NestedWithSlash
            | Self::Based
            | Self::AxumNestedWithConnectInfo => "/live",
            _ => "",
        }
    }

    /// Whether only the handshake is served.
    fn is_bare(self) -> bool {
        matches!(self, Self::Hyper | Self::HyperWithPeer)
    }
}

/// Sends a handshake, a publication and a reading request, all from a page of `host` itself.
fn ask(way: Way, address: SocketAddr, host: &str) -> Vec<Response> {
    let prefix = way.prefix();
    let head = format!("HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n");
    let handshake = format!(
        "GET {prefix}/ws {head}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut answers = vec![exchange(address, handshake.as_bytes())];
    if !way.is_bare() {
        let body = r#"{"action":"ws.send_error","message":"m"}"#;
        let post = format!(
            "POST {prefix}/api/actions {head}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        answers.push(exchange(address, post.as_bytes()));
        // A page that reads from its own origin sends no `Origin`.
        let read = format!("GET {prefix}/api/channels HTTP/1.1\r\nHost: {host}\r\n\r\n");
        answers.push(exchange(address, read.as_bytes()));
    }
    answers
}

#[test]
fn a_foreign_name_that_points_at_loopback_reaches_no_hub_however_it_is_served() {
    for way in Way::ALL {
        let hub = Hub::new();
        let (_runtime, address) = start(way, &hub);
        let port = address.port();
        for host in [
            "evil.example".to_owned(),
            format!("evil.example:{port}"),
            format!("localhost.evil.example:{port}"),
            format!("127.0.0.1.evil.example:{port}"),
        ] {
            for answer in ask(way, address, &host) {
                answer.assert_refusal(
                    403,
                    "Forbidden: the server does not go by the name in the request's Host.",
                );
            }
        }
        assert_eq!(hub.stats().connected, 0, "{way:?}");
        for host in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
        ] {
            let statuses: Vec<u16> = ask(way, address, &host).iter().map(|a| a.status).collect();
            let expected: &[u16] = if way.is_bare() {
                &[101]
            } else {
                &[101, 200, 200]
            };
            assert_eq!(statuses, expected, "{host}, {way:?}");
        }
    }
}

#[test]
fn an_allowed_name_reaches_a_hub_however_it_is_served() {
    for allowed in ["app.example.org", "*"] {
        for way in Way::ALL {
            let hub = Hub::builder().allow_host(allowed).build().unwrap();
            let (_runtime, address) = start(way, &hub);
            for answer in ask(way, address, "app.example.org") {
                assert!(matches!(answer.status, 101 | 200), "{way:?}: {answer:?}");
            }
            for answer in ask(way, address, "other.example.org") {
                assert_eq!(answer.status == 403, allowed != "*", "{way:?}: {answer:?}");
            }
        }
    }
}

/// Asserts that the page is at this path, and that everything it loads is where the page says.
#[track_caller]
fn assert_page(address: SocketAddr, path: &str) {
    let page = http::get(address, path);
    assert_eq!(page.status, 200, "{path}: {page:?}");
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.header("content-security-policy").is_some());
    let parts = http::page_parts(path, &page.body);
    assert!(parts.len() > 30, "{parts:?}");
    for part in parts.iter().filter(|part| !part.contains("data:")) {
        let part = http::get(address, part);
        assert_eq!(part.status, 200, "of {path}: {part:?}");
    }
}

#[test]
fn the_viewer_and_the_help_name_the_paths_as_mounted_with_and_without_the_slash() {
    for (way, pages) in [
        (Way::Nested, &["/live", "/live?token=t"][..]),
        (Way::NestedService, &["/live", "/live/", "/live/?lines=9"]),
        (Way::NestedWithSlash, &["/live/"]),
        (
            Way::Based,
            &["/live", "/live/", "/", "//", "/live//", "//?lines=9"],
        ),
        (Way::AxumNestedWithConnectInfo, &["/live"]),
    ] {
        let hub = Hub::new();
        let (_runtime, address) = start(way, &hub);
        for path in pages {
            assert_page(address, path);
        }
        let help = http::get(address, "/live/nowhere");
        assert_eq!(help.status, 404);
        for path in [
            "GET  /live/ws ",
            "POST /live/api/actions ",
            "GET  /live/healthz ",
        ] {
            assert!(help.body.contains(path), "{way:?}, {path}: {}", help.body);
        }
    }
    let (_runtime, address) = start(Way::ServeWith, &Hub::new());
    assert_page(address, "/");
    assert!(http::get(address, "/nowhere").body.contains("GET  /ws "));
}

#[test]
fn a_base_path_serves_what_a_proxy_passes_on_and_what_it_has_removed_it_from() {
    let hub = Hub::new();
    let (_runtime, address) = start(Way::Based, &hub);
    for prefix in ["/live", "", "/", "/live/", "//live"] {
        assert_eq!(
            http::get(address, &format!("{prefix}/healthz")).status,
            200,
            "{prefix}"
        );
        let head = "HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let handshake = format!("GET {prefix}/ws?token=//t {head}");
        assert_eq!(
            exchange(address, handshake.as_bytes()).status,
            101,
            "{prefix}"
        );
        let help = http::get(address, &format!("{prefix}/nowhere"));
        assert!(
            help.body.contains("GET  /live/ws "),
            "{prefix}: {}",
            help.body
        );
    }
    for path in ["/lives/healthz", "/live.html", "/other/healthz"] {
        assert_eq!(http::get(address, path).status, 404, "{path}");
    }
}

#[test]
fn a_base_path_may_be_the_beginning_of_a_route() {
    for base in ["/api", "/viewer", "/api/channels", "/metrics"] {
        let hub = Hub::new();
        let routes = base
            .parse::<BasePath>()
            .unwrap()
            .mount(hub.router().merge(viewer()));
        let server = Server::with_router(hub, routes, ServeOptions::default());
        assert_page(server.address, &format!("{base}/"));
        assert_page(server.address, "/");
        for path in [
            "/api/stats",
            "/api/channels",
            "/healthz",
            "/viewer/main.js",
            "/metrics",
        ] {
            for path in [path.to_owned(), format!("{base}{path}")] {
                assert_eq!(
                    http::get(server.address, &path).status,
                    200,
                    "{path} at {base}"
                );
            }
        }
        let help = http::get(server.address, &format!("{base}/nowhere"));
        assert!(help.body.contains(&format!("  {base}/ws ")), "{help:?}");
    }
}
