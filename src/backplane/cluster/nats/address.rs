//! Where NATS is, and as whom a node connects to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;

use crate::backplane::cluster::broker::{BrokerSettings, CALL_TIMEOUT};

/// Messages of one subscription that wait for its task. The client's own bound is 65,536.
const SUBSCRIPTION_CAPACITY: usize = 64;
/// Commands that wait for the connection.
const CLIENT_CAPACITY: usize = 32;
/// The client gives a connection up that leaves three pings without an answer.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// Before the client would connect again by itself. It is dropped before.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// The servers of a cluster of NATS, and the credentials for them.
#[derive(Clone)]
pub(crate) struct NatsAddress {
    servers: Vec<ServerAddr>,
    login: Login,
}

#[derive(Clone, PartialEq, Eq)]
enum Login {
    None,
    Password { user: String, password: String },
    Token(String),
    CredentialsFile(PathBuf),
}

/// The error for an address of NATS that cannot be used. None names a password or token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NatsAddressError {
    /// The URL of a server is none.
    #[error("not a usable NATS URL; it is nats://[USER:PASSWORD@]HOST[:PORT] or tls://…")]
    Url,
    /// The servers are given with different credentials, or with two kinds of them.
    #[error("the NATS servers have to be given with the same credentials")]
    Credentials,
}

impl NatsAddress {
    /// Takes `nats://` or `tls://` URLs of the servers of one cluster, separated by commas. A user
    /// without a password is a token, as in NATS's own tools.
    ///
    /// # Errors
    /// Returns an error for a URL that cannot be used, and for different credentials.
    pub(crate) fn parse(urls: &str) -> Result<Self, NatsAddressError> {
        let mut servers = Vec::new();
        let mut login = Login::None;
        for url in urls.split(',').map(str::trim) {
            let (server, its_login) = parse_server(url)?;
            if its_login != Login::None {
                if login != Login::None && login != its_login {
                    return Err(NatsAddressError::Credentials);
                }
                login = its_login;
            }
            servers.push(server);
        }
        Ok(Self { servers, login })
    }

    /// Uses a `.creds` file, which is read at each connection.
    ///
    /// # Errors
    /// Returns an error if the URL has credentials too.
    pub(crate) fn with_credentials_file(
        mut self,
        file: impl Into<PathBuf>,
    ) -> Result<Self, NatsAddressError> {
        if self.login != Login::None {
            return Err(NatsAddressError::Credentials);
        }
        self.login = Login::CredentialsFile(file.into());
        Ok(self)
    }

    /// Returns the servers for a log, without credentials.
    pub(super) fn shown(&self) -> String {
        let host = |server: &ServerAddr| format!("{}:{}", server.host(), server.port());
        self.servers.iter().map(host).collect::<Vec<_>>().join(", ")
    }

    /// Connects once. The client ends soon after it loses the connection.
    pub(super) async fn connect<F, Fut>(
        &self,
        settings: &BrokerSettings,
        on_event: F,
    ) -> Result<Client, String>
    where
        F: Fn(async_nats::Event) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + Sync + 'static,
    {
        let was_connected = Arc::new(AtomicBool::new(false));
        let is_reconnect = Arc::clone(&was_connected);
        let options = ConnectOptions::new()
            .name(format!("outrace {}", settings.node))
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .client_capacity(CLIENT_CAPACITY)
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CALL_TIMEOUT)
            .request_timeout(Some(CALL_TIMEOUT))
            .no_echo()
            .custom_inbox_prefix(format!("_INBOX.{}.{}", settings.prefix, settings.node))
            // The link connects again with a client of its own: what waits in this one's channel
            // would be sent by a later connection, long after its call ended. Each server counts.
            .ignore_discovered_servers()
            .max_reconnects(self.servers.len())
            .reconnect_delay_callback(move |_| {
                // Relaxed: the flag guards no other data, and an early look costs one attempt.
                if is_reconnect.load(Ordering::Relaxed) {
                    RECONNECT_PAUSE
                } else {
                    Duration::ZERO
                }
            })
            .event_callback(on_event);
        let options = match &self.login {
            Login::None => options,
            Login::Password { user, password } => {
                options.user_and_password(user.clone(), password.clone())
            }
            Login::Token(token) => options.token(token.clone()),
            Login::CredentialsFile(file) => options
                .credentials_file(file)
                .await
                .map_err(|error| format!("the credentials in {}: {error}", file.display()))?,
        };
        let connected = options.connect(&self.servers[..]).await;
        was_connected.store(true, Ordering::Relaxed);
        connected.map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for NatsAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NatsAddress").field(&self.shown()).finish()
    }
}

fn parse_server(url: &str) -> Result<(ServerAddr, Login), NatsAddressError> {
    let server: ServerAddr = url.parse().map_err(|_| NatsAddressError::Url)?;
    if !matches!(server.scheme(), "nats" | "tls") || server.host().is_empty() {
        return Err(NatsAddressError::Url);
    }
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(String::from).map_err(|_| NatsAddressError::Url)
    };
    let login = match (server.username(), server.password()) {
        (None, None) => Login::None,
        (Some(token), None) => Login::Token(decoded(token)?),
        (Some(user), Some(password)) => Login::Password {
            user: decoded(user)?,
            password: decoded(password)?,
        },
        (None, Some(_)) => return Err(NatsAddressError::Url),
    };
    // The client would use the escaped form, and log it.
    let mut bare = server.into_inner();
    let stripped = bare.set_username("").and_then(|()| bare.set_password(None));
    stripped.map_err(|()| NatsAddressError::Url)?;
    let server = ServerAddr::from_url(bare).map_err(|_| NatsAddressError::Url)?;
    Ok((server, login))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_servers_and_one_login() {
        let parse = |urls| NatsAddress::parse(urls).unwrap();
        let address = parse("nats://u:p%40ss@a:4223, tls://b,c");
        assert_eq!(address.shown(), "a:4223, b:4222, c:4222");
        let (user, password) = ("u".into(), "p@ss".into());
        assert!(address.login == Login::Password { user, password });
        assert!(address.servers[1].tls_required());
        assert!(parse("nats://s3cret@a").login == Login::Token("s3cret".into()));
        assert!(!format!("{:?}", parse("nats://s3cret@a")).contains("s3cret"));
        assert!(parse("a").with_credentials_file("x.creds").is_ok());
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused() {
        for urls in [
            "",
            "http://a",
            "ws://a",
            "nats://",
            "nats://a,",
            "nats://:p@a",
            "nats://a:x",
        ] {
            assert_eq!(
                NatsAddress::parse(urls).unwrap_err(),
                NatsAddressError::Url,
                "{urls}"
            );
        }
        let different = NatsAddress::parse("nats://u:p@a,nats://t@b");
        assert_eq!(different.unwrap_err(), NatsAddressError::Credentials);
        let both = NatsAddress::parse("nats://u:p@a").unwrap();
        let both = both.with_credentials_file("x.creds");
        assert_eq!(both.unwrap_err(), NatsAddressError::Credentials);
    }
}
