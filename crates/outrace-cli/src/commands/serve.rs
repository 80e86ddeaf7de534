//! `outrace serve`: the server alone, for programs that publish over HTTP.

use clap::Args;

use crate::failure::Failure;
use crate::flags::{DEFAULT_ADDRESS, JoinOptions, ServerOptions};
use crate::server::{Server, signal_exit_code};
use crate::signals::Signals;

#[derive(Args)]
pub(crate) struct Serve {
    /// Do not print the address
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    join: JoinOptions,

    #[command(flatten)]
    server: ServerOptions,
}

impl Serve {
    /// Serves until a signal. A second signal ends the program at once.
    pub(crate) async fn start(mut self) -> Result<u8, Failure> {
        let mut signals = Signals::listen()?;
        // Programs that publish know the address: another port would be of no use to them.
        self.server
            .listen
            .get_or_insert_with(|| DEFAULT_ADDRESS.to_owned());
        let server = Server::start_joined(&self.server, &self.join, self.quiet).await?;
        signals.hangup_reloads(server.reloads())?;
        signals.next().await;
        Ok(server
            .shut_down(&mut signals)
            .await
            .map_or(0, signal_exit_code))
    }
}
