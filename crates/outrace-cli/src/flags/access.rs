//! The options that say who may connect, and their files, which SIGHUP reads again.

use std::error::Error as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use outrace::access::{
    self, AuthFuture, Authenticator, Credentials, Identity, Jwt, Origins, Reloadable, TokenTable,
    TrustedProxies,
};
use outrace::server::{ServeOptions, Tls};
use outrace::{Hub, HubBuilder};

use crate::failure::Failure;
use crate::files::read;

#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Access")]
pub(crate) struct AccessOptions {
    /// Accept the tokens of this file. Each line is NAME TOKEN [subscribe=PATTERN,…]
    /// [publish=PATTERN,…] [control=PATTERN,…]. Without subscribe= a token may watch every channel,
    /// without publish= it publishes nothing, without control= it starts and stops no process.
    /// publish=@everyone allows messages to all clients. SIGHUP reads the file again
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Accept JSON Web Tokens signed by this key: a public key in PEM (RS256, ES256, EdDSA), or a
    /// secret of at least 32 bytes (HS256), without the line break at its end. The claims
    /// subscribe, publish and control are arrays of patterns. SIGHUP reads the file again
    #[arg(long, value_name = "FILE")]
    jwt_key: Option<PathBuf>,

    /// Accept only JSON Web Tokens with this aud; repeat it for further ones
    #[arg(long, value_name = "NAME", requires = "jwt_key")]
    jwt_audience: Vec<String>,

    /// Accept only JSON Web Tokens with this iss; repeat it for further ones
    #[arg(long, value_name = "NAME", requires = "jwt_key")]
    jwt_issuer: Vec<String>,

    /// Accept every client, also from other machines
    #[arg(long, conflicts_with_all = ["token_file", "jwt_key"])]
    no_auth: bool,

    /// Accept pages of this origin too, such as https://app.example.org, https://*.example.org,
    /// tauri://localhost or vscode-webview://*, or of any origin with *
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,

    /// Accept pages of the origins of --allow-origin only, not those of this server and of loopback
    #[arg(long, requires = "allow_origin")]
    only_allowed_origins: bool,

    /// Answer to this host name too, or to any with *; over loopback only loopback names are
    /// answered otherwise
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,

    /// Trust the proxies of this address or network, such as 10.0.0.0/8, to name the client's
    /// address in X-Forwarded-For or Forwarded; repeat it for further ones
    #[arg(long, value_name = "CIDR")]
    trusted_proxy: Vec<String>,

    /// Expect the PROXY protocol, version 1 or 2, at the beginning of each connection from
    /// --trusted-proxy, and close a connection without it
    #[arg(long, requires = "trusted_proxy")]
    proxy_protocol: bool,

    /// Choose this subprotocol when a WebSocket client offers it; repeat it for further ones
    #[arg(long, value_name = "NAME")]
    subprotocol: Vec<String>,

    /// Serve over TLS with this certificate and its chain, in PEM. SIGHUP reads the file again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl AccessOptions {
    /// Reads the files.
    pub(crate) fn open(&self) -> Result<Access, Failure> {
        let tls = match self.certificate()? {
            Some(pair) => Some(
                Tls::from_pem(&pair.certificates, &pair.key)
                    .map_err(|error| self.unusable_certificate(&error))?,
            ),
            None => None,
        };
        Ok(Access {
            keys: self.keys()?.map(|keys| Arc::new(Reloadable::new(keys))),
            tls,
            origins: self.origins()?,
            proxies: TrustedProxies::parse(&self.trusted_proxy)
                .map_err(|error| Failure::usage(format!("--trusted-proxy: {error}")))?,
        })
    }

    /// Refuses to serve other machines without authentication, unless `--no-auth` was given.
    pub(crate) fn check_exposure(
        &self,
        listen: &str,
        addresses: &[SocketAddr],
    ) -> Result<(), Failure> {
        let is_local = addresses
            .iter()
            .all(|address| address.ip().to_canonical().is_loopback());
        if is_local || self.no_auth || self.token_file.is_some() || self.jwt_key.is_some() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{listen} can be reached from other machines; say who may come in with --token-file or --jwt-key, or let \
             everybody in with --no-auth"
        )))
    }

    /// Sets the authentication, the origins and the host names of the hub.
    pub(crate) fn apply(&self, mut hub: HubBuilder, access: &Access) -> HubBuilder {
        if let Some(keys) = &access.keys {
            hub = hub.authenticator(Arc::clone(keys));
        }
        hub = hub
            .origins(access.origins.clone())
            .trusted_proxies(access.proxies.clone());
        hub = self.subprotocol.iter().fold(hub, HubBuilder::subprotocol);
        self.allow_host.iter().fold(hub, HubBuilder::allow_host)
    }

    /// Sets what the accept loop has to know about connections.
    pub(crate) fn apply_to_server(&self, options: ServeOptions, access: &Access) -> ServeOptions {
        let options = match &access.tls {
            Some(tls) => options.tls(tls.clone()),
            None => options,
        };
        match self.proxy_protocol {
            true => options.proxy_protocol(access.proxies.clone()),
            false => options,
        }
    }

    /// Reads the files again. A file with an error is logged, and its old content stays in force.
    pub(crate) fn reload(&self, access: &Access, hub: &Hub) {
        if let Some(tls) = &access.tls {
            let renewed = self.certificate().and_then(|pair| match pair {
                Some(pair) => tls
                    .renew(&pair.certificates, &pair.key)
                    .map_err(|error| self.unusable_certificate(&error)),
                None => Ok(()),
            });
            match renewed {
                Ok(()) => tracing::info!("read the certificate again"),
                Err(failure) => tracing::error!("kept the old certificate: {}", failure.sentence()),
            }
        }
        if let Some(keys) = &access.keys {
            match self.keys() {
                Ok(Some(new)) => {
                    keys.replace(new);
                    let keys = keys.current();
                    for client in hub.clients() {
                        if client
                            .identity()
                            .is_some_and(|identity| !keys.know(identity))
                        {
                            client.close();
                        }
                    }
                    tracing::info!("read the tokens and keys again");
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::error!("kept the old tokens and keys: {}", failure.sentence())
                }
            }
        }
    }

    fn keys(&self) -> Result<Option<Keys>, Failure> {
        let mut known: Vec<Box<dyn Authenticator>> = Vec::new();
        let mut tokens = None;
        if let Some(path) = &self.token_file {
            let text = String::from_utf8(read_secret(path)?)
                .map_err(|_| Failure::usage(format!("{}: it is not UTF-8", path.display())))?;
            let table = TokenTable::parse(&text)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            if table.is_empty() {
                return Err(Failure::usage(format!(
                    "{}: there is no token in it",
                    path.display()
                )));
            }
            let table = Arc::new(table);
            known.push(Box::new(Arc::clone(&table)));
            tokens = Some(table);
        }
        if let Some(path) = &self.jwt_key {
            let key = read_secret(path)?;
            let jwt = if key.trim_ascii_start().starts_with(b"-----BEGIN") {
                Jwt::from_pem(&key)
            } else {
                Jwt::from_secret(
                    key.strip_suffix(b"\n")
                        .map_or(&key[..], |key| key.strip_suffix(b"\r").unwrap_or(key)),
                )
            };
            let jwt =
                jwt.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            let jwt = self
                .jwt_audience
                .iter()
                .fold(jwt.grants_from_claims(), Jwt::audience);
            known.push(Box::new(self.jwt_issuer.iter().fold(jwt, Jwt::issuer)));
        }
        Ok((!known.is_empty()).then(|| Keys {
            tokens,
            any: Box::new(access::any_of(known)),
        }))
    }

    fn origins(&self) -> Result<Origins, Failure> {
        if self.allow_origin.iter().any(|origin| origin == "*") {
            if self.only_allowed_origins {
                return Err(Failure::usage(
                    "--allow-origin * accepts every page, and --only-allowed-origins only those \
                     that are listed: leave one of them out",
                ));
            }
            return Ok(Origins::any());
        }
        let origins = if self.only_allowed_origins {
            Origins::only(&self.allow_origin)
        } else {
            Origins::allow(&self.allow_origin)
        };
        origins.map_err(|error| Failure::usage(format!("--allow-origin: {error}")))
    }

    /// Reads the certificate and its key.
    fn certificate(&self) -> Result<Option<Pair>, Failure> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificates), Some(key)) => Ok(Some(Pair {
                certificates: read(certificates)?,
                key: read_secret(key)?,
            })),
            _ => Ok(None),
        }
    }

    fn unusable_certificate(&self, error: &outrace::server::TlsError) -> Failure {
        let shown = |path: &Option<PathBuf>| {
            path.as_deref()
                .unwrap_or(Path::new(""))
                .display()
                .to_string()
        };
        let mut sentence = format!(
            "{} and {}: {error}",
            shown(&self.tls_cert),
            shown(&self.tls_key)
        );
        if let Some(source) = error.source() {
            sentence.push_str(&format!(": {source}"));
        }
        Failure::usage(sentence)
    }
}

/// The contents of a certificate file and of its key file.
struct Pair {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

/// The contents of the files when they were last read.
pub(crate) struct Access {
    keys: Option<Arc<Reloadable<Keys>>>,
    pub(crate) tls: Option<Tls>,
    origins: Origins,
    proxies: TrustedProxies,
}

impl Access {
    /// Returns whether there are files to read again.
    pub(crate) fn has_files(&self) -> bool {
        self.keys.is_some() || self.tls.is_some()
    }
}

/// The accepted tokens: those of the file, and signed ones.
struct Keys {
    tokens: Option<Arc<TokenTable>>,
    any: Box<dyn Authenticator>,
}

impl Keys {
    /// Returns whether a connected identity is still accepted. A signed token is accepted until it
    /// expires, and its connection ends with it.
    fn know(&self, identity: &Identity) -> bool {
        identity.expiry().is_some()
            || identity.claim("exp").is_some()
            || self
                .tokens
                .as_ref()
                .is_some_and(|tokens| tokens.knows(identity))
    }
}

impl Authenticator for Keys {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        self.any.authenticate(shown)
    }
}

/// Reads a file of tokens or keys, and warns if other users can read it.
fn read_secret(path: &Path) -> Result<Vec<u8>, Failure> {
    let content = read(path)?;
    if let Ok(metadata) = fs::metadata(path)
        && metadata.permissions().mode() & 0o077 != 0
    {
        tracing::warn!("{} can be read by others; chmod 600 it", path.display());
    }
    Ok(content)
}
