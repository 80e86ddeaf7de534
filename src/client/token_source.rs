//! Asks the program for a token at each attempt to connect.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::error::BoxError;

type TokenFuture = Pin<Box<dyn Future<Output = Result<String, BoxError>> + Send>>;

/// A function of the program that returns the token for one attempt.
#[derive(Clone)]
pub(super) struct TokenSource(Arc<dyn Fn() -> TokenFuture + Send + Sync>);

impl TokenSource {
    pub(super) fn new<F, W, E>(ask: F) -> Self
    where
        F: Fn() -> W + Send + Sync + 'static,
        W: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self(Arc::new(move || {
            let asked = ask();
            Box::pin(async move { asked.await.map_err(Into::into) })
        }))
    }

    pub(super) fn ask(&self) -> TokenFuture {
        (self.0)()
    }
}
