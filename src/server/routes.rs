//! A choice of a hub's routes.

use axum::Router;
use axum::middleware::map_response;
use axum::routing::{any, get, post};

use super::{api, channel_list, health, no_sniffing, not_found, processes, stream, websocket};
use crate::Hub;

/// Chooses the routes of a hub. Returned by [`Hub::routes`].
///
/// ```
/// let hub = outrace::Hub::new();
/// // Clients can watch, and nothing else.
/// let routes = hub.routes().publish(false).metrics(false).viewer(true).build();
/// let app: axum::Router = axum::Router::new().nest_service("/live", routes);
/// ```
#[derive(Clone, Debug)]
#[must_use = "the routes are made by build"]
pub struct Routes {
    hub: Hub,
    publish: bool,
    metrics: bool,
    viewer: bool,
}

impl Hub {
    /// Returns a builder for those of the hub's routes that the application wants. All of them are
    /// chosen at first.
    pub fn routes(&self) -> Routes {
        Routes {
            hub: self.clone(),
            publish: true,
            metrics: true,
            viewer: true,
        }
    }
}

impl Routes {
    /// Sets whether `POST /api/actions` is there, with which clients publish and control processes.
    pub fn publish(mut self, publish: bool) -> Self {
        self.publish = publish;
        self
    }

    /// Sets whether `GET /metrics` is there. It needs the feature `metrics`, without which this has
    /// no effect.
    pub fn metrics(mut self, metrics: bool) -> Self {
        self.metrics = metrics;
        self
    }

    /// Sets whether the viewer's page and its files are there. They need the feature `viewer`,
    /// without which this has no effect.
    pub fn viewer(mut self, viewer: bool) -> Self {
        self.viewer = viewer;
        self
    }

    /// Returns the routes as an axum router, to serve or to mount.
    pub fn build(self) -> Router {
        let Self {
            hub,
            publish,
            metrics,
            viewer,
        } = self;
        let mut router = Router::new();
        #[cfg(feature = "metrics")]
        if metrics {
            router = router.route("/metrics", get(super::metrics::metrics));
        }
        if publish {
            router = router.route("/api/actions", post(api::actions));
        }
        let router = router
            .route("/ws", any(websocket))
            .route("/api/stats", get(api::stats))
            .route("/api/channels", get(channel_list::list))
            .route("/api/processes", get(processes::list))
            .route("/api/channels/{channel}/stream", get(stream::text))
            .route("/api/channels/{channel}/events", get(stream::events))
            .route("/healthz", get(health))
            .fallback(not_found)
            .layer(map_response(no_sniffing))
            .with_state(hub);
        #[cfg(feature = "viewer")]
        if viewer {
            return router.merge(super::viewer());
        }
        // Without the features, there is nothing to choose.
        let _ = (metrics, viewer);
        router
    }
}

/// Returns a hub's routes and, with the feature `viewer`, its page, under a path. The page is at
/// `/live` and at `/live/`.
///
/// The router has no fallback, so that an application can merge it with its own routes:
///
/// ```
/// let hub = outrace::Hub::new();
/// let app: axum::Router = axum::Router::new()
///     .route("/", axum::routing::get(|| async { "home" }))
///     .merge(outrace::server::mount("/live", &hub));
/// ```
///
/// A slash at the end of `path` does not count. At the root, which is `/`, all other paths are
/// answered with 404 and a text that lists the routes. [`Hub::routes`] chooses among them.
///
/// # Panics
/// Panics if the path has an empty segment, or a `{` or a `*`, which have a meaning in axum's
/// paths.
pub fn mount(path: &str, hub: &Hub) -> Router {
    let routes = hub.routes().build();
    match path.trim_end_matches('/') {
        "" => routes,
        path if path.starts_with('/') => Router::new().nest_service(path, routes),
        path => Router::new().nest_service(&format!("/{path}"), routes),
    }
}
