//! `outrace pipe`: standard input as a process.

use clap::Args;
use outrace::process::{LinePublisher, LineSender};
use outrace::{ChannelName, ProcessId, Status};

use crate::console::notice;
use crate::exit::Exit;
use crate::failure::{Failure, plain};
use crate::flags::{LosslessOption, ServerOptions};
use crate::output::Output;
use crate::server::{Announcement, Server, unchanged};
use crate::signals::Signals;
use crate::stdin::{self, End};

/// Standard input is read as fast as it comes. A client never slows down the program that writes
/// it, unless --lossless asks for that.
#[derive(Args)]
pub(crate) struct Pipe {
    /// The name of the process: 1 to 128 of A-Z a-z 0-9 _ . -
    #[arg(long, value_name = "ID")]
    id: String,

    /// Pass the input through to standard output, as tee does
    #[arg(long)]
    tee: bool,

    /// Keep serving after the end of standard input, or without a reader of --tee, until a signal
    #[arg(long)]
    stay: bool,

    /// Do not print the address
    #[arg(long, short)]
    quiet: bool,

    #[command(flatten)]
    lossless: LosslessOption,

    #[command(flatten)]
    server: ServerOptions,
}

impl Pipe {
    pub(crate) async fn start(self) -> Result<Exit, Failure> {
        let id = ProcessId::parse(&self.id).map_err(Failure::usage)?;
        let mut signals = Signals::listen()?;
        let channel = ChannelName::process(&id);
        let announcement = Announcement {
            channels: std::slice::from_ref(&channel),
            quiet: self.quiet,
        };
        let server = Server::start(&self.server, None, announcement, unchanged).await?;
        signals.hangup_reloads(server.reloads())?;
        let publisher = server
            .hub
            .publisher(channel.as_str())
            .map_err(Failure::usage)?;
        publisher.send_status(Status::Running, 0);
        let (stay, hub) = (self.stay, server.hub.clone());
        Output::stdout().go_on_while(move || stay || hub.client_count() > 0);

        let sender = LineSender::new(publisher.clone(), self.lossless.limit);
        let feed = LinePublisher::new(sender.clone());
        let end = stdin::feed(feed, self.tee, &mut signals, || sender.disable_lossless()).await;
        let code = match &end {
            Ok(End::Eof) => {
                publisher.send_status(Status::Exited, 0);
                0
            }
            Ok(End::Signal) => {
                publisher.send_status(Status::Stopped, 0);
                0
            }
            Err(_) => {
                publisher.send_status(Status::Crashed, 1);
                1
            }
        };
        if self.stay && matches!(end, Ok(End::Eof)) {
            if !self.quiet {
                notice!("{channel} has ended, still serving");
            }
            signals.next().await;
        }
        let cut = server.shut_down(&mut signals).await;
        end.map_err(|error| {
            Failure::new(
                code,
                format!("cannot read standard input: {}", plain(&error)),
            )
        })?;
        Ok(cut.map_or(Exit::Code(code), Exit::from))
    }
}
