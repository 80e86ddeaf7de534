//! The path of a relay's handshake, by which loops of relays are found.
//!
//! A relay names itself in its handshake. A server that is a relay too appends itself and asks its
//! own upstream servers, before it accepts. So a path goes up to the homes, and a server that finds
//! itself in it knows of the loop. What counts is which server joins which, and not the order in
//! which they connect: two links that are made at the same moment find the loop as well.
//!
//! Pure: no I/O, no clock.

use std::fmt;

#[cfg(any(test, feature = "relay"))]
use http::HeaderValue;
use http::{HeaderMap, HeaderName};

/// The header that carries the path.
pub(crate) const PATH_HEADER: HeaderName = HeaderName::from_static("outrace-path");

/// The most relays in a row.
const MAX_RELAYS: usize = 16;
/// The longest id of a node, in bytes.
const MAX_ID_BYTES: usize = 64;

/// The nodes that a handshake has come through: ids of random letters and digits, the lowest relay
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayPath(Vec<String>);

/// The reason why a path must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// A server is in its own path.
    #[error("{}", self.text())]
    Loop,
    /// There are more relays in a row than allowed.
    #[error("{}", self.text())]
    TooLong,
}

impl PathError {
    /// Returns the sentence that the relay is told.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Loop => "These relays form a loop: the path leads back to where it came from.",
            Self::TooLong => "There are more than 16 relays in a row.",
        }
    }
}

impl RelayPath {
    /// Creates the path of a handshake that begins at a node.
    #[cfg(any(test, feature = "relay"))]
    pub(crate) fn from_node(id: &str) -> Self {
        Self(vec![id.to_owned()])
    }

    /// Returns the path that a request carries. `None` if it carries none, as those of viewers.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(PATH_HEADER)?.to_str().ok()?;
        let ids = text
            .split(',')
            .map(str::trim)
            .filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES)
            // One more than allowed is enough to refuse it.
            .take(MAX_RELAYS + 1);
        Some(Self(ids.map(str::to_owned).collect()))
    }

    /// Returns the path with a node at its end.
    ///
    /// # Errors
    /// If the node is in it, or if there are as many as allowed.
    pub(crate) fn through(mut self, id: &str) -> Result<Self, PathError> {
        if self.0.iter().any(|passed| passed == id) {
            return Err(PathError::Loop);
        }
        if self.0.len() > MAX_RELAYS {
            return Err(PathError::TooLong);
        }
        self.0.push(id.to_owned());
        Ok(self)
    }

    /// Returns the ids of the nodes, the lowest relay first.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns the value of the header.
    #[cfg(any(test, feature = "relay"))]
    pub(crate) fn header(&self) -> HeaderValue {
        // An id came out of a header, or is of letters and digits.
        HeaderValue::try_from(self.to_string()).expect("ids fit a header")
    }
}

impl fmt::Display for RelayPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &'static str) -> RelayPath {
        let mut headers = HeaderMap::new();
        headers.insert(PATH_HEADER, HeaderValue::from_static(text));
        RelayPath::of(&headers).unwrap()
    }

    #[test]
    fn a_node_that_is_in_its_own_path_is_a_loop() {
        let path = path("a, b,c");
        assert_eq!(path.nodes().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(path.clone().through("b"), Err(PathError::Loop));
        let longer = path.through("d").unwrap();
        assert_eq!(longer.header(), "a, b, c, d");
        assert_eq!(RelayPath::of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_row_of_relays_has_a_bound() {
        let mut path = RelayPath::from_node("home0");
        for relay in 1..=MAX_RELAYS {
            path = path.through(&format!("home{relay}")).unwrap();
        }
        assert_eq!(path.through("one more"), Err(PathError::TooLong));
        let many = self::path("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20");
        assert_eq!(many.through("x"), Err(PathError::TooLong));
    }
}
