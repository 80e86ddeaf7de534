//! The flags that all servers share.

use std::time::Duration;

use clap::Args;
use outrace::{ConfigError, Hub, HubBuilder, server};

use super::access::{Access, AccessOptions};
use super::bridge::BridgeOptions;
use super::cluster::ClusterOptions;
use super::join::JoinOptions;
use super::limits::Limits;
use super::values::{address, bytes, duration, seconds};
use crate::color::has_color;
use crate::console::LogWriter;
use crate::failure::Failure;

/// The port of a server that is given no address.
pub(crate) const DEFAULT_PORT: u16 = 7223;

/// The address of a server that is given none.
pub(crate) const DEFAULT_ADDRESS: &str = "127.0.0.1:7223";

/// The messages and the bytes of each channel that are kept by default.
const HISTORY: (usize, usize) = (1_000, 1 << 20);

/// The same in a cluster. Other nodes fetch what the broker lost from this history: some seconds
/// of a fast channel, so that they miss nothing while the broker is restarted.
const CLUSTER_HISTORY: (usize, usize) = (100_000, 16 << 20);

#[derive(Args, Debug)]
#[command(next_help_heading = "Server options")]
pub(crate) struct ServerOptions {
    /// The address to serve on; port 0 takes any free port [default: 127.0.0.1:7223, for run, pipe
    /// and tail the next free port if it is taken]
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) listen: Option<String>,

    /// Open the page in a browser
    #[arg(long)]
    pub(crate) open: bool,

    /// The path under which clients reach this server behind a proxy, such as /logs. It is served
    /// there and at the root, so the proxy may pass the path on or remove it
    #[arg(long, value_name = "PATH", default_value_t)]
    pub(crate) base_path: server::BasePath,

    /// Messages that may wait for one client
    #[arg(long, value_name = "MESSAGES", default_value_t = 8192)]
    queue: usize,

    /// Bytes that may wait for one client, such as 4194304, 512k or 4m
    # [arg(long, value_name = "BYTES", value_parser = bytes)]
    queue_bytes: Option<usize>,

    /// The longest time that a line waits to be sent with others, such as 10ms, 500us or 0s
    # [arg(long, value_name = "TIME", default_value = "10ms", value_parser = duration)]
    max_flush_interval: Duration,

    /// Messages of each channel to keep for clients that join late, reconnect or missed some; 0
    /// keeps none [default: 1000, with --cluster 100000]
    #[arg(long, value_name = "MESSAGES")]
    history: Option<usize>,

    /// Bytes of each channel to keep, such as 1MiB or 512k [default: 1MiB, with --cluster 16MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    history_bytes: Option<usize>,

    /// How long to keep a message, such as 10s, 30m or 1h
    # [arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    history_age: Duration,

    /// Bytes of all channels together to keep. Beyond that the least recently used channels drop
    /// theirs
    # [arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = bytes)]
    history_total: usize,

    /// The log level on standard error: error, warn, info, debug, trace, or a filter such as
    /// outrace=debug
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,

    #[command(flatten)]
    pub(crate) access: AccessOptions,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    cluster: ClusterOptions,

    #[command(flatten)]
    bridge: BridgeOptions,
}

#[derive(Args, Debug)]
pub(crate) struct LosslessOption {
    /// Wait for clients whose queue is full instead of skipping lines, each time for at most this
    /// many seconds
    # [arg(
        long = "lossless",
        id = "lossless",
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "30",
        value_parser = seconds
    )]
    pub(crate) limit: Option<Duration>,
}

impl ServerOptions {
    /// Builds the hub. It takes its channels from another server if `join` says so.
    pub(crate) async fn hub(
        &self,
        access: &Access,
        join: Option<&JoinOptions>,
    ) -> Result<Hub, Failure> {
        let (history, history_bytes) = match self.cluster.is_given() {
            true => CLUSTER_HISTORY,
            false => HISTORY,
        };
        let mut hub: HubBuilder = self
            .access
            .apply(Hub::builder(), access)
            .queue(self.queue)
            .max_flush_interval(self.max_flush_interval)
            .history(self.history.unwrap_or(history))
            .history_bytes(self.history_bytes.unwrap_or(history_bytes))
            .history_age(self.history_age)
            .history_total(self.history_total);
        if let Some(bytes) = self.queue_bytes {
            hub = hub.queue_bytes(bytes);
        }
        if let Some(join) = join {
            hub = join.apply(hub)?;
        }
        let hub = self.cluster.apply(hub).await?;
        let hub = self.bridge.apply(hub)?;
        self.limits.apply(hub).build().map_err(out_of_range)
    }

    /// Returns the limits of the accept loop.
    pub(crate) fn server(&self) -> Result<server::ServeOptions, Failure> {
        let options = self.limits.server();
        options.check().map_err(out_of_range)?;
        Ok(options)
    }

    /// Starts logging to standard error.
    pub(crate) fn start_logging(&self) -> Result<(), Failure> {
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log)
            .map_err(|error| Failure::usage(format!("--log {}: {error}", self.log)))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(|| LogWriter)
            .log_internal_errors(false)
            .with_ansi(has_color(&std::io::stderr()))
            .init();
        Ok(())
    }
}

/// Names a setting by its option.
fn out_of_range(error: ConfigError) -> Failure {
    match error {
        ConfigError::OutOfRange {
            setting,
            value,
            min,
            max,
            unit,
            ..
        } => {
            let option = setting.replace('_', "-");
            Failure::usage(format!(
                "--{option} is {value}{unit}, but has to be between {min} and {max}{unit}"
            ))
        }
        error => Failure::usage(error),
    }
}
