//! With the feature `server` alone.
#![cfg(feature = "server")]

use outrace::Hub;

#[test]
fn the_routes_of_a_hub_are_mounted_and_chosen() {
    let hub = Hub::new();
    let app = axum::Router::new().merge(outrace::server::mount("/live", &hub));
    let routes = hub
        .routes()
        .publish(false)
        .metrics(false)
        .viewer(true)
        .build();
    let _: axum::Router = app.nest_service("/watch", routes);
}
