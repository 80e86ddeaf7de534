//! The reasons why a soak can't read its server or start its disturbers.

use crate::wire::http::HttpError;

#[derive(Debug, thiserror::Error)]
pub(super) enum SoakError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("could not parse the response to GET {path}: {error}")]
    Json {
        path: &'static str,
        error: serde_json::Error,
    },
    #[error("could not start the disturber {name}: {error}")]
    Start {
        name: &'static str,
        error: std::io::Error,
    },
}
