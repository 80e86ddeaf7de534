//! The address of a server as a person writes it.

/// The address of a server on this machine at its usual port.
pub(crate) const DEFAULT_URL: &str = "ws://127.0.0.1:7223/ws";

/// Returns whether the first argument is an address. Otherwise it is a channel or a pattern.
///
/// An address has a scheme or a path, or is a host with a port: one without a scheme is a mistake
/// to be named, not a channel. `process:80` is a channel.
pub(crate) fn is_address(text: &str) -> bool {
    let has_port = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !matches!(host, "" | "process") && port.parse::<u16>().is_ok());
    text.contains('/') || (has_port && !text.contains('*'))
}

/// Returns the WebSocket address that a browser's address stands for. Other text stays as it is.
pub(crate) fn websocket_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => "ws",
        "https" => "wss",
        _ => scheme,
    };
    let (address, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    match address.split_once('/') {
        None | Some((_, "")) if matches!(scheme, "ws" | "wss") && !address.is_empty() => {
            format!("{scheme}://{}/ws{query}", address.trim_end_matches('/'))
        }
        _ => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_is_an_address_or_a_channel() {
        for address in [
            "ws://h",
            "http://127.0.0.1:7223",
            "localhost:7223",
            "127.0.0.1:80/live",
            "[::1]:7223",
            "example.org/live",
            "nonsense://",
        ] {
            assert!(is_address(address), "{address}");
        }
        for channel in [
            "*",
            "process:*",
            "process:web",
            "process:80",
            "news",
            "a:b",
            ":1",
        ] {
            assert!(!is_address(channel), "{channel}");
        }
    }

    #[test]
    fn the_address_of_a_page_is_that_of_a_websocket() {
        for (written, meant) in [
            ("http://h:1", "ws://h:1/ws"),
            ("HTTPS://h/?token=a/b", "wss://h/ws?token=a/b"),
            ("ws://h/live", "ws://h/live"),
            ("ftp://h", "ftp://h"),
            ("localhost:7223", "localhost:7223"),
        ] {
            assert_eq!(websocket_url(written), meant);
        }
    }
}
