//! The options that bound what a peer may ask of the server.

use std::time::Duration;

use clap::Args;
use outrace::HubBuilder;
use outrace::server::ServeOptions;

use crate::flags::values::{bytes, duration};

#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Clients at once, HTTP streams included; further ones get status 503
    #[arg(long, value_name = "CLIENTS", default_value_t = 100_000)]
    max_connections: usize,

    /// Clients at once from one address other than this machine's; further ones get status 429
    #[arg(long, value_name = "CLIENTS", default_value_t = 1000)]
    max_connections_per_address: usize,

    /// Plain requests, and connections that are not yet clients, at once; further ones wait
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 4096)]
    max_requests: usize,

    /// How long the header of a request may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    header_timeout: Duration,

    /// Bytes of the header of a request; a larger one gets status 431
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = bytes)]
    header_bytes: usize,

    /// How long a whole request may take with its response, unless it becomes a client
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    request_timeout: Duration,

    /// How long an upgrade may take after its response
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    handshake_timeout: Duration,

    /// Bytes of the body of a request; a larger one gets status 413
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = bytes)]
    max_body: usize,

    /// How long the body of a request may take; a slower one gets status 408
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    body_timeout: Duration,

    /// Bytes of a message from a client; a larger one closes with code 1009
    #[arg(long, value_name = "BYTES", default_value = "64KiB", value_parser = bytes)]
    max_message: usize,

    /// Bytes of a message to a client, with its envelope and escapes; a longer line is cut
    #[arg(long, value_name = "BYTES", default_value = "64KiB", value_parser = bytes)]
    max_outgoing_message: usize,

    /// Fragments of a message from a client; more close with code 1008
    #[arg(long, value_name = "FRAGMENTS", default_value_t = 1024)]
    max_fragments: usize,

    /// Frames that a client may send each second in the long run; more close with code 1008
    #[arg(long, value_name = "FRAMES", default_value_t = 100)]
    message_rate: u32,

    /// Frames that a client may send at once beyond that rate [default: 2048, or twice
    /// --max-subscriptions]
    #[arg(long, value_name = "FRAMES")]
    message_burst: Option<u32>,

    /// Channels that one client may subscribe to
    #[arg(long, value_name = "CHANNELS", default_value_t = 1024)]
    max_subscriptions: usize,

    /// Channels at once, including those that only have a history
    #[arg(long, value_name = "CHANNELS", default_value_t = 100_000)]
    max_channels: usize,

    /// The time between two pings to a client
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    ping_interval: Duration,

    /// How long a client may send nothing at all, not even pongs; then it is closed with code 1001
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    idle_timeout: Duration,

    /// How long a client may take none of the bytes that wait for it; then it is closed with code
    /// 1008 [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    write_timeout: Option<Duration>,

    /// How long a client may take to answer a close frame
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    close_timeout: Duration,

    /// How long a client may take to read its queue when the server ends
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    flush_timeout: Duration,

    /// Spread the closing of connections over this time when the server ends, so that clients do
    /// not all reconnect at once
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    shutdown_spread: Duration,
}

impl Limits {
    /// Sets the bounds of the hub.
    pub(crate) fn apply(&self, hub: HubBuilder) -> HubBuilder {
        let hub = hub
            .max_connections(self.max_connections)
            .max_connections_per_address(self.max_connections_per_address)
            .handshake_timeout(self.handshake_timeout)
            .max_body(self.max_body)
            .body_timeout(self.body_timeout)
            .max_message(self.max_message)
            .max_outgoing_message(self.max_outgoing_message)
            .max_fragments(self.max_fragments)
            .message_rate(self.message_rate)
            .max_subscriptions(self.max_subscriptions)
            .max_channels(self.max_channels)
            .ping_interval(self.ping_interval)
            .idle_timeout(self.idle_timeout)
            .write_timeout(self.write_timeout)
            .close_timeout(self.close_timeout)
            .flush_timeout(self.flush_timeout)
            .shutdown_spread(self.shutdown_spread);
        match self.message_burst {
            Some(frames) => hub.message_burst(frames),
            None => hub,
        }
    }

    /// Returns the limits of the accept loop.
    pub(crate) fn server(&self) -> ServeOptions {
        ServeOptions::new()
            .header_timeout(self.header_timeout)
            .header_bytes(self.header_bytes)
            .max_requests(self.max_requests)
            .request_timeout(self.request_timeout)
    }
}
