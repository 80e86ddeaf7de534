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
//! | `http_stream` | `Hub::text_stream`, `Hub::event_stream`: a channel as a response |
//! | `stream_body` | the body of such a response: a client of the hub |
//! | `stream_query`, `silence` | the query of a stream's address, and what a silent stream sends |

mod accept;
mod body;
mod closing;
mod frames;
mod heartbeat;
mod http_stream;
mod phase;
mod reader;
mod refusal;
mod silence;
mod socket;
mod stream_body;
mod stream_query;
mod task;
mod token_bucket;
mod writer;

pub use accept::Accept;
pub use body::UpgradeBody;
pub use stream_body::StreamBody;

#[cfg(feature = "server")]
pub(crate) use http_stream::{Carrier, StreamForm, open_stream};
pub(crate) use socket::Socket;
pub(crate) use task::run;
