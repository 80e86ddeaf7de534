//! The connections that a hub may have at once, in all and from one address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::Notify;

use super::Engine;
use super::addresses::{Addresses, counted_address};
use crate::sync::{AtomicUsize, Ordering};

/// The number of connections, handshakes under way included.
pub(super) struct Slots {
    taken: AtomicUsize,
    addresses: Addresses,
    /// Notified when the last slot is given back.
    emptied: Notify,
}

/// The limit that a new connection would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionLimit {
    /// [`HubBuilder::max_connections`](crate::HubBuilder::max_connections).
    Total,
    /// [`HubBuilder::max_connections_per_address`](crate::HubBuilder::max_connections_per_address).
    Address,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            taken: AtomicUsize::new(0),
            addresses: Addresses::new(),
            emptied: Notify::new(),
        }
    }

    /// Returns whether there is no connection.
    pub(super) fn are_free(&self) -> bool {
        // Acquire, paired with the AcqRel in `give_back`: a caller that sees the last slot given
        // back sees the effects of its connection.
        self.taken.load(Ordering::Acquire) == 0
    }

    /// Completes when the last slot is given back after this call.
    pub(super) fn emptied(&self) -> impl Future<Output = ()> {
        self.emptied.notified()
    }

    fn take(&self, max: usize) -> bool {
        // AcqRel, as in `give_back`.
        self.taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < max).then_some(taken + 1)
            })
            .is_ok()
    }

    fn give_back(&self) {
        // AcqRel: Release publishes the connection's effects to `are_free`. Acquire chains the
        // effects of the connections that ended before.
        if self.taken.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

/// One of the connections that a hub may have, from the handshake to the end of the connection.
/// Dropping it gives the slot back.
pub(crate) struct ConnectionSlot {
    engine: Arc<Engine>,
    /// The address that the connection counts for, if it counts for one.
    address: Option<IpAddr>,
}

impl ConnectionSlot {
    /// Takes a slot, and counts it for the peer's address if that is known.
    ///
    /// # Errors
    /// Returns the limit that one more connection would exceed. Nothing is taken then.
    pub(crate) fn take(
        engine: &Arc<Engine>,
        peer: Option<SocketAddr>,
    ) -> Result<Self, ConnectionLimit> {
        let config = engine.config();
        if !engine.slots.take(config.max_connections) {
            return Err(ConnectionLimit::Total);
        }
        // Dropping this gives the slot back, also on the error below.
        let mut slot = Self {
            engine: Arc::clone(engine),
            address: None,
        };
        if let Some(address) = peer.and_then(|peer| counted_address(peer.ip())) {
            let addresses = &engine.slots.addresses;
            if !addresses.take(address, config.max_connections_per_address) {
                return Err(ConnectionLimit::Address);
            }
            slot.address = Some(address);
        }
        Ok(slot)
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.engine.slots.addresses.give_back(address);
        }
        self.engine.slots.give_back();
    }
}

#[cfg(all(test, not(outrace_loom)))]
#[allow(clippy::unwrap_used, reason = "as in tests")]
mod tests {
    use super::*;
    use crate::Hub;

    fn peer(address: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(address.parse().unwrap(), 1))
    }

    fn hub(connections: usize, per_address: usize) -> Hub {
        Hub::builder()
            .max_connections(connections)
            .max_connections_per_address(per_address)
            .build()
            .unwrap()
    }

    #[test]
    fn a_slot_beyond_the_total_is_refused_until_one_is_dropped() {
        let hub = hub(2, 10);
        let take = || ConnectionSlot::take(hub.engine(), None);
        let first = take().ok().unwrap();
        let _second = take().ok().unwrap();
        assert_eq!(take().err(), Some(ConnectionLimit::Total));
        drop(first);
        assert!(take().is_ok());
    }

    #[test]
    fn a_slot_that_is_refused_for_its_address_takes_nothing_of_the_total() {
        let hub = hub(2, 1);
        let take = |address| ConnectionSlot::take(hub.engine(), peer(address));
        let _first = take("192.0.2.1").ok().unwrap();
        for _ in 0..3 {
            assert_eq!(take("192.0.2.1").err(), Some(ConnectionLimit::Address));
        }
        assert!(take("192.0.2.2").is_ok());
    }

    #[test]
    fn the_loopback_and_unknown_addresses_count_for_the_total_alone() {
        let hub = hub(4, 1);
        let take = |peer| ConnectionSlot::take(hub.engine(), peer);
        let slots: Vec<_> = [peer("127.0.0.1"), peer("127.0.0.1"), None, None]
            .map(|peer| take(peer).ok().unwrap())
            .into();
        assert_eq!(take(None).err(), Some(ConnectionLimit::Total));
        assert!(!hub.engine().slots.are_free());
        drop(slots);
        assert!(hub.engine().slots.are_free());
    }

    #[tokio::test]
    async fn the_last_slot_that_is_given_back_wakes_those_who_wait_for_it() {
        let hub = hub(4, 1);
        let slots = [(); 2].map(|()| ConnectionSlot::take(hub.engine(), None).ok());
        let emptied = hub.engine().slots.emptied();
        drop(slots);
        emptied.await;
    }
}
