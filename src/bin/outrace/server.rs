//! A hub that listens, for as long as the command needs it.

use std::io;

use axum::Router;
use outrace::process::Signal;
use outrace::{ChannelName, Hub};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::options::ServerOptions;
use crate::signals::Signals;

pub(crate) struct Server {
    pub(crate) hub: Hub,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Listens, and says where on standard error unless it is to be quiet: with port 0 there is no other
    /// way to know. `channels` are those to watch.
    pub(crate) async fn start(
        options: &ServerOptions,
        channels: &[ChannelName],
        quiet: bool,
    ) -> Result<Self, Failure> {
        Self::start_with(options, channels, quiet, |_, router| Ok(router)).await
    }

    /// As [`start`](Self::start), with more on its router. `finish` is called when it listens.
    pub(crate) async fn start_with(
        options: &ServerOptions,
        channels: &[ChannelName],
        quiet: bool,
        finish: impl FnOnce(&Hub, Router) -> Result<Router, Failure>,
    ) -> Result<Self, Failure> {
        options.start_logging()?;
        let (hub, bounds) = (options.hub()?, options.server()?);
        let listener =
            TcpListener::bind(&options.listen).await.map_err(|error| refused(&options.listen, &error))?;
        if !quiet {
            let address = listener.local_addr().map_err(|error| refused(&options.listen, &error))?;
            let names: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
            let channels = match names.len() {
                0 => String::new(),
                1 => format!(", channel {}", names[0]),
                _ => format!(", channels {}", names.join(" ")),
            };
            eprintln!("outrace: listening on ws://{address}/ws{channels}");
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let app = finish(&hub, hub.router().merge(outrace::server::viewer()))?;
        let serving = tokio::spawn(outrace::server::serve_with(listener, hub.clone(), app, bounds, async {
            // Stopped or dropped: the same.
            let _ = stopped.await;
        }));
        Ok(Self { hub, stop, serving })
    }

    /// Ends in good order: every client gets what waits for it, in bounded time. A signal ends it at once, and is the answer then.
    pub(crate) async fn shut_down(self, signals: &mut Signals) -> Option<Signal> {
        let _ = self.stop.send(());
        tokio::select! {
            // First, so that one that came before is not passed over.
            biased;
            signal = signals.next() => Some(signal),
            served = self.serving => {
                if let Ok(Err(error)) = served {
                    tracing::warn!(%error, "serving ended with an error");
                }
                None
            }
        }
    }
}

/// The exit code of a command that a signal cut short, as a shell tells it.
pub(crate) fn cut_short(signal: Signal) -> u8 {
    u8::try_from(128 + signal.number()).unwrap_or(255)
}

fn refused(listen: &str, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; is another outrace running? choose another port with --listen, or port 0 for any free one"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose another with --listen",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address: choose another with --listen",
        _ => "",
    };
    Failure::new(1, format!("cannot listen on {listen}: {}{advice}", plain(error)))
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    let words = error.to_string();
    match words.rfind(" (os error") {
        Some(at) => words[..at].to_lowercase(),
        None => words,
    }
}
