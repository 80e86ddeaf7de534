//! The token file: names, tokens and grants.

use std::collections::HashSet;
use std::future::ready;

use super::secret::{Digest, find};
use super::{AuthError, AuthFuture, Authenticator, Credentials, Grants, Identity, PatternError};

/// The minimum length of a token: 16 characters of base64 are 96 bits.
const MIN_TOKEN_BYTES: usize = 16;

/// Identifies users by the tokens of a token file, one line each:
///
/// ```text
/// # NAME TOKEN [subscribe=PATTERN,…] [publish=PATTERN,…] [control=PATTERN,…]
/// alice      5f1c2e3b9a7d4e608c1b                        # every channel, publishes nothing
/// dashboard  sha256:9f86d081…0a08  subscribe=process:*   # its SHA-256 instead of the token
/// ci         Zm9vYmFyYmF6cXV1eA==  subscribe= publish=process:ci-*,@everyone
/// ```
///
/// - A *name* has 1 to 128 of `A-Z a-z 0-9 _ . @ -`. It may occur on several lines, so that an old
///   and a new token overlap during a rotation.
/// - A *token* has at least 16 of `A-Z a-z 0-9 - . _ ~ + /`, and may end in `=` (RFC 6750 section
///   2.1). It should be random. `sha256:` and 64 hexadecimal digits stand for the token with that
///   SHA-256.
/// - `subscribe` lists [patterns](super::Pattern) of the channels that the user may subscribe to.
///   Without it, the user may subscribe to all.
/// - `publish` lists those that the user may publish to. Without it, the user may publish to none.
///   `publish=@everyone` grants messages to all clients.
/// - `control` lists those whose processes the user may start and stop, if the server allows that.
/// - A `#` at the beginning of a word starts a comment.
///
/// A request presents its token in any place of [`Credentials::tokens`], such as `Authorization:
/// Bearer …`, `X-Outrace-Token: …` or `?token=…`. Tokens are stored as SHA-256 and compared in
/// constant time.
#[derive(Debug, Clone, Default)]
pub struct TokenTable(Vec<(Digest, Identity)>);

/// An error in a token file, with its line. It never contains a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
#[non_exhaustive]
pub struct TokenFileError {
    /// The line number, from 1.
    pub line: usize,
    /// The fault in that line.
    pub fault: TokenFault,
}

/// A fault in a line of a token file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// The name has an invalid character or length.
    #[error("a name is 1 to 128 of A-Z a-z 0-9 _ . @ -")]
    Name,
    /// The line has a name and no token.
    #[error("a token has to follow the name")]
    NoToken,
    /// The token has an invalid character or is too short.
    #[error(
        "a token is at least 16 of A-Z a-z 0-9 - . _ ~ + / and may end in =, \
         or is sha256: and 64 hexadecimal digits"
    )]
    Token,
    /// An earlier line has the same token.
    #[error("an earlier line has the same token")]
    Repeated,
    /// A word after the token is not `subscribe=`, `publish=` or `control=`, or is repeated.
    #[error(
        "only subscribe=PATTERN,… publish=PATTERN,… and control=PATTERN,… may follow the token, \
         each at most once"
    )]
    Word,
    /// A pattern is not valid.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl TokenTable {
    /// Parses the text of a token file. Does no I/O.
    ///
    /// ```
    /// use outrace::access::TokenTable;
    ///
    /// let table = TokenTable::parse("alice 0123456789abcdef subscribe=process:*")?;
    /// assert_eq!(table.len(), 1);
    /// let error = TokenTable::parse("# nothing wrong here\nbob short").unwrap_err();
    /// assert_eq!(error.line, 2);
    /// # Ok::<(), outrace::access::TokenFileError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the error of the first faulty line.
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        let mut table = Vec::new();
        let mut seen = HashSet::new();
        for (line, text) in (1..).zip(text.lines()) {
            let entry = entry(text).map_err(|fault| TokenFileError { line, fault })?;
            let Some((digest, identity)) = entry else {
                continue;
            };
            if !seen.insert(*digest.bytes()) {
                return Err(TokenFileError {
                    line,
                    fault: TokenFault::Repeated,
                });
            }
            table.push((digest, identity));
        }
        Ok(Self(table))
    }

    /// Returns the number of tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the table has no token, so that it admits no request.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a token of the table has exactly this identity: the same user with the same grants.
    ///
    /// After a reload, clients whose identity is no longer known can be disconnected.
    pub fn knows(&self, identity: &Identity) -> bool {
        self.0.iter().any(|(_, known)| known == identity)
    }
}

impl Authenticator for TokenTable {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials) -> AuthFuture<'a> {
        Box::pin(ready(credentials.check(|token| {
            find(&self.0, token).cloned().ok_or(AuthError::Invalid)
        })))
    }
}

/// Parses a line. Returns `None` for an empty line or a comment.
fn entry(line: &str) -> Result<Option<(Digest, Identity)>, TokenFault> {
    let mut words = line
        .split_ascii_whitespace()
        .take_while(|word| !word.starts_with('#'));
    let Some(name) = words.next() else {
        return Ok(None);
    };
    let is_of_name =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'@' | b'-');
    if name.len() > 128 || !name.bytes().all(is_of_name) {
        return Err(TokenFault::Name);
    }
    let token = words.next().ok_or(TokenFault::NoToken)?;
    let digest = match token.strip_prefix("sha256:") {
        Some(hex) => Digest::from_hex(hex),
        None => is_token(token).then(|| Digest::of(token.as_bytes())),
    };
    let digest = digest.ok_or(TokenFault::Token)?;
    let (mut subscribe, mut publish, mut control) = (None, None, None);
    for word in words {
        let (place, patterns) = match word.split_once('=') {
            Some(("subscribe", patterns)) => (&mut subscribe, patterns),
            Some(("publish", patterns)) => (&mut publish, patterns),
            Some(("control", patterns)) => (&mut control, patterns),
            _ => return Err(TokenFault::Word),
        };
        if place.replace(patterns).is_some() {
            return Err(TokenFault::Word);
        }
    }
    let mut grants = Grants::default();
    if let Some(patterns) = subscribe {
        grants = grants.subscribe(listed(patterns))?;
    }
    if let Some(patterns) = publish {
        grants = grants.publish(listed(patterns))?;
    }
    if let Some(patterns) = control {
        grants = grants.control(listed(patterns))?;
    }
    Ok(Some((digest, Identity::new(name).with_grants(grants))))
}

/// Splits a list of patterns at commas. An empty list has none.
fn listed(patterns: &str) -> impl Iterator<Item = &str> {
    patterns.split(',').filter(move |_| !patterns.is_empty())
}

/// Whether a text is a token by RFC 6750 section 2.1, and has the minimum length.
fn is_token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    body.len() >= MIN_TOKEN_BYTES && body.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PublishTarget;
    use super::super::credentials::tests::credentials;
    use super::*;
    use crate::message::ChannelName;

    fn ask(table: &TokenTable, uri: &str, headers: &[(&str, &str)]) -> Result<Identity, AuthError> {
        let credentials = credentials(uri, headers);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match table.authenticate(&credentials).as_mut().poll(&mut context) {
            std::task::Poll::Ready(found) => found,
            std::task::Poll::Pending => panic!("a table knows at once"),
        }
    }

    const FILE: &str = "\
        # who, what, where\n\
        \n\
        alice 0123456789abcdef\t# watches\n\
        test  sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 \
            subscribe=process:*\n\
        ci    Zm9vYmFyYmF6cXV1eA== subscribe= publish=process:ci-*,logs,@everyone \
            control=process:ci-1\n";

    #[test]
    fn a_token_lets_in_whose_it_is_however_it_is_shown() {
        let table = TokenTable::parse(FILE).unwrap();
        assert_eq!(table.len(), 3);
        for (uri, headers, user) in [
            (
                "/ws",
                &[("authorization", "Bearer 0123456789abcdef")][..],
                Ok("alice"),
            ),
            ("/ws?token=0123456789abcdef", &[], Ok("alice")),
            ("/ws", &[("x-api-key", "0123456789abcdef")], Ok("alice")),
            ("/ws?token=test", &[], Ok("test")),
            ("/ws?token=Zm9vYmFyYmF6cXV1eA%3D%3D", &[], Ok("ci")),
            ("/ws?token=0123456789abcdee", &[], Err(AuthError::Invalid)),
            ("/ws?token=alice", &[], Err(AuthError::Invalid)),
            ("/ws", &[], Err(AuthError::Missing)),
        ] {
            let found = ask(&table, uri, headers);
            assert_eq!(
                found.as_ref().map(Identity::user),
                user.as_ref().map(|user| *user),
                "{uri} {headers:?}"
            );
            if let Ok(identity) = found {
                assert!(table.knows(&identity));
            }
        }
    }

    #[test]
    fn a_line_grants_what_it_says_and_no_more() {
        let table = TokenTable::parse(FILE).unwrap();
        let channel = |name| ChannelName::parse(name).unwrap();
        let grants = |token: &str| {
            ask(&table, &format!("/ws?token={token}"), &[])
                .unwrap()
                .grants()
                .cloned()
                .unwrap()
        };
        let alice = grants("0123456789abcdef");
        assert!(alice.may_subscribe(&channel("anything")));
        assert!(!alice.may_publish(PublishTarget::Channel(&channel("anything"))));
        let test = grants("test");
        assert!(test.may_subscribe(&channel("process:a")) && !test.may_subscribe(&channel("logs")));
        let ci = grants("Zm9vYmFyYmF6cXV1eA==");
        assert!(!ci.may_subscribe(&channel("process:ci-1")));
        assert!(ci.may_publish(PublishTarget::Channel(&channel("process:ci-1"))));
        assert!(ci.may_publish(PublishTarget::Channel(&channel("logs"))));
        assert!(!ci.may_publish(PublishTarget::Channel(&channel("process:web"))));
        assert!(ci.may_publish(PublishTarget::Process(&channel("process:ci-1"))));
        assert!(!ci.may_publish(PublishTarget::Process(&channel("process:ci-2"))));
        assert!(
            ci.may_publish(PublishTarget::Everyone) && !alice.may_publish(PublishTarget::Everyone)
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_the_token() {
        let pattern =
            |text: &str| TokenFault::Pattern(text.parse::<super::super::Pattern>().unwrap_err());
        for (line, fault) in [
            ("al!ce SECRETSECRETSECRET", TokenFault::Name),
            ("alice", TokenFault::NoToken),
            ("alice # SECRETSECRETSECRET", TokenFault::NoToken),
            ("alice SECRET", TokenFault::Token),
            ("alice SECRETSECRET===========", TokenFault::Token),
            ("alice SECRET=SECRETSECRETSECRET", TokenFault::Token),
            ("alice sha256:SECRETSECRETSECRET", TokenFault::Token),
            ("alice SECRETSECRETSECRET read=*", TokenFault::Word),
            (
                "alice SECRETSECRETSECRET SECRETSECRETSECRET",
                TokenFault::Word,
            ),
            (
                "alice SECRETSECRETSECRET publish=a publish=b",
                TokenFault::Word,
            ),
            ("alice SECRETSECRETSECRET publish=a,,b", pattern("")),
            (
                "alice SECRETSECRETSECRET subscribe=@everyone",
                pattern("@everyone"),
            ),
            ("alice 0123456789abcdef", TokenFault::Repeated),
        ] {
            let error =
                TokenTable::parse(&format!("bob 0123456789abcdef\n\n{line}\n")).unwrap_err();
            assert_eq!(error, TokenFileError { line: 3, fault }, "{line}");
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[\n# =,])*") {
            let _ = TokenTable::parse(&text);
        }

        #[test]
        fn every_valid_line_lets_its_token_in(
            name in "[A-Za-z0-9_.@-]{1,128}",
            token in "[A-Za-z0-9._~+/-]{16,60}={0,2}",
            pattern in "[a-z:*]{1,20}",
        ) {
            let table = TokenTable::parse(&format!("{name} {token} publish={pattern}")).unwrap();
            let bearer = format!("Bearer {token}");
            let identity = ask(&table, "/", &[("authorization", &bearer)]).unwrap();
            prop_assert_eq!(identity.user(), &name);
            let debug = format!("{:?}", table);
            prop_assert!(!debug.contains(&token) || name.contains(&token));
        }
    }
}
