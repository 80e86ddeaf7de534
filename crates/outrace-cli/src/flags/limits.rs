//! The options that say how much a peer may ask of a server, and for how long.

use std::time::Duration;

use clap::Args;
use outrace::{HubBuilder, server};

use crate::flags::values::{bytes, duration};

#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Clients that may be connected at once, streams included; others are answered 503
    #[arg(long, value_name = "CLIENTS", default_value_t = 100_000)]
    max_connections: usize,

    /// Of those, from one address other than this machine's; others are answered 429
    #[arg(long, value_name = "CLIENTS", default_value_t = 1000)]
    max_connections_per_address: usize,

    /// Connections at once that are no clients yet, or plain requests; others wait to be accepted
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 4096)]
    max_requests: usize,

    /// How long the header of a request may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    header_timeout: Duration,

    /// Bytes a request's header may have; more is answered 431
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = bytes)]
    header_bytes: usize,

    /// How long a request may take in all, its answer included, unless it becomes a client
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    request_timeout: Duration,

    /// How long an upgrade may take once it is answered
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    handshake_timeout: Duration,

    /// Bytes a request's body may have; more is answered 413
    #[arg(long, value_name = "BYTES", default_value = "4MiB", value_parser = bytes)]
    max_body: usize,

    /// How long a request's body may take; later is answered 408
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    body_timeout: Duration,

    /// Bytes a client's message may have; more closes with 1009
    #[arg(long, value_name = "BYTES", default_value = "64KiB", value_parser = bytes)]
    max_message: usize,

    /// Fragments a client's message may have; more close with 1008
    #[arg(long, value_name = "FRAGMENTS", default_value_t = 1024)]
    max_fragments: usize,

    /// Frames a client may send each second in the long run; more close with 1008
    #[arg(long, value_name = "FRAMES", default_value_t = 100)]
    message_rate: u32,

    /// Frames a client may send at once beyond that rate [default: 2048, or twice --max-subscriptions]
    #[arg(long, value_name = "FRAMES")]
    message_burst: Option<u32>,

    /// Channels one client may subscribe to
    #[arg(long, value_name = "CHANNELS", default_value_t = 1024)]
    max_subscriptions: usize,

    /// Channels there may be, with those that only have a history
    #[arg(long, value_name = "CHANNELS", default_value_t = 100_000)]
    max_channels: usize,

    /// How often a client is pinged
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    ping_interval: Duration,

    /// How long a client may say nothing at all, pongs included; then it is closed with 1001
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    idle_timeout: Duration,

    /// How long a client may take to answer a close
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    close_timeout: Duration,

    /// How long a client may take for what waits for it when the server ends
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    flush_timeout: Duration,

    /// Spread the closing of connections over this time when the server ends, so that not all come back at once
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    shutdown_spread: Duration,
}

impl Limits {
    /// Sets what the hub bounds.
    pub(crate) fn apply(&self, hub: HubBuilder) -> HubBuilder {
        let hub = hub
            .max_connections(self.max_connections)
            .max_connections_per_address(self.max_connections_per_address)
            .handshake_timeout(self.handshake_timeout)
            .max_body(self.max_body)
            .body_timeout(self.body_timeout)
            .max_message(self.max_message)
            .max_fragments(self.max_fragments)
            .message_rate(self.message_rate)
            .max_subscriptions(self.max_subscriptions)
            .max_channels(self.max_channels)
            .ping_interval(self.ping_interval)
            .idle_timeout(self.idle_timeout)
            .close_timeout(self.close_timeout)
            .flush_timeout(self.flush_timeout)
            .shutdown_spread(self.shutdown_spread);
        match self.message_burst {
            Some(frames) => hub.message_burst(frames),
            None => hub,
        }
    }

    /// What the accept loop bounds.
    pub(crate) fn server(&self) -> server::Options {
        let mut options = server::Options::default();
        options.header_timeout = self.header_timeout;
        options.header_bytes = self.header_bytes;
        options.max_requests = self.max_requests;
        options.request_timeout = self.request_timeout;
        options
    }
}
