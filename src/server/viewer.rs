//! The viewer, embedded in the program: the page at `/`, its modules, and `/outrace.js`.

use axum::extract::OriginalUri;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::BasePath;

/// The Content-Security-Policy. It allows resources of this server only, and no inline script or
/// style. It forbids embedding in a frame, and turning a string into markup or a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types outrace";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($path:literal: $content_type:ident = $file:literal,)*) => {
        &[$(($path, $content_type, include_bytes!(concat!("../../web/", $file)))),*]
    };
}

const FILES: &[(&str, &str, &[u8])] = files! {
    "/": HTML = "index.html",
    "/outrace.js": JS = "outrace.js",
    "/viewer/ansi.js": JS = "viewer/ansi.js",
    "/viewer/bars.css": CSS = "viewer/bars.css",
    "/viewer/channel-poll.js": JS = "viewer/channel-poll.js",
    "/viewer/channels.css": CSS = "viewer/channels.css",
    "/viewer/channels.js": JS = "viewer/channels.js",
    "/viewer/colors.js": JS = "viewer/colors.js",
    "/viewer/connection-state.js": JS = "viewer/connection-state.js",
    "/viewer/control.js": JS = "viewer/control.js",
    "/viewer/empty-text.js": JS = "viewer/empty-text.js",
    "/viewer/exporter.js": JS = "viewer/exporter.js",
    "/viewer/feed-channel.js": JS = "viewer/feed-channel.js",
    "/viewer/feed-notices.js": JS = "viewer/feed-notices.js",
    "/viewer/feed.js": JS = "viewer/feed.js",
    "/viewer/filter.js": JS = "viewer/filter.js",
    "/viewer/find.js": JS = "viewer/find.js",
    "/viewer/follow-controls.js": JS = "viewer/follow-controls.js",
    "/viewer/format.js": JS = "viewer/format.js",
    "/viewer/heights.js": JS = "viewer/heights.js",
    "/viewer/json.js": JS = "viewer/json.js",
    "/viewer/keys.js": JS = "viewer/keys.js",
    "/viewer/late-rows.js": JS = "viewer/late-rows.js",
    "/viewer/levels.js": JS = "viewer/levels.js",
    "/viewer/line.js": JS = "viewer/line.js",
    "/viewer/lines.css": CSS = "viewer/lines.css",
    "/viewer/links.js": JS = "viewer/links.js",
    "/viewer/list.js": JS = "viewer/list.js",
    "/viewer/main.js": JS = "viewer/main.js",
    "/viewer/marks.js": JS = "viewer/marks.js",
    "/viewer/navigation.js": JS = "viewer/navigation.js",
    "/viewer/older-lines.js": JS = "viewer/older-lines.js",
    "/viewer/overlays.css": CSS = "viewer/overlays.css",
    "/viewer/parked.js": JS = "viewer/parked.js",
    "/viewer/partial-rows.js": JS = "viewer/partial-rows.js",
    "/viewer/past.js": JS = "viewer/past.js",
    "/viewer/pieces.js": JS = "viewer/pieces.js",
    "/viewer/row-drag.js": JS = "viewer/row-drag.js",
    "/viewer/row-selection.js": JS = "viewer/row-selection.js",
    "/viewer/row.js": JS = "viewer/row.js",
    "/viewer/search-worker.js": JS = "viewer/search-worker.js",
    "/viewer/searcher.js": JS = "viewer/searcher.js",
    "/viewer/selection-bar.js": JS = "viewer/selection-bar.js",
    "/viewer/selection.js": JS = "viewer/selection.js",
    "/viewer/server.js": JS = "viewer/server.js",
    "/viewer/settings.js": JS = "viewer/settings.js",
    "/viewer/shown-channels.js": JS = "viewer/shown-channels.js",
    "/viewer/status-bar.js": JS = "viewer/status-bar.js",
    "/viewer/store.js": JS = "viewer/store.js",
    "/viewer/terminal.css": CSS = "viewer/terminal.css",
    "/viewer/theme.css": CSS = "viewer/theme.css",
    "/viewer/theme.js": JS = "viewer/theme.js",
    "/viewer/title-bar.js": JS = "viewer/title-bar.js",
    "/viewer/toast.js": JS = "viewer/toast.js",
    "/viewer/token-dialog.js": JS = "viewer/token-dialog.js",
    "/viewer/view.js": JS = "viewer/view.js",
};

/// Returns the routes of the viewer, to be merged with [`Hub::router`](crate::Hub::router).
///
/// The page at `/` shows the hub's channels live. It loads nothing from other servers, and works
/// offline.
///
/// ```no_run
/// # let hub = outrace::Hub::new();
/// let app: axum::Router = hub.router().merge(outrace::server::viewer());
/// ```
///
/// Both may be nested together. With `nest_service` the page is at `/live` and at `/live/`. With
/// `nest` it is at `/live` alone, because axum does not pass `/live/` on to nested routes.
///
/// ```no_run
/// # let hub = outrace::Hub::new();
/// let live = hub.router().merge(outrace::server::viewer());
/// let app: axum::Router = axum::Router::new().nest_service("/live", live);
/// ```
///
/// The page's addresses are relative. Behind a proxy that removes a part of the path, the page
/// works at an address with a slash at its end, and with a [`BasePath`] at either.
pub fn viewer() -> Router {
    FILES
        .iter()
        .fold(Router::new(), |router, &(path, content_type, body)| {
            if path != "/" {
                return router.route(path, get(async move || file(content_type, body)));
            }
            let page = async move |OriginalUri(asked): OriginalUri,
                                   base: Option<Extension<BasePath>>| {
                match base_of(asked.path(), base.as_deref()) {
                    Some(base) => based_page(&base, body),
                    None => file(content_type, body),
                }
            };
            router.route(path, get(page))
        })
}

/// Returns the base of the page's addresses, if it is not that of the address asked for.
///
/// A path without a slash at its end, such as `/live`, needs one. It is relative too, because a
/// proxy may have another prefix.
fn base_of(asked: &str, base: Option<&BasePath>) -> Option<String> {
    if let Some(base) = base {
        return Some(format!("{}/", base.as_str()));
    }
    let (_, last) = asked.rsplit_once('/')?;
    (!last.is_empty()).then(|| format!("./{last}/"))
}

/// Returns the page with a base. The page removes the base when it has loaded its parts.
fn based_page(base: &str, body: &[u8]) -> Response {
    let base = base
        .replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;");
    let page = String::from_utf8_lossy(body);
    let page = page.replacen(
        "<head>",
        &format!("<head>\n    <base href=\"{base}\" />"),
        1,
    );
    let mut response = file(HTML, b"");
    let policy = POLICY.replace("base-uri 'none'", "base-uri 'self'");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = page.into();
    response
}

fn file(content_type: &'static str, body: &'static [u8]) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // The next version of the program may bring other files under the same paths.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_viewer_is_served() {
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/viewer");
        let written: BTreeSet<String> = std::fs::read_dir(web)
            .unwrap()
            .map(|entry| format!("/viewer/{}", entry.unwrap().file_name().to_str().unwrap()))
            .collect();
        let served = FILES
            .iter()
            .map(|(path, ..)| (*path).to_owned())
            .filter(|path| path.starts_with("/viewer/"));
        assert_eq!(served.collect::<BTreeSet<_>>(), written);
        // The router panics on a path that is listed twice.
        let _ = viewer();
    }
}
