//! `outrace serve`: the server alone.

use clap::Args;

use crate::failure::Failure;
use crate::flags::ServerOptions;
use crate::server::{Server, cut_short};
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
    /// Serves until a signal; a second one ends at once.
    pub(crate) async fn start(self) -> Result<u8, Failure> {
        let mut signals = Signals::listen()?;
        let server = Server::start(&self.server, &[], self.quiet).await?;
        signals.next().await;
        Ok(server.shut_down(&mut signals).await.map_or(0, cut_short))
    }
}
