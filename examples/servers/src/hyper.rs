//! hyper 1.

use std::convert::Infallible;
use std::io;

use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use outrace::{Hub, PeerAddress};
use tokio::net::TcpListener;

/// Serves an application with a hub at `/live/ws`, and the process `web` as a stream: as text at
/// `/live/web.txt` and as Server-Sent Events at `/live/web`.
pub async fn serve(listener: TcpListener, hub: Hub) -> io::Result<()> {
    loop {
        let (tcp, peer) = listener.accept().await?;
        let hub = hub.clone();
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let hub = hub.clone();
                async move {
                    request.extensions_mut().insert(PeerAddress(peer));
                    Ok::<_, Infallible>(respond(&hub, request).await)
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
            // The peer has gone.
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn respond(hub: &Hub, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let channel = "process:web";
    match request.uri().path() {
        "/" => Response::new(Full::from("an application").boxed()),
        "/live/ws" => hub.upgrade(request).await.map(BodyExt::boxed),
        "/live/web.txt" => {
            let (head, _) = request.into_parts();
            hub.text_stream(channel, &head).await.map(BodyExt::boxed)
        }
        "/live/web" => {
            let (head, _) = request.into_parts();
            hub.event_stream(channel, &head).await.map(BodyExt::boxed)
        }
        _ => {
            let mut response = Response::new(Full::from("not found").boxed());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
