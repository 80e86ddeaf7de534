//! The dependency rules of ARCHITECTURE.md, checked in the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates of the workspace that ship.
const CRATES: [&str; 3] = ["", "crates/outrace-cli/", "crates/outrace-load/"];

/// Returns each source file of the crates that ship: its path without `src/`, and its code without
/// comments. A file of the library is `hub/mod.rs`, one of the program
/// `crates/outrace-cli/main.rs`.
fn sources() -> Vec<(String, String)> {
    CRATES.iter().flat_map(|name| sources_of(name)).collect()
}

fn sources_of(name: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the crate's folders can be read") {
            let path: PathBuf = entry.expect("the crate's folders can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the crate's files can be read");
                let path = path.strip_prefix(&root).expect("it was found below");
                found.push((format!("{name}{}", path.display()), code(&text)));
            }
        }
    }
    assert!(
        found.len() > 15,
        "the sources of {name:?} were not found: {}",
        found.len()
    );
    found
}

/// Returns the code of a file without comment lines, and without the part from `#[cfg(test)]` or
/// the counterpart for loom on. That part is the last one in each file that has it.
fn code(text: &str) -> String {
    let end = [
        "#[cfg(test)]\nmod ",
        "#[cfg(test)]\npub(crate) mod ",
        "#[cfg(test)]\npub(super) mod ",
        "#[cfg(all(test",
    ]
    .iter()
    .filter_map(|mark| text.find(mark))
    .min()
    .unwrap_or(text.len());
    let mut code = String::with_capacity(end);
    for line in text[..end]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        code.push_str(line);
        code.push('\n');
    }
    code
}

/// Returns whether `code` contains `word` as a whole word.
fn names(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

/// Asserts that a file of `home` names `word`, and that no other file does. An entry that ends in
/// `/` is a folder.
#[track_caller]
fn only_in(word: &str, home: &[&str]) {
    let is_home = |path: &str| {
        home.iter()
            .any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
    };
    let (inside, outside): (Vec<_>, Vec<_>) = sources()
        .into_iter()
        .filter(|(_, code)| names(code, word))
        .map(|(path, _)| path)
        .partition(|path| is_home(path));
    assert!(
        outside.is_empty(),
        "{word} may be named in {home:?} alone, and is in {outside:?}"
    );
    assert!(
        !inside.is_empty(),
        "{word} is named nowhere in {home:?}: the rule watches nothing"
    );
}

/// Asserts that no file of `places` names any of `words`.
#[track_caller]
fn never_in(words: &[&str], places: &[&str]) {
    let sources = sources();
    for place in places {
        let is_inside =
            |path: &str| path == *place || (place.ends_with('/') && path.starts_with(place));
        let mut inside = sources
            .iter()
            .filter(|(path, _)| is_inside(path))
            .peekable();
        assert!(
            inside.peek().is_some(),
            "there is no {place}: the rule watches nothing"
        );
        for (path, code) in inside {
            for word in words {
                assert!(!names(code, word), "{path} names {word}, and must not");
            }
        }
    }
}

#[test]
fn only_the_registry_names_dashmap() {
    only_in("dashmap", &["channel/registry.rs"]);
}

#[test]
fn arc_swap_holds_only_what_is_replaced_while_others_read_it() {
    // The snapshot of subscribers, the name of a mirror's numbering, the tokens that SIGHUP reads
    // again, and the certificate.
    only_in(
        "arc_swap",
        &[
            "channel/subscribers.rs",
            "channel/epoch.rs",
            "access/authenticator.rs",
            "server/tls.rs",
        ],
    );
}

#[test]
fn only_the_client_commands_are_parsed_with_simd_json() {
    only_in("simd_json", &["protocol/fast.rs"]);
}

#[test]
fn only_the_ends_of_connections_name_tungstenite() {
    for word in ["tungstenite", "tokio_tungstenite"] {
        only_in(word, &["connection/", "client/", "crates/outrace-load/"]);
    }
}

#[test]
fn only_the_server_and_the_program_name_axum_and_one_file_that_finds_its_peer_address() {
    only_in(
        "axum",
        &["server/", "access/connect_info.rs", "crates/outrace-cli/"],
    );
}

#[test]
fn pure_modules_know_neither_runtime_nor_socket() {
    never_in(
        &["tokio", "hyper", "axum", "async", "TcpStream"],
        &[
            "encode/",
            "message/",
            "protocol/",
            "outbox/",
            "channel/block.rs",
            "channel/history.rs",
            "channel/pace.rs",
        ],
    );
}

/// A jump of the wall clock changes timestamps and nothing else. Waits, counts and expiries use the
/// monotonic clock.
#[test]
fn nothing_that_waits_or_expires_reads_the_wall_clock() {
    never_in(
        &["SystemTime", "chrono"],
        &[
            "channel/alarm.rs",
            "channel/history.rs",
            "channel/pass.rs",
            "channel/lossless.rs",
            "channel/mod.rs",
            "channel/pace.rs",
            "channel/ticker.rs",
            "client/",
            "config.rs",
            "connection/",
            "hub/",
            "outbox/",
            "process/supervisor/restart.rs",
            "server/accept.rs",
            "server/body.rs",
            "server/stream.rs",
        ],
    );
}

#[test]
fn only_the_access_rules_hash_and_compare_secrets() {
    for word in ["sha2", "subtle", "jsonwebtoken"] {
        only_in(word, &["access/"]);
    }
}

#[test]
fn only_the_ends_of_connections_know_tls() {
    // The check of a server's health accepts any certificate, as its address is this machine's.
    let healthcheck = "crates/outrace-cli/commands/healthcheck/any_certificate.rs";
    for word in ["rustls", "tokio_rustls"] {
        only_in(word, &["server/tls.rs", "client/tls.rs", healthcheck]);
    }
}

#[test]
fn lower_layers_do_not_know_the_higher_ones() {
    const TOP: [&str; 4] = ["Hub", "crate::hub", "crate::connection", "crate::server"];
    never_in(
        &TOP,
        &["channel/", "outbox/", "protocol/", "encode/", "message/"],
    );
    never_in(
        &["crate::channel"],
        &["outbox/", "protocol/", "encode/", "message/"],
    );
    never_in(
        &["crate::outbox", "crate::protocol"],
        &["encode/", "message/"],
    );
    never_in(&["crate::encode"], &["message/", "protocol/"]);
    never_in(&["axum", "crate::server"], &["connection/", "hub/"]);
    never_in(&["crate::connection", "tungstenite"], &["hub/"]);
    never_in(&TOP, &["access/"]);
    // axum: see above.
    never_in(
        &[
            "hyper",
            "TcpStream",
            "tungstenite",
            "crate::channel",
            "crate::outbox",
        ],
        &["access/"],
    );
}

#[test]
fn the_program_uses_the_public_interface_alone() {
    never_in(&["internals"], &CRATES[1..]);
}

#[test]
fn words_are_found_as_words_and_comments_are_no_code() {
    assert!(names("use dashmap::DashMap;", "dashmap"));
    assert!(names("(axum)", "axum"));
    assert!(!names("my_dashmap dashmaps", "dashmap"));
    let text = "//! dashmap\nlet a = 1; \n    /// tokio\n#[cfg(test)]\nmod tests { use tokio; }\n";
    assert_eq!(code(text), "let a = 1; \n");
}
