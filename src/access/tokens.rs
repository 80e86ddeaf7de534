//! The token file: names, tokens and what they may do.

use std::collections::HashSet;
use std::future::ready;

use super::secret::{Digest, find};
use super::{AuthError, AuthFuture, Authenticator, Credentials, Grants, Identity, PatternError};

/// The shortest token: 16 characters of base64 are 96 bits.
const MIN_TOKEN_BYTES: usize = 16;

/// Tokens, with whose they are and what they may do, from the lines of a token file:
///
/// ```text
/// # NAME TOKEN [subscribe=PATTERN,…] [publish=PATTERN,…] [control=PATTERN,…]
/// alice      5f1c2e3b9a7d4e608c1b                        # every channel, and publishes nothing
/// dashboard  sha256:9f86d081…0a08  subscribe=process:*   # its SHA-256 instead of the token
/// ci         Zm9vYmFyYmF6cXV1eA==  subscribe= publish=process:ci-*,@everyone
/// ```
///
/// A *name* is 1 to 128 of `A-Z a-z 0-9 _ . @ -`; it may stand on several lines, so that tokens can overlap while they change. A *token* is at least 16 of
/// `A-Z a-z 0-9 - . _ ~ + /` and may end in `=` (what RFC 6750 allows), and should be random. Without `subscribe` all channels may be watched, without
/// `publish` nothing may be published; `publish=@everyone` is for messages to all clients. `control` has the channels whose processes may be started and
/// stopped, where that is possible at all. What follows a `#` at the beginning of a word is a comment.
///
/// A token is shown as `Authorization: Bearer …`, `X-API-Key: …` or `?token=…`. Tokens are kept as SHA-256 and compared in constant time.
#[derive(Debug, Clone, Default)]
pub struct TokenTable(Vec<(Digest, Identity)>);

/// What is wrong with a token file, and in which line. Never shows a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct TokenFileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: TokenFault,
}

/// What can be wrong with a line of a token file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// The name breaks its rule.
    #[error("a name is 1 to 128 of A-Z a-z 0-9 _ . @ -")]
    Name,
    /// There is a name alone.
    #[error("a token has to follow the name")]
    NoToken,
    /// The token breaks its rule.
    #[error(
        "a token is at least 16 of A-Z a-z 0-9 - . _ ~ + / and may end in =, or is sha256: and 64 hexadecimal digits"
    )]
    Token,
    /// Another line has the same token.
    #[error("the same token stands in a line above")]
    Repeated,
    /// A word that is neither `subscribe=` nor `publish=` nor `control=`, or one of them again.
    #[error(
        "what follows the token is subscribe=PATTERN,… publish=PATTERN,… control=PATTERN,…, each at most once"
    )]
    Word,
    /// A pattern is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl TokenTable {
    /// Reads the lines of a token file. Pure: bytes in, a table out.
    ///
    /// # Errors
    /// The first line that is wrong.
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

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: nobody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some token still lets in this very user with these very rights: for the connected, after the file has changed.
    pub fn knows(&self, identity: &Identity) -> bool {
        self.0.iter().any(|(_, known)| known == identity)
    }
}

impl Authenticator for TokenTable {
    fn authenticate<'a>(&'a self, shown: &'a Credentials) -> AuthFuture<'a> {
        let token = shown
            .bearer()
            .or_else(|| shown.api_key())
            .map(Into::into)
            .or_else(|| shown.query_token());
        Box::pin(ready(match token {
            Some(token) => find(&self.0, &token).cloned().ok_or(AuthError::Invalid),
            None => Err(AuthError::Missing),
        }))
    }
}

/// What a line says; nothing when it is empty or a comment.
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

/// The patterns between commas; none in an empty list.
fn listed(patterns: &str) -> impl Iterator<Item = &str> {
    patterns.split(',').filter(move |_| !patterns.is_empty())
}

/// RFC 6750 section 2.1, and long enough not to be guessed.
fn is_token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    body.len() >= MIN_TOKEN_BYTES && body.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PublishTarget;
    use super::super::credentials::tests::shown;
    use super::*;
    use crate::message::ChannelName;

    fn ask(table: &TokenTable, uri: &str, headers: &[(&str, &str)]) -> Result<Identity, AuthError> {
        let shown = shown(uri, headers);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match table.authenticate(&shown).as_mut().poll(&mut context) {
            std::task::Poll::Ready(found) => found,
            std::task::Poll::Pending => panic!("a table knows at once"),
        }
    }

    const FILE: &str = "\
        # who, what, where\n\
        \n\
        alice 0123456789abcdef\t# watches\n\
        test  sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 subscribe=process:*\n\
        ci    Zm9vYmFyYmF6cXV1eA== subscribe= publish=process:ci-*,logs,@everyone control=process:ci-1\n";

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
