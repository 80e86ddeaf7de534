//! Flags that several commands share.

mod access;
mod limits;
mod server;
pub(crate) mod values;

pub(crate) use access::{Access, AccessOptions};
pub(crate) use server::{Patience, ServerOptions};
