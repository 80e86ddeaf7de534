//! `outrace serve`: the server alone, for programs that publish over HTTP.

use clap::Args;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::{DEFAULT_ADDRESS, JoinOptions, ServerOptions};
use crate::server::{Announcement, Server, unchanged};
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
    /// Serves until a signal. A second signal ends the program at once, by that signal.
    pub(crate) async fn start(mut self) -> Result<Exit, Failure> {
        let mut signals = Signals::listen()?;
        // Programs that publish know the address: another port would be of no use to them.
        self.server
            .listen
            .get_or_insert_with(|| DEFAULT_ADDRESS.to_owned());
        let announcement = Announcement {
            channels: &[],
            quiet: self.quiet,
        };
        let join = Some(&self.join);
        let server = Server::start(&self.server, join, announcement, unchanged).await?;
        signals.hangup_reloads(server.reloads())?;
        signals.next().await;
        Ok(server
            .shut_down(&mut signals)
            .await
            .map_or(Exit::Code(0), Exit::from))
    }
}
