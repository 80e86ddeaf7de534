//! The inputs of access control: token files, patterns, origins, and the tokens of requests.
//!
//! Parsing never panics. What was parsed grants no more than its text says.
#![no_main]

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use outrace::ChannelName;
use outrace::access::{Authenticator, Credentials, Identity, Jwt, Origins, Pattern, TokenTable};

#[derive(Arbitrary, Debug)]
enum AccessInput<'a> {
    TokenFile(&'a str),
    /// A file with this line, and the token of a request.
    Token {
        line: &'a str,
        shown: &'a str,
    },
    Pattern {
        pattern: &'a str,
        name: &'a str,
    },
    Origin(&'a str),
    Jwt(&'a str),
}

static JWT: LazyLock<Jwt> = LazyLock::new(|| {
    Jwt::from_secret(&[7; 32])
        .expect("a secret of 32 bytes is valid")
        .grants_from_claims()
});

fuzz_target!(|given: AccessInput<'_>| match given {
    AccessInput::TokenFile(text) => {
        if let Err(error) = TokenTable::parse(text) {
            assert!((1..=text.lines().count()).contains(&error.line), "{error}");
        }
    }
    AccessInput::Token { line, shown } => {
        let Ok(table) = TokenTable::parse(line) else {
            return;
        };
        if let Some(identity) = authenticate(&table, shown) {
            assert!(table.knows(&identity));
            // The token, or its hash, must be in the file. White space around it is ignored.
            assert!(
                line.contains(shown.trim_matches([' ', '\t'])) || line.contains("sha256:"),
                "{shown:?} in {line:?}"
            );
        }
    }
    AccessInput::Pattern { pattern, name } => {
        if let (Ok(pattern), Ok(name)) = (pattern.parse::<Pattern>(), ChannelName::parse(name)) {
            let text = pattern.to_string();
            let parts: Vec<&str> = text.split('*').collect();
            let has_all_parts = parts.iter().all(|part| name.as_str().contains(part));
            let has_ends = name.as_str().starts_with(parts[0])
                && name.as_str().ends_with(parts[parts.len() - 1]);
            assert!(
                !pattern.matches(name.as_str()) || (has_all_parts && has_ends),
                "{text} {name}"
            );
            assert!(text != "*" || pattern.matches(name.as_str()));
        }
    }
    AccessInput::Origin(text) => {
        let _ = Origins::allow([text]);
    }
    // No key has signed the token.
    AccessInput::Jwt(token) => assert_eq!(authenticate(&*JWT, token), None),
});

/// Returns the identity of a request with this token.
fn authenticate(authenticator: &dyn Authenticator, token: &str) -> Option<Identity> {
    let request = http::Request::builder().header("authorization", format!("Bearer {token}"));
    let head = request.body(()).ok()?.into_parts().0;
    let credentials = Credentials::of(&head);
    let mut identity = pin!(authenticator.authenticate(&credentials));
    match identity
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(identity) => identity.ok(),
        Poll::Pending => panic!("the authenticators here answer without waiting"),
    }
}
