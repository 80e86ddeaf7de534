//! What says who may come in: token files, patterns, origins, the tokens that requests show. Nothing panics, and what is read means what it says.
#![no_main]

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use outrace::ChannelName;
use outrace::access::{Authenticator, Credentials, Identity, Jwt, Origins, Pattern, TokenTable};

#[derive(Arbitrary, Debug)]
enum Given<'a> {
    TokenFile(&'a str),
    /// A file that may have this line, and what is shown.
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
        .expect("a secret of 32 bytes")
        .grants_from_claims()
});

fuzz_target!(|given: Given<'_>| match given {
    Given::TokenFile(text) => {
        if let Err(error) = TokenTable::parse(text) {
            assert!((1..=text.lines().count()).contains(&error.line), "{error}");
        }
    }
    Given::Token { line, shown } => {
        let Ok(table) = TokenTable::parse(line) else {
            return;
        };
        if let Some(identity) = ask(&table, shown) {
            assert!(table.knows(&identity));
            // Only a token that stands in the file, or whose hash does.
            assert!(
                line.contains(shown.trim_matches(' ')) || line.contains("sha256:"),
                "{shown:?} in {line:?}"
            );
        }
    }
    Given::Pattern { pattern, name } => {
        if let (Ok(pattern), Ok(name)) = (pattern.parse::<Pattern>(), ChannelName::parse(name)) {
            let text = pattern.to_string();
            let parts: Vec<&str> = text.split('*').collect();
            let has_parts = parts.iter().all(|part| name.as_str().contains(part));
            let ends = name.as_str().starts_with(parts[0])
                && name.as_str().ends_with(parts[parts.len() - 1]);
            assert!(
                !pattern.matches(name.as_str()) || (has_parts && ends),
                "{text} {name}"
            );
            assert!(text != "*" || pattern.matches(name.as_str()));
        }
    }
    Given::Origin(text) => {
        let _ = Origins::allow([text]);
    }
    // Nobody signed it.
    Given::Jwt(token) => assert_eq!(ask(&*JWT, token), None),
});

fn ask(authenticator: &dyn Authenticator, token: &str) -> Option<Identity> {
    let request = http::Request::builder().header("authorization", format!("Bearer {token}"));
    let head = request.body(()).ok()?.into_parts().0;
    let credentials = Credentials::of(&head);
    let mut found = pin!(authenticator.authenticate(&credentials));
    match found.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(found) => found.ok(),
        Poll::Pending => panic!("it knows at once"),
    }
}
