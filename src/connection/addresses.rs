//! How many connections each address has. Touched when one begins and when one ends, never on the way of a message.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many locks, each for its part of the addresses: a storm from everywhere meets at none of them.
const SHARDS: usize = 16;

type Counts = HashMap<IpAddr, usize>;

/// Connections by address. An address that has none takes no memory.
#[derive(Debug)]
pub(crate) struct Addresses {
    shards: [Mutex<Counts>; SHARDS],
    hasher: RandomState,
}

/// What is counted as one peer. `None` for what is not counted: connections from this machine.
pub(crate) fn counted(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(address) => {
            // A /64 is what one customer is given (RFC 6177): whoever has one address of it has all.
            let network = u128::from(address) >> 64 << 64;
            Some(Ipv6Addr::from(network).into())
        }
        address => Some(address),
    }
}

impl Addresses {
    pub(crate) fn new() -> Self {
        Self {
            shards: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// Counts one more connection of an address unless it has `most`.
    pub(crate) fn take(&self, address: IpAddr, most: usize) -> bool {
        let mut counts = self.shard(address);
        let count = counts.entry(address).or_default();
        // `most` is at least 1, so an entry that was just made is never left at 0.
        let taken = *count < most;
        *count += usize::from(taken);
        taken
    }

    /// One connection of it has ended.
    pub(crate) fn give_back(&self, address: IpAddr) {
        if let Entry::Occupied(mut entry) = self.shard(address).entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Nothing panics while a lock is held.
    fn shard(&self, address: IpAddr) -> MutexGuard<'_, Counts> {
        let shard = self.hasher.hash_one(address) as usize % SHARDS;
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
            assert_eq!(counted(ip(address)), expected.map(ip), "{address}");
        }
    }
}
