//! A list that many callers ask for.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::client::ListError;

/// How long a list is good for, so that many callers cost the server one request.
pub(super) const MAX_AGE: Duration = Duration::from_secs(1);

/// The last list that was fetched, and when. An async mutex: callers wait for one request.
#[derive(Debug)]
pub(super) struct Cache<T>(Mutex<Option<(Instant, Vec<T>)>>);

impl<T: Clone> Cache<T> {
    pub(super) const fn new() -> Self {
        Self(Mutex::const_new(None))
    }

    /// Returns the list, which is fetched if the last one is too old.
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub(super) async fn fresh(
        &self,
        fetch: impl Future<Output = Result<Vec<T>, ListError>>,
    ) -> Result<Vec<T>, ListError> {
        let mut last = self.0.lock().await;
        if let Some((at, list)) = &*last
            && at.elapsed() < MAX_AGE
        {
            return Ok(list.clone());
        }
        let list = fetch.await?;
        *last = Some((Instant::now(), list.clone()));
        Ok(list)
    }

    /// Returns the last list, however old.
    pub(super) async fn last(&self) -> Vec<T> {
        let last = self.0.lock().await;
        last.as_ref()
            .map_or_else(Vec::new, |(_, list)| list.clone())
    }

    /// Keeps a list that came without being asked for by a caller.
    pub(super) async fn put(&self, list: Vec<T>) {
        *self.0.lock().await = Some((Instant::now(), list));
    }
}
