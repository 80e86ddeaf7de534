//! A hub that listens, for as long as the command needs it.

use std::io;

use axum::Router;
use outrace::process::Signal;
use outrace::{ChannelName, Hub};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::failure::{Failure, plain};
use crate::flags::ServerOptions;
use crate::flags::{Access, AccessOptions};
use crate::signals::Signals;

pub(crate) struct Server {
    pub(crate) hub: Hub,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
    reloading: Option<JoinHandle<()>>,
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
        let access = options.access.open()?;
        let failed = |error| refused(&options.listen, &error);
        let addresses: Vec<_> = tokio::net::lookup_host(&options.listen)
            .await
            .map_err(failed)?
            .collect();
        options.access.check_exposure(&options.listen, &addresses)?;
        let (hub, mut bounds) = (options.hub(&access)?, options.server()?);
        bounds.tls = access.tls.clone();
        let listener = TcpListener::bind(&addresses[..]).await.map_err(failed)?;
        let has_tls = access.tls.is_some();
        // Before anybody is told that it listens: without it a SIGHUP ends the program.
        let reloading = match access.has_files() {
            true => Some(reload_when_told(
                options.access.clone(),
                access,
                hub.clone(),
            )?),
            false => None,
        };
        if !quiet {
            let address = listener.local_addr().map_err(failed)?;
            let scheme = if has_tls { "wss" } else { "ws" };
            let names: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
            let channels = match names.len() {
                0 => String::new(),
                1 => format!(", channel {}", names[0]),
                _ => format!(", channels {}", names.join(" ")),
            };
            eprintln!("outrace: listening on {scheme}://{address}/ws{channels}");
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let app = finish(&hub, hub.router().merge(outrace::server::viewer()))?;
        let serving = tokio::spawn(outrace::server::serve_with(
            listener,
            hub.clone(),
            app,
            bounds,
            async {
                // Stopped or dropped: the same.
                let _ = stopped.await;
            },
        ));
        Ok(Self {
            hub,
            stop,
            serving,
            reloading,
        })
    }

    /// Ends in good order: every client gets what waits for it, in bounded time. A signal ends it at once, and is the answer then.
    pub(crate) async fn shut_down(self, signals: &mut Signals) -> Option<Signal> {
        let _ = self.stop.send(());
        if let Some(reloading) = &self.reloading {
            reloading.abort();
        }
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

/// Has SIGHUP read the files of access again, from now on.
fn reload_when_told(
    options: AccessOptions,
    access: Access,
    hub: Hub,
) -> Result<JoinHandle<()>, Failure> {
    let mut hangups = signal(SignalKind::hangup())
        .map_err(|error| Failure::new(1, format!("cannot listen for signals: {error}")))?;
    Ok(tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            options.reload(&access, &hub);
        }
    }))
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
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need privileges: choose another with --listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; this machine has no such address: choose another with --listen"
        }
        _ => "",
    };
    Failure::new(
        1,
        format!("cannot listen on {listen}: {}{advice}", plain(error)),
    )
}
