//! The figures that a server states about itself.

use crate::wire::http::HttpConnection;
use crate::wire::target::Target;
use serde::Deserialize;
use std::collections::HashMap;

/// The totals of `GET /api/stats` since the server started.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServerStats {
    /// Skipped lines x clients.
    pub(crate) skipped: Option<u64>,
    pub(crate) writes: Option<u64>,
    pub(crate) written_bytes: Option<u64>,
}

impl ServerStats {
    /// Fetches the totals. They are empty if the server has no such endpoint.
    pub(crate) fn fetch(target: &Target) -> ServerStats {
        let response = HttpConnection::connect(target)
            .and_then(|mut http| http.request("GET", "/api/stats", b""));
        match response {
            Ok((200, body)) => serde_json::from_slice(&body).unwrap_or_default(),
            _ => ServerStats::default(),
        }
    }

    pub(crate) fn bytes_per_write_since(&self, earlier: &ServerStats) -> Option<f64> {
        let writes = self.writes?.checked_sub(earlier.writes?)?;
        let bytes = self.written_bytes?.checked_sub(earlier.written_bytes?)?;
        (writes > 0).then(|| bytes as f64 / writes as f64)
    }
}

/// Fetches the skipped lines x clients per channel from `GET /api/channels`.
///
/// Returns an empty map if the server has no such endpoint.
pub(crate) fn fetch_skipped_by_channel(target: &Target) -> HashMap<String, u64> {
    #[derive(Deserialize)]
    struct ChannelStats {
        channel: String,
        skipped: u64,
    }
    let response = HttpConnection::connect(target)
        .and_then(|mut http| http.request("GET", "/api/channels", b""));
    let channels: Vec<ChannelStats> = match response {
        Ok((200, body)) => serde_json::from_slice(&body).unwrap_or_default(),
        _ => Vec::new(),
    };
    channels
        .into_iter()
        .map(|channel| (channel.channel, channel.skipped))
        .collect()
}
