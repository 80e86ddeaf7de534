//! The state and the counts that the threads of a round share.

pub(crate) mod control;
pub(crate) mod histogram;
pub(crate) mod interval;
pub(crate) mod tally;
pub(crate) mod timeline;
