//! The address of a server, parsed from `ws://host:port/path` and resolved once.

use std::net::{SocketAddr, ToSocketAddrs};

/// The reason why a URL or a header can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The URL asks for TLS.
    #[error(
        "cannot load {url}: the generator speaks plain ws:// only, so that it does not measure TLS"
    )]
    Tls {
        /// The URL as given.
        url: String,
    },
    /// The URL does not begin with `ws://`.
    #[error("cannot load {url}: the URL must begin with ws://, as in ws://127.0.0.1:7223/ws")]
    Scheme {
        /// The URL as given.
        url: String,
    },
    /// The host name can't be resolved.
    #[error("cannot find the host of {url}: {error}")]
    Resolve {
        /// The URL as given.
        url: String,
        /// The resolver's error. The message includes it.
        error: std::io::Error,
    },
    /// The host name resolves to no address.
    #[error("cannot find the host of {url}: it has no address")]
    NoAddress {
        /// The URL as given.
        url: String,
    },
    /// A header is not `Name: value`.
    #[error("a header must be \"Name: value\", not {header:?}")]
    Header {
        /// The header as given.
        header: String,
    },
}

/// A resolved server address, with everything that a request needs.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// The value of the `Host` header.
    pub(crate) host: String,
    pub(crate) path: String,
    /// Additional header lines of every request.
    pub(crate) headers: Vec<String>,
}

impl Target {
    /// Returns the address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}{}", self.host, self.path)
    }

    pub(crate) fn parse(url: &str, headers: &[String]) -> Result<Target, TargetError> {
        let named = || url.to_owned();
        if url.starts_with("wss://") {
            return Err(TargetError::Tls { url: named() });
        }
        let rest = url
            .strip_prefix("ws://")
            .ok_or_else(|| TargetError::Scheme { url: named() })?;
        let (host, path) = match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        };
        let with_port = if host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let addr = with_port
            .to_socket_addrs()
            .map_err(|error| TargetError::Resolve {
                url: named(),
                error,
            })?
            .next()
            .ok_or_else(|| TargetError::NoAddress { url: named() })?;
        for header in headers {
            if !header.contains(':') || header.contains(['\r', '\n']) {
                return Err(TargetError::Header {
                    header: header.clone(),
                });
            }
        }
        Ok(Target {
            addr,
            host: host.to_owned(),
            path: path.to_owned(),
            headers: headers.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("ws://127.0.0.1:7223/a/ws", &["A: b".to_owned()]).unwrap();
        assert_eq!(target.addr, "127.0.0.1:7223".parse().unwrap());
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("127.0.0.1:7223", "/a/ws")
        );
        assert_eq!(
            Target::parse("ws://127.0.0.1", &[]).unwrap().addr.port(),
            80
        );
    }

    #[test]
    fn what_is_no_plain_websocket_url_is_refused_in_one_sentence() {
        for url in ["wss://h/ws", "http://h/ws", "127.0.0.1:80"] {
            let refusal = Target::parse(url, &[]).unwrap_err().to_string();
            assert!(
                refusal.contains(url) && !refusal.contains('\n'),
                "{refusal}"
            );
        }
        assert!(Target::parse("ws://127.0.0.1/", &["nonsense".to_owned()]).is_err());
    }
}
