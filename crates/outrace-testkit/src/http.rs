//! HTTP/1.1 on a blocking socket, without a library between the test and the bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::TIMEOUT;

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The status line and the headers.
    pub header: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Parses the body, whose content type must be JSON.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        serde_json::from_str(&self.body).unwrap()
    }

    /// Asserts that this is a refusal with this status and this body, in plain text.
    #[track_caller]
    pub fn assert_refusal(&self, status: u16, text: &str) {
        assert_eq!(
            (self.status, self.body.as_str()),
            (status, text),
            "{self:?}"
        );
        assert_eq!(
            self.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{self:?}"
        );
    }
}

/// Sends the bytes of a request and reads the response.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(request).unwrap();
    read_response(&mut stream)
}

/// Reads one response. Its body has the length that `Content-Length` says.
pub fn read_response(stream: &mut TcpStream) -> Response {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let header = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let status = header.split(' ').nth(1).unwrap().parse().unwrap();
            let mut response = Response {
                status,
                header,
                body: String::new(),
            };
            let length: usize = response
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                response.body =
                    String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap();
                return response;
            }
        }
        let n = stream.read(&mut chunk).unwrap();
        assert!(
            n > 0,
            "the server hung up: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&chunk[..n]);
    }
}

/// Returns the header line that carries a bearer token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Sends a GET request.
pub fn get(address: SocketAddr, path: &str) -> Response {
    get_with(address, path, "")
}

/// Sends a GET request with further headers, each ended by CRLF.
pub fn get_with(address: SocketAddr, path: &str, headers: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n");
    exchange(address, request.as_bytes())
}

/// Sends a POST request with further headers, each ended by CRLF.
pub fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(address, request.as_bytes())
}

/// Posts actions.
pub fn act(address: SocketAddr, body: &str) -> Response {
    act_with(address, "", body)
}

/// Posts actions with further headers, each ended by CRLF.
pub fn act_with(address: SocketAddr, headers: &str, body: &str) -> Response {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    post(address, "/api/actions", &headers, body)
}

/// Returns the paths of the scripts and styles of a page at `path`, as a browser resolves them.
pub fn page_parts(path: &str, page: &str) -> Vec<String> {
    let (folder, _) = path
        .split_once('?')
        .unwrap_or((path, ""))
        .0
        .rsplit_once('/')
        .unwrap();
    let within = |folder: &str, address: &str| match address.strip_prefix("./").unwrap_or(address) {
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => format!("{folder}/{relative}"),
    };
    let attribute = |tag: &str, name: &str| -> Option<String> {
        let (_, value) = tag.split_once(&format!(" {name}=\""))?;
        Some(value.split('"').next()?.to_owned())
    };
    let tags: Vec<_> = page.split('<').collect();
    let base = tags
        .iter()
        .find(|tag| tag.starts_with("base "))
        .and_then(|tag| attribute(tag, "href"))
        .map_or(folder.to_owned(), |base| {
            within(folder, base.trim_end_matches('/'))
        });
    tags.iter()
        .filter_map(|tag| match tag.split(' ').next()? {
            "script" => attribute(tag, "src"),
            "link" => attribute(tag, "href"),
            _ => None,
        })
        .map(|address| within(&base, &address))
        .collect()
}
