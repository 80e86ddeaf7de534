//! Where the server is: parsed from `ws://host:port/path`, resolved once.

use std::net::{SocketAddr, ToSocketAddrs};

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// For the `Host` header.
    pub(crate) host: String,
    pub(crate) path: String,
    /// Further header lines of every request.
    pub(crate) headers: Vec<String>,
}

impl Target {
    pub(crate) fn parse(url: &str, headers: &[String]) -> Result<Target, String> {
        if url.starts_with("wss://") {
            return Err(format!(
                "cannot load {url}: the generator speaks plain ws:// only, so that TLS is not what it measures"
            ));
        }
        let rest = url.strip_prefix("ws://").ok_or_else(|| {
            format!(
                "cannot load {url}: the URL must begin with ws://, as in ws://127.0.0.1:8080/ws"
            )
        })?;
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
            .map_err(|e| format!("cannot find the host of {url}: {e}"))?
            .next()
            .ok_or_else(|| format!("cannot find the host of {url}: it has no address"))?;
        for header in headers {
            if !header.contains(':') || header.contains(['\r', '\n']) {
                return Err(format!("--header must be \"Name: value\", not {header:?}"));
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
        let target = Target::parse("ws://127.0.0.1:8080/a/ws", &["A: b".to_owned()]).unwrap();
        assert_eq!(target.addr, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("127.0.0.1:8080", "/a/ws")
        );
        assert_eq!(
            Target::parse("ws://127.0.0.1", &[]).unwrap().addr.port(),
            80
        );
    }

    #[test]
    fn what_is_no_plain_websocket_url_is_refused_in_one_sentence() {
        for url in ["wss://h/ws", "http://h/ws", "127.0.0.1:80"] {
            let refusal = Target::parse(url, &[]).unwrap_err();
            assert!(
                refusal.contains(url) && !refusal.contains('\n'),
                "{refusal}"
            );
        }
        assert!(Target::parse("ws://127.0.0.1/", &["nonsense".to_owned()]).is_err());
    }
}
