//! The servers that can be measured: how each is started, and what it costs.

pub(crate) mod affinity;
pub(crate) mod baseline;
pub(crate) mod floor;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod usage;
