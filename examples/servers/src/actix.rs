//! actix-web 4.
//!
//! actix has types of its own for requests, and hands over no connection: after an upgrade the
//! payload of the request is what the peer sends, and the body of the response what it gets. A pipe
//! makes one stream of them.

use std::io;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use futures_util::StreamExt;
use outrace::{Hub, PeerAddress, UpgradeBody};
use tokio::io::{AsyncWriteExt, duplex, split};
use tokio_util::io::ReaderStream;

/// Bytes that the pipe holds in each direction. A client that does not read fills it before its
/// queue.
const PIPE_BYTES: usize = 16 << 10;

/// Serves an application with a hub at `/live/ws`.
pub async fn serve(listener: std::net::TcpListener, hub: Hub) -> io::Result<()> {
    let app = move || {
        App::new()
            .app_data(web::Data::new(hub.clone()))
            .route("/", web::get().to(|| async { "an application" }))
            .route("/live/ws", web::get().to(websocket))
    };
    HttpServer::new(app)
        .workers(2)
        .disable_signals()
        .listen(listener)?
        .run()
        .await
}

async fn websocket(
    request: HttpRequest,
    mut payload: web::Payload,
    hub: web::Data<Hub>,
) -> HttpResponse {
    let Some(head) = head(&request) else {
        return HttpResponse::BadRequest().finish();
    };
    let accept = match hub.handshake_async(&head).await {
        Ok(accept) => accept,
        Err(refusal) => return respond(refusal),
    };
    let (ours, theirs) = duplex(PIPE_BYTES);
    let (sent, mut received) = split(ours);
    let mut response = HttpResponse::SwitchingProtocols();
    response.upgrade("websocket");
    for (name, value) in accept.response().headers() {
        if name != "connection" && name != "upgrade" {
            response.insert_header((name.as_str(), value.as_bytes()));
        }
    }
    rt::spawn(async move {
        while let Some(Ok(bytes)) = payload.next().await {
            if received.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = received.shutdown().await;
    });
    rt::spawn(async move { hub.serve_stream(theirs, accept).await });
    response.streaming(ReaderStream::new(sent))
}

/// Returns the head of a request in the types of the crate `http`.
fn head(request: &HttpRequest) -> Option<http::request::Parts> {
    let mut copy = http::Request::builder()
        .method(request.method().as_str())
        .uri(request.uri().to_string());
    for (name, value) in request.headers() {
        copy = copy.header(name.as_str(), value.as_bytes());
    }
    if let Some(address) = request.peer_addr() {
        copy = copy.extension(PeerAddress(address));
    }
    Some(copy.body(()).ok()?.into_parts().0)
}

/// Returns a response in the types of actix.
fn respond(response: http::Response<UpgradeBody>) -> HttpResponse {
    let (head, body) = response.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16());
    let mut copy = HttpResponse::build(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in &head.headers {
        copy.append_header((name.as_str(), value.as_bytes()));
    }
    copy.body(body.into_bytes())
}
