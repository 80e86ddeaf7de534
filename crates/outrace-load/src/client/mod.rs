//! The clients with their accounts, and the threads that hold their connections.

pub(crate) mod account;
pub(crate) mod announced;
pub(crate) mod ledger;
mod ledger_fault;
pub(crate) mod load_client;
pub(crate) mod receiver;
mod server_message;
mod slot;
