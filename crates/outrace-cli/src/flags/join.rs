//! The flags of a server that takes its channels from others.

use std::path::PathBuf;

use clap::Args;
use outrace::HubBuilder;
use outrace::backplane::relay::Relay;

use crate::address::websocket_url;
use crate::failure::Failure;
use crate::files::read;

#[derive(Args, Debug)]
#[command(next_help_heading = "Relay options")]
pub(crate) struct JoinOptions {
    /// Take the channels from this server, such as wss://home.example.org/ws. Each channel is
    /// fetched once, whatever the number of its viewers here. With several servers, each channel
    /// comes from the one that has it
    #[arg(
        long,
        value_name = "URL",
        env = "OUTRACE_JOIN",
        value_delimiter = ' ',
        conflicts_with_all = ["redis_bridge", "cluster"]
    )]
    join: Vec<String>,

    /// Send this token to these servers. Other users of this machine can see a command line: prefer
    /// the environment or a file
    #[arg(
        long,
        value_name = "TOKEN",
        env = "OUTRACE_JOIN_TOKEN",
        hide_env_values = true,
        requires = "join"
    )]
    join_token: Option<String>,

    /// Send these servers the token that this file contains
    #[arg(
        long,
        value_name = "FILE",
        requires = "join",
        conflicts_with = "join_token"
    )]
    join_token_file: Option<PathBuf>,

    /// For wss://, trust the certificate authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE", requires = "join")]
    join_ca: Option<PathBuf>,
}

impl JoinOptions {
    /// Has the hub take its channels from the other servers, if any is given.
    pub(crate) fn apply(&self, hub: HubBuilder) -> Result<HubBuilder, Failure> {
        let [first, others @ ..] = &*self.join else {
            return Ok(hub);
        };
        let mut relay = Relay::builder(&websocket_url(first));
        for url in others {
            relay = relay.upstream(&websocket_url(url));
        }
        let token = match &self.join_token_file {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim().to_owned()),
            None => self.join_token.clone(),
        };
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            relay = relay.token(token);
        }
        if let Some(path) = &self.join_ca {
            relay = relay.root_certificates(read(path)?);
        }
        let relay = relay
            .build()
            .map_err(|error| Failure::usage(format!("--join: {error}")))?;
        Ok(hub.backplane(relay))
    }
}
