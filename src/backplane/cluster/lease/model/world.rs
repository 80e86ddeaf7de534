//! What the nodes of the model suffer.

use proptest::prelude::*;

use super::NODES;

/// A clock with a rate and an offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) per_mille: u64,
    offset_ms: u64,
}

impl Clock {
    pub(super) fn at(self, true_ms: u64) -> u64 {
        self.offset_ms + true_ms * self.per_mille / 1000
    }

    /// Returns the first true time at which the clock shows this.
    pub(super) fn when(self, ms: u64) -> u64 {
        (ms.saturating_sub(self.offset_ms) * 1000).div_ceil(self.per_mille)
    }
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) clocks: Vec<Clock>,
    pub(super) walls: Vec<u64>,
    pub(super) store_per_mille: u64,
    pub(super) loses_data: bool,
    /// Of 100 calls, those that suffer.
    pub(super) faults: u64,
}

pub(super) fn worlds(loses_data: bool) -> impl Strategy<Value = World> {
    let clock = (960..1041_u64, 0..1_000_000_u64).prop_map(|(per_mille, offset_ms)| Clock {
        per_mille,
        offset_ms,
    });
    (
        any::<u64>(),
        prop::collection::vec(clock, NODES),
        // Wall clocks that are up to a minute apart.
        prop::collection::vec(1_700_000_000_000..1_700_000_060_000_u64, NODES),
        960..1041_u64,
        0..60_u64,
    )
        .prop_map(
            move |(seed, clocks, walls, store_per_mille, faults)| World {
                seed,
                clocks,
                walls,
                store_per_mille,
                loses_data,
                faults,
            },
        )
}
