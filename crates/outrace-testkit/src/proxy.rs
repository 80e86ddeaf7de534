//! A TCP proxy whose connections a test can cut.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a server until they are cut. It lives as long as the runtime.
#[derive(Debug)]
pub struct Proxy {
    /// The address that it listens on.
    pub address: SocketAddr,
    passes: watch::Sender<bool>,
}

impl Proxy {
    /// Starts a proxy to the server at `to` in the caller's runtime.
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (passes, watch) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                tokio::spawn(pass(inbound, to, watch.clone()));
            }
        });
        Self { address, passes }
    }

    /// Cuts all connections, and each new one at once.
    pub fn cut(&self) {
        self.passes.send_replace(false);
    }

    /// Passes new connections on again.
    pub fn mend(&self) {
        self.passes.send_replace(true);
    }
}

async fn pass(mut inbound: TcpStream, to: SocketAddr, mut passes: watch::Receiver<bool>) {
    if !*passes.borrow_and_update() {
        return;
    }
    let Ok(mut outbound) = TcpStream::connect(to).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut inbound, &mut outbound) => {}
        _ = passes.changed() => {}
    }
}
