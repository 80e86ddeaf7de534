//! The path under which a proxy shows the routes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use tower::Layer;
use tower::util::MapRequestLayer;

/// The path under which clients reach the routes, such as `/logs` behind a proxy. The default is
/// the root, `/`.
///
/// [`mount`](Self::mount) serves the routes under it. As an extension of a request it tells the
/// viewer's page and the text of a 404 which addresses to name. Without one they name those of the
/// request, which are wrong where a proxy has removed a part of the path.
///
/// ```
/// use outrace::server::BasePath;
///
/// let hub = outrace::Hub::new();
/// let base: BasePath = "/logs".parse()?;
/// let app = base.mount(hub.router());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(
    /// Empty, or a slash and segments without one at the end.
    Arc<str>,
);

/// The error for a text that is not a base path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no path to serve under; such a path is a slash and names of letters, digits \
     and ._~@+-, such as /logs or /tools/logs"
)]
pub struct BasePathError(String);

impl FromStr for BasePath {
    type Err = BasePathError;

    /// Parses a path. A slash at its end does not count.
    fn from_str(text: &str) -> Result<Self, BasePathError> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_name = |name: &str| {
            !matches!(name, "" | "." | "..")
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._~@+-".contains(&byte))
        };
        let is_path = match path.strip_prefix('/') {
            Some(names) => names.split('/').all(is_name),
            None => text == "/",
        };
        if is_path {
            Ok(Self(path.into()))
        } else {
            Err(BasePathError(text.to_owned()))
        }
    }
}

impl BasePath {
    /// Returns the path without a slash at its end. It is empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Serves routes both under this path and at the root.
    ///
    /// It therefore does not matter whether a proxy passes the path on or removes it. Where a proxy
    /// removes it and leaves a slash too many, as in `//ws`, that slash does not count.
    pub fn mount(&self, routes: Router) -> Router {
        if self.0.is_empty() {
            return routes;
        }
        let mounted = Router::new()
            .nest_service(&self.0, routes.clone())
            .fallback_service(routes.clone());
        // A path of the routes comes first: the base may be the beginning of one, such as `/api`.
        let mounted = routes.fallback_service(mounted);
        let base = self.clone();
        let prepare = MapRequestLayer::new(move |mut request: Request| {
            request.extensions_mut().insert(base.clone());
            if let Some(uri) = without_empty_segments(request.uri()) {
                *request.uri_mut() = uri;
            }
            request
        });
        Router::new().fallback_service(prepare.layer(mounted))
    }
}

impl fmt::Display for BasePath {
    /// Writes the path. The root is `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// Returns a URI whose path has no two slashes in a row. Returns `None` if it has none already.
fn without_empty_segments(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains("//") {
        return None;
    }
    let mut path = String::with_capacity(uri.path().len());
    for c in uri.path().chars() {
        if c != '/' || !path.ends_with('/') {
            path.push(c);
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_a_slash_and_names() {
        for (text, expected) in [
            ("/", ""),
            ("/logs", "/logs"),
            ("/logs/", "/logs"),
            ("/tools/logs~1.x", "/tools/logs~1.x"),
            ("/@me/a+b", "/@me/a+b"),
        ] {
            let path: BasePath = text.parse().unwrap();
            assert_eq!(path.as_str(), expected, "{text}");
        }
        for wrong in [
            "",
            "logs",
            "//",
            "/logs//",
            "//logs",
            "/a//b",
            "/..",
            "/a/./b",
            "/a b",
            "/a?b",
            "/a#b",
            "/{a}",
            "/*a",
            "/:a",
            "/a%2Fb",
            "/\"><script>",
            "/\u{e9}",
            "http://example.org/logs",
        ] {
            assert!(wrong.parse::<BasePath>().is_err(), "{wrong}");
        }
        assert_eq!(BasePath::default().to_string(), "/");
    }

    #[test]
    fn empty_segments_of_a_path_do_not_count_and_those_of_a_query_do() {
        for (uri, expected) in [
            ("//", Some("/")),
            ("//ws?a=//", Some("/ws?a=//")),
            ("/logs///api//stats", Some("/logs/api/stats")),
            ("http://example.org//ws", Some("http://example.org/ws")),
            ("/ws?a=//", None),
            ("*", None),
        ] {
            let found = without_empty_segments(&uri.parse().unwrap());
            assert_eq!(found, expected.map(|uri| uri.parse().unwrap()), "{uri}");
        }
    }
}
