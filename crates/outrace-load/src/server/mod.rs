//! The servers that can be measured, their start, and their CPU time and memory.

pub(crate) mod affinity;
pub(crate) mod baseline;
pub(crate) mod broker;
pub(crate) mod cluster;
pub(crate) mod floor;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod running;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod usage;
