//! Ends a hub: closes its connections, at once or spread over a time.

use std::time::{Duration, Instant};

use super::Hub;
use crate::reason::CloseReason;

/// The pause between two rounds of a shutdown that waits for connections to end.
const ROUND_INTERVAL: Duration = Duration::from_millis(20);

/// The longest wait of a shutdown for a bridge and for other nodes to get what was published
/// before.
const MAX_EXPORT_TIME: Duration = Duration::from_secs(2);

impl Hub {
    /// Returns whether [`Hub::shutdown`] has been called.
    pub fn is_stopping(&self) -> bool {
        self.engine.is_stopping()
    }

    /// Shuts the hub down. Returns when all connections have ended.
    ///
    /// The hub refuses new connections from this call on. Each client gets the messages that wait
    /// for it, and then a close frame with code 1001 (RFC 6455 section 7.4.1). The connections end
    /// within [`HubBuilder::flush_timeout`](crate::HubBuilder::flush_timeout) and
    /// [`HubBuilder::close_timeout`](crate::HubBuilder::close_timeout), after the time of
    /// [`HubBuilder::shutdown_spread`](crate::HubBuilder::shutdown_spread).
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. Clients that were asked to close still close; the others
    /// stay connected, and new connections stay refused. Call this method again to close the rest:
    /// the spread then begins anew.
    pub async fn shutdown(&self) {
        let engine = &self.engine;
        engine.stop();
        for channel in engine.registry.all() {
            channel.sealed().await;
        }
        engine.everyone.sealed().await;
        let shared = &engine.shared;
        let to_bridge = async {
            if let Some(exports) = &shared.exports {
                exports.sent().await;
            }
        };
        let to_nodes = async {
            if let Some(sharing) = &shared.sharing {
                sharing.sent().await;
            }
        };
        let limit = engine.config().flush_timeout.min(MAX_EXPORT_TIME);
        // What does not get through in time is lost.
        let _ = tokio::time::timeout(limit, async { tokio::join!(to_bridge, to_nodes) }).await;
        if let Some(sharing) = &shared.sharing {
            // What takes longer is found out by the other nodes.
            let _ = tokio::time::timeout(limit, sharing.leave()).await;
        }
        let (begun, spread) = (Instant::now(), engine.config().shutdown_spread);
        let clients = engine.everyone.clients();
        let mut asked = 0;
        loop {
            // Created before the count is read, so that no connection ends unnoticed in between.
            let emptied = engine.slots.emptied();
            let due = due_by(begun.elapsed(), spread, clients.len());
            for client in &clients[asked..due] {
                client.outbox.ask_to_close(CloseReason::Shutdown);
            }
            asked = due;
            if asked == clients.len() {
                // In every round: a client whose handshake was under way may have joined since.
                for client in engine.everyone.clients() {
                    client.outbox.ask_to_close(CloseReason::Shutdown);
                }
            }
            if engine.slots.are_free() {
                return;
            }
            tokio::select! {
                () = emptied => {}
                () = tokio::time::sleep(ROUND_INTERVAL) => {}
            }
        }
    }
}

impl Hub {
    /// Returns a future that waits for a signal, and then [shuts the hub down](Self::shutdown): for
    /// the graceful shutdown of a server.
    ///
    /// A server waits for its connections, and only the hub ends those of its clients. Without
    /// this, an open stream keeps the server from ending.
    ///
    /// ```no_run
    /// # async fn run(hub: outrace::Hub) -> std::io::Result<()> {
    /// # #[cfg(feature = "server")] {
    /// # let listener = tokio::net::TcpListener::bind("127.0.0.1:7223").await?;
    /// let stop = async {
    ///     let _ = tokio::signal::ctrl_c().await;
    /// };
    /// axum::serve(listener, hub.router()).with_graceful_shutdown(hub.graceful(stop)).await?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// As for [`Hub::shutdown`] once the signal has come. Before, dropping the future changes
    /// nothing.
    pub fn graceful<S>(&self, signal: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: Future + Send,
        S::Output: Send,
    {
        let hub = self.clone();
        async move {
            signal.await;
            hub.shutdown().await;
        }
    }
}

/// Returns how many of `clients` are to be closed once `elapsed` of `spread` has passed.
fn due_by(elapsed: Duration, spread: Duration, clients: usize) -> usize {
    let share = elapsed.as_secs_f64() / spread.as_secs_f64().max(f64::MIN_POSITIVE);
    if share < 1.0 {
        (clients as f64 * share) as usize
    } else {
        clients
    }
}

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use super::*;
    use crate::access::PeerInfo;
    use crate::channel::ClientKind;
    use crate::hub::ConnectionSlot;

    #[test]
    fn connections_are_closed_evenly_over_the_spread_and_at_once_without_one() {
        let second = Duration::from_secs(1);
        let due = |elapsed, spread| due_by(elapsed, spread, 1000);
        assert_eq!(due(Duration::from_nanos(1), Duration::ZERO), 1000);
        assert_eq!(due(Duration::ZERO, 10 * second), 0);
        assert_eq!(due(second, 10 * second), 100);
        assert_eq!(due(5 * second, 10 * second), 500);
        assert_eq!(due(10 * second, 10 * second), 1000);
        assert_eq!(due(11 * second, 10 * second), 1000);
    }

    #[tokio::test]
    async fn a_shutdown_asks_every_client_to_close_and_waits_for_the_last_slot() {
        let hub = Hub::new();
        let slot = ConnectionSlot::take(hub.engine(), None).expect("there is room");
        let client = hub
            .engine()
            .make_client(PeerInfo::default(), ClientKind::WebSocket);
        let membership = hub.engine().register(&client);
        let shutdown = tokio::spawn({
            let hub = hub.clone();
            async move { hub.shutdown().await }
        });
        while client.outbox.close_asked().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.outbox.close_asked(), Some(CloseReason::Shutdown));
        assert!(hub.is_stopping() && !shutdown.is_finished());
        hub.engine().unregister(&membership, CloseReason::Shutdown);
        drop(slot);
        shutdown.await.expect("the shutdown ends");
        assert_eq!(hub.stats().closed["server shutting down"], 1);
    }

    #[tokio::test]
    async fn a_client_that_joins_during_a_shutdown_is_asked_to_close_at_once() {
        let hub = Hub::new();
        hub.shutdown().await;
        let client = hub
            .engine()
            .make_client(PeerInfo::default(), ClientKind::WebSocket);
        hub.engine().register(&client);
        assert_eq!(client.outbox.close_asked(), Some(CloseReason::Shutdown));
    }
}
