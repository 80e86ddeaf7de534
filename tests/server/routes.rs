//! The choice of a hub's routes, and their place in an application.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use outrace::Hub;
use outrace::server::mount;
use tower::util::ServiceExt;

async fn ask(app: &Router, method: &str, path: &str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    let request = request.body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_mounted_hub_has_its_page_with_and_without_the_slash_and_its_routes_below() {
    for path in ["/live", "/live/", "live"] {
        let hub = Hub::new();
        let app = Router::new()
            .route("/", get(|| async { "home" }))
            .merge(mount(path, &hub))
            .fallback(|| async { (StatusCode::NOT_FOUND, "the application's") });
        assert_eq!(ask(&app, "GET", "/").await.1, "home");
        for (page, base) in [("/live", "href=\"./live/\""), ("/live/", "<!doctype html>")] {
            let (status, text) = ask(&app, "GET", page).await;
            assert_eq!(status, StatusCode::OK);
            assert!(text.contains(base), "{page}: {text}");
        }
        assert_eq!(ask(&app, "GET", "/live/healthz").await.1, "ok\n");
        assert_eq!(ask(&app, "GET", "/live/outrace.js").await.0, StatusCode::OK);
        assert_eq!(
            ask(&app, "GET", "/live/ws").await.0,
            StatusCode::UPGRADE_REQUIRED
        );
        let (status, help) = ask(&app, "GET", "/live/nothing").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(help.contains("GET  /live/ws"), "{help}");
        assert_eq!(ask(&app, "GET", "/other").await.1, "the application's");
        assert_eq!(ask(&app, "GET", "/lively").await.1, "the application's");
    }
}

#[tokio::test]
async fn a_hub_can_be_mounted_at_the_root() {
    let app = mount("/", &Hub::new());
    assert_eq!(ask(&app, "GET", "/healthz").await.1, "ok\n");
    assert_eq!(ask(&app, "GET", "/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_route_that_is_not_chosen_is_not_found() {
    let hub = Hub::new();
    let all = hub.routes().build();
    let watch = hub
        .routes()
        .publish(false)
        .metrics(false)
        .viewer(true)
        .build();
    let bare = hub.routes().viewer(false).build();
    for (method, path, found) in [
        ("POST", "/api/actions", [true, false, true]),
        ("GET", "/metrics", [true, false, true]),
        ("GET", "/", [true, true, false]),
        ("GET", "/outrace.js", [true, true, false]),
        ("GET", "/api/stats", [true, true, true]),
        ("GET", "/healthz", [true, true, true]),
    ] {
        for (app, found) in [&all, &watch, &bare].into_iter().zip(found) {
            let (status, _) = ask(app, method, path).await;
            assert_eq!(
                status != StatusCode::NOT_FOUND,
                found,
                "{method} {path}: {status}"
            );
        }
    }
}
