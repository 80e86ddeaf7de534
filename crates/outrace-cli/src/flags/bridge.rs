//! The flags of a server that exchanges messages with nodes of go-ws.

use clap::Args;
use outrace::HubBuilder;
use outrace::bridge::redis::RedisBridge;

use crate::failure::Failure;

#[derive(Args, Debug)]
#[command(next_help_heading = "Redis bridge options")]
pub(crate) struct BridgeOptions {
    /// Exchange messages with go-ws nodes over this Redis, such as
    /// redis://user:password@127.0.0.1:6379, or rediss://host for TLS. Other users of this machine
    /// can see a command line: prefer the environment for a password
    #[arg(
        long,
        value_name = "URL",
        env = "OUTRACE_REDIS_BRIDGE",
        hide_env_values = true
    )]
    redis_bridge: Option<String>,

    /// The prefix of the Redis channels, the same on all nodes
    #[arg(long, value_name = "PREFIX", default_value = "ws")]
    redis_bridge_prefix: String,
}

impl BridgeOptions {
    /// Has the hub exchange messages over Redis, if one is given.
    pub(super) fn apply(&self, hub: HubBuilder) -> Result<HubBuilder, Failure> {
        let Some(url) = &self.redis_bridge else {
            return Ok(hub);
        };
        let bridge = RedisBridge::builder(url)
            .prefix(&self.redis_bridge_prefix)
            .build()
            .map_err(|error| Failure::usage(format!("--redis-bridge: {error}")))?;
        Ok(hub.bridge(bridge))
    }
}
