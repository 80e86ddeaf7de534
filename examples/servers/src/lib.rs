//! A hub behind five HTTP servers. Each module is a whole program but for its `main`, which is
//! `src/main.rs`:
//!
//! ```sh
//! cargo run -- actix     # then open http://127.0.0.1:8080/live/ws with any WebSocket client
//! ```
//!
//! | server | the glue |
//! |---|---|
//! | axum | [`mount`](outrace::server::mount): one line |
//! | hyper | [`Hub::upgrade`](outrace::Hub::upgrade): one line in the service |
//! | warp | the same, beside `warp::service` |
//! | poem | `Hub::handshake_async` and `Hub::serve_stream`: poem takes hyper's upgrade away |
//! | actix-web | the same, over a pipe: actix hands over no connection, only two streams of bytes |

pub mod actix;
pub mod axum;
pub mod hyper;
pub mod poem;
pub mod warp;
