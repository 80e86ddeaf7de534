//! The bytes that the generator exchanges with a server: HTTP, WebSocket frames and stamped lines.

pub(crate) mod batch;
pub(crate) mod frame;
pub(crate) mod http;
pub(crate) mod line_template;
pub(crate) mod stamp;
pub(crate) mod target;
pub(crate) mod upgrade;
