//! axum 0.8.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use outrace::Hub;
use tokio::net::TcpListener;

/// Serves an application with a hub under `/live`.
pub async fn serve(listener: TcpListener, hub: Hub) -> io::Result<()> {
    let app = Router::new()
        .route("/", get(|| async { "an application" }))
        .merge(outrace::server::mount("/live", &hub));
    // Tells the hub the addresses of its clients.
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).await
}
