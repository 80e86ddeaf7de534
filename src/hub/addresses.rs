//! Counts the connections of each address. Used when a connection begins and when it ends, never
//! while a message is on its way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};

use crate::sync::lock;

/// The number of locks. Each guards its share of the addresses, so that a burst of connections from
/// many addresses does not contend for one lock.
const SHARDS: usize = 16;

type Counts = HashMap<IpAddr, usize>;

/// The number of connections of each address. An address without connections takes no memory.
#[derive(Debug)]
pub(super) struct Addresses {
    shards: [Mutex<Counts>; SHARDS],
    hasher: RandomState,
}

/// Returns the address that a connection counts for. Connections from this machine are not counted.
pub(super) fn counted_address(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => {
            // One customer gets a whole /64 (RFC 6177), so a peer with one address of it has all.
            let network = u128::from(address) >> 64 << 64;
            Some(Ipv6Addr::from(network).into())
        }
        address => Some(address),
    }
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// Counts one more connection of an address. Returns false, and counts nothing, if the address
    /// has `max` already.
    pub(super) fn take(&self, address: IpAddr, max: usize) -> bool {
        let mut counts = self.shard(address);
        let count = counts.entry(address).or_default();
        // `max` is at least 1, so a new entry does not stay at 0.
        let taken = *count < max;
        *count += usize::from(taken);
        taken
    }

    /// Counts one connection of an address less.
    pub(super) fn give_back(&self, address: IpAddr) {
        if let Entry::Occupied(mut entry) = self.shard(address).entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    fn shard(&self, address: IpAddr) -> MutexGuard<'_, Counts> {
        let shard = self.hasher.hash_one(address) as usize % SHARDS;
        lock(&self.shards[shard])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_more_than_the_bound_is_refused_until_one_is_given_back_and_nothing_is_kept() {
        let addresses = Addresses::new();
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert!(
            addresses.take(a, 2)
                && addresses.take(a, 2)
                && !addresses.take(a, 2)
                && addresses.take(b, 2)
        );
        addresses.give_back(a);
        assert!(addresses.take(a, 2) && !addresses.take(a, 2));
        for address in [a, a, b] {
            addresses.give_back(address);
        }
        assert!(
            addresses
                .shards
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty())
        );
    }

    #[test]
    fn a_network_of_one_peer_is_one_address_and_the_loopback_is_not_counted() {
        for (address, expected) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
            ("2001:db8:1:2::9", Some("2001:db8:1:2::")),
            ("2001:db8:1:3::9", Some("2001:db8:1:3::")),
            ("127.0.0.1", None),
            ("127.8.8.8", None),
            ("::1", None),
            ("::ffff:127.0.0.1", None),
        ] {
            assert_eq!(counted_address(ip(address)), expected.map(ip), "{address}");
        }
    }
}
