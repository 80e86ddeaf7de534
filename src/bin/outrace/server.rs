//! A hub that listens, for as long as the command needs it.

use std::io;

use outrace::Hub;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::access::{Access, AccessOptions};
use crate::failure::{Failure, plain};
use crate::options::ServerOptions;

pub(crate) struct Server {
    pub(crate) hub: Hub,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
    reloading: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and says where on standard error unless it is to be quiet: with port 0 there is no other
    /// way to know. `channel` is the one to watch, if there is one.
    pub(crate) async fn start(
        options: &ServerOptions,
        channel: Option<&str>,
        quiet: bool,
    ) -> Result<Self, Failure> {
        options.start_logging()?;
        let access = options.access.open()?;
        let failed = |error| refused(&options.listen, &error);
        let addresses: Vec<_> = tokio::net::lookup_host(&options.listen).await.map_err(failed)?.collect();
        options.access.check_exposure(&options.listen, &addresses)?;
        let hub = options.hub(&access)?;
        let listener = TcpListener::bind(&addresses[..]).await.map_err(failed)?;
        if !quiet {
            let address = listener.local_addr().map_err(failed)?;
            let scheme = if access.tls.is_some() { "wss" } else { "ws" };
            match channel {
                Some(channel) => {
                    eprintln!("outrace: listening on {scheme}://{address}/ws, channel {channel}")
                }
                None => eprintln!("outrace: listening on {scheme}://{address}/ws"),
            }
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let mut bounds = outrace::server::Options::default();
        bounds.tls = access.tls.clone();
        let app = hub.router().merge(outrace::server::viewer());
        let serving = tokio::spawn(outrace::server::serve_with(listener, hub.clone(), app, bounds, async {
            // Stopped or dropped: the same.
            let _ = stopped.await;
        }));
        let reloading =
            access.has_files().then(|| reload_when_told(options.access.clone(), access, hub.clone()));
        Ok(Self { hub, stop, serving, reloading: reloading.transpose()? })
    }

    /// Ends in good order: every client gets what waits for it, in bounded time.
    pub(crate) async fn shut_down(self) {
        let _ = self.stop.send(());
        if let Some(reloading) = &self.reloading {
            reloading.abort();
        }
        if let Ok(Err(error)) = self.serving.await {
            tracing::warn!(%error, "serving ended with an error");
        }
    }
}

/// Has SIGHUP read the files of access again, from now on.
fn reload_when_told(options: AccessOptions, access: Access, hub: Hub) -> Result<JoinHandle<()>, Failure> {
    let mut hangups = signal(SignalKind::hangup())
        .map_err(|error| Failure::new(1, format!("cannot listen for signals: {error}")))?;
    Ok(tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            options.reload(&access, &hub);
        }
    }))
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
