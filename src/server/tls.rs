//! TLS for the accept loop. The certificate can be replaced while the loop runs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// A TLS connection over TCP.
pub(super) type TlsStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

/// A certificate and its key, for [`ServeOptions::tls`](super::ServeOptions::tls).
///
/// Supports TLS 1.2 and 1.3. Clones share one certificate, so that renewing one renews all.
///
/// ```no_run
/// # use outrace::Hub;
/// # use tokio::net::TcpListener;
/// # type Result = std::result::Result<(), Box<dyn std::error::Error>>;
/// # async fn run(hub: Hub, listener: TcpListener) -> Result {
/// use outrace::server::{ServeOptions, Tls, serve_with};
///
/// let tls = Tls::from_pem(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?;
/// let options = ServeOptions::new().tls(tls.clone());
/// let router = hub.router();
/// serve_with(listener, hub, router, options, std::future::pending()).await?;
/// // Elsewhere, when there is a new certificate:
/// tls.renew(&std::fs::read("cert.pem")?, &std::fs::read("key.pem")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

/// An error in a certificate or a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate file contains no certificate in PEM, or one that is malformed.
    #[error("there is no certificate in PEM")]
    NoCertificate,
    /// The key file contains no unencrypted private key in PEM.
    #[error("there is no private key in PEM that is not encrypted")]
    NoKey,
    /// The certificate or the key is not usable, or they do not belong together. The source is
    /// rustls's error.
    #[error("the certificate and the key cannot be used together")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// Reads a certificate chain and its private key, both in PEM.
    ///
    /// The chain begins with the server's certificate, followed by the intermediate certificates.
    ///
    /// # Errors
    /// Returns a [`TlsError`] when a part is missing, malformed or unusable, or when the key is not
    /// the certificate's.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(ArcSwap::new(config(certificates, key)?))))
    }

    /// Replaces the certificate and the key. New connections use them; existing ones are
    /// unaffected.
    ///
    /// # Errors
    /// Returns the same errors as [`Tls::from_pem`]. The old certificate then remains in use.
    pub fn renew(&self, certificates: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.0.store(config(certificates, key)?);
        Ok(())
    }

    /// Returns an acceptor with the current certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
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
    // The server speaks only HTTP/1.1. Without this, a client could expect HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
