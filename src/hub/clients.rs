//! Registers a client when it connects, and unregisters it when its connection has ended.

use std::any::Any;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::Engine;
use crate::access::{Identity, PeerInfo};
use crate::channel::{Client, ClientId, ClientKind, Presence, Subscription};
use crate::encode::Encoding;
use crate::reason::CloseReason;
use crate::sync::Ordering;

impl Engine {
    /// Creates a client, which is not registered yet.
    pub(crate) fn make_client(self: &Arc<Self>, peer: PeerInfo, kind: ClientKind) -> Arc<Client> {
        let owner: Weak<dyn Any + Send + Sync> = Arc::downgrade(&(Arc::clone(self) as Arc<_>));
        // Relaxed: the number only has to be unique.
        let id = ClientId(self.next_client.fetch_add(1, Ordering::Relaxed));
        Arc::new(Client::new(
            id,
            peer,
            self.config().limits(),
            kind,
            Arc::downgrade(&self.shared.totals),
            owner,
        ))
    }

    /// Makes a client a member of the channel of all clients. Returns its membership.
    ///
    /// Must be called within a tokio runtime, unless the hub is started.
    pub(crate) fn register(&self, client: &Arc<Client>) -> Arc<Subscription> {
        if client.kind() != ClientKind::Local || Handle::try_current().is_ok() {
            self.start();
        }
        self.totals().count_connected();
        let membership = Arc::new(Subscription::new(
            Arc::clone(client),
            Arc::clone(&self.everyone),
            Encoding::Json,
            None,
        ));
        self.everyone.join(&membership);
        *client.presence() = Presence::Registered;
        // After the join: a shutdown that began before sees the client, or this check sees it.
        if self.is_stopping() {
            client.outbox.ask_to_close(CloseReason::Shutdown);
        }
        membership
    }

    /// Calls the connect callback. If it panics, the connection is closed with code 1011.
    pub(crate) fn notify_connected(&self, client: &Arc<Client>) {
        let user = client.identity().map(Identity::user);
        tracing::debug!(client = %client.id(), address = ?client.address(), user, "connected");
        if !self.callbacks.connected(client) {
            client.outbox.ask_to_close(CloseReason::Internal);
        }
    }

    /// Removes a client from every channel, that of all clients included. A second call does
    /// nothing.
    pub(crate) fn leave_all(&self, membership: &Arc<Subscription>) {
        if membership.has_left() {
            return;
        }
        self.everyone.leave(membership);
        let subscriptions = {
            let mut presence = membership.client.presence();
            *presence = Presence::Left;
            std::mem::take(&mut *membership.client.lock())
        };
        for subscription in subscriptions.into_values() {
            self.leave(&subscription);
        }
    }

    /// Unregisters a receiver within the process, which has no callbacks: counts the messages that
    /// are discarded with it.
    pub(super) fn end_local(&self, membership: &Arc<Subscription>, reason: CloseReason) {
        self.leave_all(membership);
        self.totals()
            .count_discarded(membership.client.outbox.discard() as u64);
        self.totals().count_closed(reason);
    }

    /// Unregisters a client whose connection has ended: counts the messages that are discarded with
    /// it, and calls the disconnect callback.
    pub(crate) fn unregister(&self, membership: &Arc<Subscription>, reason: CloseReason) {
        self.end_local(membership, reason);
        let client = &membership.client;
        tracing::debug!(client = %client.id(), %reason, "disconnected");
        self.callbacks.disconnected(client, reason);
    }
}

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Hub;

    fn client(hub: &Hub) -> Arc<Client> {
        hub.engine()
            .make_client(PeerInfo::default(), ClientKind::WebSocket)
    }

    #[tokio::test]
    async fn a_client_is_listed_from_its_registration_to_its_end_and_each_end_is_told_once() {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let hub = Hub::builder()
            .on_disconnect({
                let ends = Arc::clone(&ends);
                move |client, reason| ends.lock().unwrap().push((client.id(), reason))
            })
            .build()
            .unwrap();
        let client = client(&hub);
        assert_eq!(hub.client_count(), 0);
        let membership = hub.engine().register(&client);
        assert_eq!(hub.client_count(), 1);
        hub.engine().leave_all(&membership);
        hub.engine().leave_all(&membership);
        assert_eq!(hub.client_count(), 0);
        hub.engine().unregister(&membership, CloseReason::Kicked);
        assert_eq!(*ends.lock().unwrap(), [(client.id(), CloseReason::Kicked)]);
        let stats = hub.stats();
        assert_eq!(
            (stats.connected, stats.closed["closed by the server"]),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn what_waits_for_a_client_that_ends_is_counted_as_discarded() {
        let hub = Hub::new();
        let client = client(&hub);
        let membership = hub.engine().register(&client);
        for _ in 0..3 {
            hub.send_error("x");
        }
        hub.engine().flush();
        hub.engine().unregister(&membership, CloseReason::PeerGone);
        let stats = hub.stats();
        assert_eq!((stats.offered, stats.discarded), (3, 3));
    }

    #[tokio::test]
    async fn a_connect_callback_that_panics_ends_that_client_alone() {
        let hub = Hub::builder()
            .on_connect(|client| assert_ne!(client.id().to_string(), "1", "on purpose"))
            .build()
            .unwrap();
        let clients = [client(&hub), client(&hub)];
        for client in &clients {
            hub.engine().register(client);
            hub.engine().notify_connected(client);
        }
        assert_eq!(
            clients.map(|client| client.outbox.close_asked()),
            [Some(CloseReason::Internal), None]
        );
    }
}
