//! TLS of the client's connections.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::error::WatchError;

/// Returns whether a handshake failed because the server's answer is not TLS.
#[cfg(feature = "tls")]
pub(super) fn is_not_tls(error: &io::Error) -> bool {
    use tokio_rustls::rustls::Error;
    let source = error.get_ref().and_then(|source| source.downcast_ref());
    matches!(source, Some(Error::InvalidMessage(_)))
}

/// Returns whether a handshake failed because the server's answer is not TLS.
#[cfg(not(feature = "tls"))]
pub(super) fn is_not_tls(_: &io::Error) -> bool {
    false
}

/// A byte stream to a server, encrypted or not.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// The TLS settings of a connection. The default is a connection without TLS.
#[derive(Clone, Default)]
pub(super) struct ClientTls {
    #[cfg(feature = "tls")]
    config: Option<std::sync::Arc<tokio_rustls::rustls::ClientConfig>>,
}

#[cfg(feature = "tls")]
impl ClientTls {
    /// Trusts the root certificates in this PEM, or those of the system without one.
    pub(super) fn new(root_certificates: Option<&[u8]>) -> Result<Self, WatchError> {
        use std::sync::Arc;

        use tokio_rustls::rustls::crypto::ring::default_provider;
        use tokio_rustls::rustls::pki_types::CertificateDer;
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        use tokio_rustls::rustls::{ClientConfig, RootCertStore};

        fn invalid(error: impl std::fmt::Display) -> WatchError {
            WatchError::InvalidRootCertificates {
                reason: error.to_string(),
            }
        }

        let mut roots = RootCertStore::empty();
        match root_certificates {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate.map_err(invalid)?).map_err(invalid)?;
                }
            }
            None => {
                // A system certificate that cannot be parsed does not invalidate the others.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(WatchError::NoRootCertificates);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Some(Arc::new(config)),
        })
    }

    /// Runs the TLS handshake on `tcp`, if TLS is wanted.
    pub(super) async fn wrap(&self, tcp: TcpStream, host: &str) -> io::Result<Box<dyn Transport>> {
        use tokio_rustls::TlsConnector;
        use tokio_rustls::rustls::pki_types::ServerName;

        let Some(config) = &self.config else {
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(std::sync::Arc::clone(config));
        Ok(Box::new(connector.connect(name, tcp).await?))
    }
}

#[cfg(not(feature = "tls"))]
impl ClientTls {
    /// Fails, because TLS is not built in.
    pub(super) fn new(_root_certificates: Option<&[u8]>) -> Result<Self, WatchError> {
        Err(WatchError::TlsNotBuiltIn)
    }

    #[allow(
        clippy::unused_async,
        reason = "the signature is the one of a build with TLS"
    )]
    pub(super) async fn wrap(&self, tcp: TcpStream, _host: &str) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(tcp))
    }
}
