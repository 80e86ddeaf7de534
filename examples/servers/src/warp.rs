//! warp 0.4.
//!
//! warp keeps the upgrade of a request for its own WebSockets. So the hub stands beside warp's
//! filters, in the service around both.

use std::io;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use outrace::{Hub, PeerAddress};
use tokio::net::TcpListener;
use warp::Filter;

/// Serves an application with a hub at `/live/ws`.
pub async fn serve(listener: TcpListener, hub: Hub) -> io::Result<()> {
    let app = warp::path::end().map(|| String::from("an application"));
    let app = TowerToHyperService::new(warp::service(app));
    loop {
        let (tcp, peer) = listener.accept().await?;
        let (hub, app) = (hub.clone(), app.clone());
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let (hub, app) = (hub.clone(), app.clone());
                async move {
                    if request.uri().path() == "/live/ws" {
                        request.extensions_mut().insert(PeerAddress(peer));
                        return Ok(hub.upgrade(request).await.map(|body| body.boxed_unsync()));
                    }
                    let response = app.call(request).await?;
                    Ok::<_, std::convert::Infallible>(response.map(|body| {
                        let body =
                            body.map_err(|never| panic!("warp's bodies do not fail: {never}"));
                        body.boxed_unsync()
                    }))
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), service);
            // The peer has gone.
            let _ = connection.with_upgrades().await;
        });
    }
}
