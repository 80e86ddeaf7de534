//! Making a connection: TCP, TLS where the address asks for it, and the handshake.

#[cfg(feature = "tls")]
use std::sync::Arc;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// A connection, encrypted or not.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Transport>>;

/// Whom to trust: nobody is asked on a plain connection.
#[derive(Clone, Default)]
pub(super) struct Trust {
    #[cfg(feature = "tls")]
    config: Option<Arc<tokio_rustls::rustls::ClientConfig>>,
}

impl Trust {
    /// The certificate authorities in this PEM, or those that the system trusts.
    #[cfg(feature = "tls")]
    pub(super) fn new(authorities: Option<&[u8]>) -> Result<Self, String> {
        use tokio_rustls::rustls::crypto::ring::default_provider;
        use tokio_rustls::rustls::pki_types::CertificateDer;
        use tokio_rustls::rustls::pki_types::pem::PemObject;
        use tokio_rustls::rustls::{ClientConfig, RootCertStore};

        let mut roots = RootCertStore::empty();
        match authorities {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| error.to_string())?;
                    roots.add(certificate).map_err(|error| error.to_string())?;
                }
            }
            None => {
                // Some that cannot be read are no reason to trust none.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err("there is no certificate of an authority to trust".to_owned());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Some(Arc::new(config)),
        })
    }

    #[cfg(feature = "tls")]
    async fn wrap(&self, tcp: TcpStream, host: &str) -> Result<Box<dyn Transport>, Error> {
        let Some(config) = &self.config else {
            return Ok(Box::new(tcp));
        };
        let name = tokio_rustls::rustls::pki_types::ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Url(UrlError::NoHostName))?;
        Ok(Box::new(
            tokio_rustls::TlsConnector::from(Arc::clone(config))
                .connect(name, tcp)
                .await?,
        ))
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_async, reason = "as with TLS")]
    async fn wrap(&self, tcp: TcpStream, _host: &str) -> Result<Box<dyn Transport>, Error> {
        Ok(Box::new(tcp))
    }
}

/// Connects, over TLS if the address asks for it.
pub(super) async fn connect(uri: &Uri, trust: &Trust) -> Result<Box<dyn Transport>, Error> {
    let default_port = if uri.scheme_str() == Some("wss") {
        443
    } else {
        80
    };
    let host = uri.host().ok_or(Error::Url(UrlError::NoHostName))?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(default_port))).await?;
    // What is written is small and waited for; a socket that refuses the option still works.
    let _ = tcp.set_nodelay(true);
    trust.wrap(tcp, &host).await
}

/// Connects, and shakes hands.
pub(super) async fn dial(
    request: Request,
    trust: Trust,
    config: WebSocketConfig,
) -> Result<Socket, Error> {
    let stream = connect(request.uri(), &trust).await?;
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}
