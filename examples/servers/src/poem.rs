//! poem 3.
//!
//! poem takes hyper's upgrade out of the request and gives it away as a type of its own, which is a
//! stream of bytes. So the hub is given the head of the request, and then that stream.

use std::io;

use outrace::{Hub, PeerAddress};
use poem::listener::TcpAcceptor;
use poem::web::{Data, RemoteAddr};
use poem::{Addr, EndpointExt, Request, Response, Route, Server, get, handler};
use tokio::net::TcpListener;

/// Serves an application with a hub at `/live/ws`.
pub async fn serve(listener: TcpListener, hub: Hub) -> io::Result<()> {
    let app = Route::new()
        .at("/", get(home))
        .at("/live/ws", get(websocket))
        .data(hub);
    let acceptor = TcpAcceptor::from_tokio(listener)?;
    Server::new_with_acceptor(acceptor).run(app).await
}

#[handler]
fn home() -> &'static str {
    "an application"
}

#[handler]
async fn websocket(request: &Request, Data(hub): Data<&Hub>) -> Response {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = request.method().clone();
    head.uri = request.original_uri().clone();
    head.version = request.version();
    head.headers = request.headers().clone();
    if let RemoteAddr(Addr::SocketAddr(address)) = request.remote_addr() {
        head.extensions.insert(PeerAddress(*address));
    }
    let response = match (hub.handshake_async(&head).await, request.take_upgrade()) {
        (Err(refusal), _) => refusal,
        (Ok(_), Err(error)) => {
            return Response::builder()
                .status(500.try_into().unwrap_or_default())
                .body(error.to_string());
        }
        (Ok(accept), Ok(upgrade)) => {
            let response = accept.response();
            let hub = hub.clone();
            tokio::spawn(async move {
                if let Ok(io) = upgrade.await {
                    hub.serve_stream(io, accept).await;
                }
            });
            response
        }
    };
    let (head, body) = response.into_parts();
    let mut response = Response::default();
    response.set_status(head.status);
    *response.headers_mut() = head.headers;
    response.set_body(body.into_bytes());
    response
}
