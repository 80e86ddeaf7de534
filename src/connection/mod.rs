//! Connections: one task owns one socket, reads its client's commands and writes its frames.
//!
//! This is stage 6 of a line's path, and the way in for clients. The server's side of the WebSocket
//! protocol is here; tungstenite keeps the protocol's rules for received frames and for the
//! handshake's key. (The client's side is in `client`.)
//!
//! | file | job |
//! |---|---|
//! | `accept` | `Hub::upgrade`, `Hub::handshake`: checks and answers the opening handshake |
//! | `body` | the body of an answer to a handshake |
//! | `refusal` | the refusals of a handshake |
//! | `task` | runs a connection |
//! | `closing` | ends a connection: flush, close frame, linger |
//! | `phase` | the phases of its life |
//! | `reader`, `frames` | receives messages, and counts their frames |
//! | `writer` | sends what waits in the client's outbox |
//! | `heartbeat` | decides when to ping, and when a peer has timed out |
//! | `token_bucket` | limits how many frames a peer sends |
//! | `socket` | the byte stream |

mod accept;
mod body;
mod closing;
mod frames;
mod heartbeat;
mod phase;
mod reader;
mod refusal;
mod socket;
mod task;
mod token_bucket;
mod writer;

pub use accept::Accept;
pub use body::UpgradeBody;

#[cfg(feature = "server")]
pub(crate) use refusal::HandshakeRefusal;
pub(crate) use socket::Socket;
pub(crate) use task::run;
