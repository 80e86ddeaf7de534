//! TLS for the accept loop, with certificates that can be renewed while it runs.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A certificate and its key, for [`Options::tls`](super::Options::tls). TLS 1.2 and 1.3. Clones are one and the same.
///
/// ```no_run
/// # async fn run(hub: outrace::Hub, listener: tokio::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
/// use outrace::server::{Options, Tls, serve_with};
///
/// let tls = Tls::from_pem(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?;
/// let mut options = Options::default();
/// options.tls = Some(tls.clone());
/// let router = hub.router();
/// serve_with(listener, hub, router, options, std::future::pending()).await?;
/// // And elsewhere, when there is a new one:
/// tls.renew(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

/// A certificate or a key that cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no certificate in what should be PEM.
    #[error("there is no certificate in PEM")]
    NoCertificate,
    /// There is no private key in what should be PEM.
    #[error("there is no private key in PEM that is not encrypted")]
    NoKey,
    /// They are not usable, or not of each other.
    #[error("the certificate and the key do not serve: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// The certificate, followed by those between it and its root, and its key, all in PEM.
    ///
    /// # Errors
    /// There is none, or they do not go together.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(config(certificates, key)?))))
    }

    /// Serves these from now on. Connections that there are stay as they are.
    ///
    /// # Errors
    /// As [`Tls::from_pem`]; then the old ones go on serving.
    pub fn renew(&self, certificates: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let config = config(certificates, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// With what serves now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

fn config(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificates).collect::<Result<Vec<_>, _>>();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(TlsError::NoCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // What the server speaks: a client that would rather have HTTP/2 is told at once.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
