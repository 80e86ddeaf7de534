//! `outrace serve`: the server alone.

use clap::Args;

use crate::failure::Failure;
use crate::options::ServerOptions;
use crate::server::Server;
use crate::signals::Signals;

#[derive(Args)]
pub(crate) struct Serve {
    /// Do not say where it listens
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    server: ServerOptions,
}

impl Serve {
    /// Serves until a signal.
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let mut signals = Signals::listen()?;
        let server = Server::start(&self.server, &[], self.quiet).await?;
        signals.next().await;
        server.shut_down().await;
        Ok(0)
    }
}
