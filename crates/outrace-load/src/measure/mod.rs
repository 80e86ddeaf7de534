//! What the threads of a round share and count.

pub(crate) mod control;
pub(crate) mod histogram;
pub(crate) mod interval;
pub(crate) mod tally;
pub(crate) mod timeline;
