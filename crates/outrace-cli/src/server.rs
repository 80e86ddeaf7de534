//! A hub and its listener, for as long as a command needs them.

use std::io;
use std::net::Ipv4Addr;

use axum::Router;
use outrace::{ChannelName, Hub};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::console::notice;
use crate::failure::{Failure, advice, plain};
use crate::flags::{
    Access, AccessOptions, DEFAULT_ADDRESS, DEFAULT_PORT, JoinOptions, ServerOptions,
};
use crate::page::Page;
use crate::signals::{EndSignal, Signals};

/// How many ports are tried from the default one on.
const PORTS_TRIED: u16 = 100;

pub(crate) struct Server {
    pub(crate) hub: Hub,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
    reloading: Option<JoinHandle<()>>,
    /// Waits for the program that opens the page.
    opening: Option<JoinHandle<()>>,
}

/// What a server prints on standard error when it listens.
#[derive(Clone, Copy)]
pub(crate) struct Announcement<'a> {
    /// The channels that are named after the address.
    pub(crate) channels: &'a [ChannelName],
    /// Whether nothing is printed.
    pub(crate) quiet: bool,
}

/// Leaves the router of a server as it is.
pub(crate) fn unchanged(_: &Hub, router: Router) -> Result<Router, Failure> {
    Ok(router)
}

impl Server {
    /// Listens, and announces the server.
    ///
    /// `join` is given where the channels may come from another server. `finish` gets the router
    /// once the server listens, and returns the one that is served.
    pub(crate) async fn start(
        options: &ServerOptions,
        join: Option<&JoinOptions>,
        announcement: Announcement<'_>,
        finish: impl FnOnce(&Hub, Router) -> Result<Router, Failure>,
    ) -> Result<Self, Failure> {
        let Announcement { channels, quiet } = announcement;
        options.start_logging()?;
        let access = options.access.open()?;
        let listen = options.listen.as_deref().unwrap_or(DEFAULT_ADDRESS);
        let failed = |error| refused(listen, &error);
        let addresses: Vec<_> = tokio::net::lookup_host(listen)
            .await
            .map_err(failed)?
            .collect();
        options.access.check_exposure(listen, &addresses)?;
        let hub = options.hub(&access, join).await?;
        let bounds = options.access.apply_to_server(options.server()?, &access);
        let listener = match options.listen {
            Some(_) => TcpListener::bind(&addresses[..]).await,
            None => bind_next_free(DEFAULT_PORT, quiet).await,
        }
        .map_err(failed)?;
        let has_tls = access.tls.is_some();
        // Before the address is printed: until then a SIGHUP ends the program.
        let reloading = match access.has_files() {
            true => Some(reload_on_hangup(
                options.access.clone(),
                access,
                hub.clone(),
            )?),
            false => None,
        };
        let address = listener.local_addr().map_err(failed)?;
        let base = options.base_path.as_str();
        let page = Page::new(has_tls, address, base);
        if !quiet {
            let scheme = if has_tls { "wss" } else { "ws" };
            let names: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
            let channels = match names.len() {
                0 => String::new(),
                1 => format!(", channel {}", names[0]),
                _ => format!(", channels {}", names.join(" ")),
            };
            // At the end of the line, where every terminal finds the address to click on.
            notice!("listening on {scheme}://{address}{base}/ws{channels}, page {page}");
        }
        hub.start();
        let (stop, stopped) = oneshot::channel::<()>();
        let app = finish(&hub, hub.router().merge(outrace::server::viewer()))?;
        let app = options.base_path.mount(app);
        let serving = tokio::spawn(outrace::server::serve_with(
            listener,
            hub.clone(),
            app,
            bounds,
            async {
                // A dropped sender stops the server too.
                let _ = stopped.await;
            },
        ));
        let opening = match options.open {
            true => page.open().await,
            false => None,
        };
        Ok(Self {
            hub,
            stop,
            serving,
            reloading,
            opening,
        })
    }

    /// Returns whether SIGHUP reads tokens, keys and certificates again.
    pub(crate) fn reloads(&self) -> bool {
        self.reloading.is_some()
    }

    /// Shuts down: every client gets what waits for it, in bounded time. A signal ends this at once
    /// and is returned.
    pub(crate) async fn shut_down(self, signals: &mut Signals) -> Option<EndSignal> {
        let _ = self.stop.send(());
        for task in [&self.reloading, &self.opening].into_iter().flatten() {
            task.abort();
        }
        tokio::select! {
            // Biased, so that a signal that has already come is seen first.
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

/// Listens on the loopback address at `first`, or at the next port that is free, and says so.
async fn bind_next_free(first: u16, quiet: bool) -> io::Result<TcpListener> {
    for port in first..first.saturating_add(PORTS_TRIED) {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => {
                if port != first && !quiet {
                    notice!("port {first} is taken: using {port}");
                }
                return Ok(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// Spawns a task that reads the token, key and certificate files again at each SIGHUP.
fn reload_on_hangup(
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
        _ => advice(error),
    };
    Failure::new(
        1,
        format!("cannot listen on {listen}: {}{advice}", plain(error)),
    )
}
