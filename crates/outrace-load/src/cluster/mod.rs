//! The measurements of a cluster that are no comparison of one workload: what mirrors cost their
//! home, and what the common list of channels costs each node.

pub(crate) mod directory;
pub(crate) mod home_cost;
