//! Flags that several commands share, and the values they take.

mod access;
mod bridge;
mod cluster;
mod join;
mod limits;
mod server;
pub(crate) mod values;

pub(crate) use access::{Access, AccessOptions};
pub(crate) use join::JoinOptions;
pub(crate) use server::{DEFAULT_ADDRESS, DEFAULT_PORT, LosslessOption, ServerOptions};
