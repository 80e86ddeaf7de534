//! The commands of the program: one module for each.

pub(crate) mod completions;
pub(crate) mod healthcheck;
pub(crate) mod load;
pub(crate) mod load_server;
pub(crate) mod man;
pub(crate) mod pipe;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod tail;
pub(crate) mod watch;
