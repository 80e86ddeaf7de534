//! Who may name what: the rules of ARCHITECTURE.md, read from the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file of the library, as (path below `src`, code without comments).
fn sources() -> Vec<(String, String)> {
    let found = sources_below("src");
    assert!(
        found.len() > 50,
        "the sources were not found: {}",
        found.len()
    );
    found
}

/// Every Rust file below a folder of the repository, as (path below it, code without comments).
fn sources_below(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the crate's folders can be read") {
            let path: PathBuf = entry.expect("the crate's folders can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the crate's files can be read");
                let name = path
                    .strip_prefix(&root)
                    .expect("it was found below")
                    .to_string_lossy()
                    .into_owned();
                found.push((name, code(&text)));
            }
        }
    }
    found
}

/// A file's code: lines that are comments are left out, and so is what follows `#[cfg(test)]` or its like for loom, which
/// stands last in every file that has it.
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

/// Whether `word` stands in `code` as a word of its own.
fn names(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

/// Asserts that `word` is named in some file of `home`, and in none elsewhere. What ends in `/` is a folder.
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

/// Asserts that no file of `places` names one of `words`.
#[track_caller]
fn never_in(words: &[&str], places: &[&str]) {
    let mut seen = 0;
    for (path, code) in sources() {
        if places
            .iter()
            .any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
        {
            seen += 1;
            for word in words {
                assert!(!names(&code, word), "{path} names {word}, and must not");
            }
        }
    }
    assert!(seen > 0, "there is nothing in {places:?}");
}

#[test]
fn only_the_registry_names_dashmap() {
    only_in("dashmap", &["channel/registry.rs"]);
}

#[test]
fn only_the_subscriber_list_names_arc_swap() {
    only_in("arc_swap", &["channel/subscribers.rs"]);
}

#[test]
fn only_the_client_commands_are_parsed_with_simd_json() {
    only_in("simd_json", &["protocol.rs"]);
}

#[test]
fn only_the_ends_of_connections_name_tungstenite() {
    for word in ["tungstenite", "tokio_tungstenite"] {
        only_in(word, &["connection/", "client/"]);
    }
}

#[test]
fn only_the_server_names_axum() {
    only_in("axum", &["server/"]);
}

#[test]
fn what_is_pure_knows_neither_runtime_nor_socket() {
    never_in(
        &["tokio", "hyper", "axum", "async", "TcpStream"],
        &[
            "encode/",
            "message/",
            "protocol.rs",
            "outbox/",
            "channel/block.rs",
            "channel/history.rs",
            "channel/pace.rs",
        ],
    );
}

/// A clock that jumps changes what timestamps say, and nothing else: whatever waits, counts or expires goes by a clock that only runs on.
#[test]
fn nothing_that_waits_or_expires_looks_at_the_clock_on_the_wall() {
    never_in(
        &["SystemTime", "chrono"],
        &[
            "channel/alarm.rs",
            "channel/history.rs",
            "channel/look.rs",
            "channel/lossless.rs",
            "channel/mod.rs",
            "channel/pace.rs",
            "channel/ticker.rs",
            "client/",
            "config.rs",
            "connection/",
            "hub/",
            "outbox/",
            "process/restart.rs",
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
    for word in ["rustls", "tokio_rustls"] {
        only_in(word, &["server/tls.rs", "client/dial.rs"]);
    }
}

#[test]
fn lower_layers_do_not_know_the_higher_ones() {
    const TOP: [&str; 4] = ["Hub", "crate::hub", "crate::connection", "crate::server"];
    never_in(
        &TOP,
        &["channel/", "outbox/", "protocol.rs", "encode/", "message/"],
    );
    never_in(
        &["crate::channel"],
        &["outbox/", "protocol.rs", "encode/", "message/"],
    );
    never_in(
        &["crate::outbox", "crate::protocol"],
        &["encode/", "message/"],
    );
    never_in(&["crate::encode"], &["message/", "protocol.rs"]);
    never_in(&["axum", "crate::server"], &["connection/", "hub/"]);
    never_in(&["crate::connection", "tungstenite"], &["hub/"]);
    never_in(&TOP, &["access/"]);
    never_in(
        &[
            "axum",
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
fn the_binary_uses_the_public_interface_alone() {
    for folder in ["crates/outrace-cli/src", "crates/outrace-load/src"] {
        let sources = sources_below(folder);
        assert!(!sources.is_empty(), "there is nothing in {folder}");
        for (path, code) in sources {
            assert!(
                !names(&code, "internals"),
                "{folder}/{path} names internals, and must not"
            );
        }
    }
}

#[test]
fn words_are_found_as_words_and_comments_are_no_code() {
    assert!(names("use dashmap::DashMap;", "dashmap"));
    assert!(names("(axum)", "axum"));
    assert!(!names("my_dashmap dashmaps", "dashmap"));
    let text = "//! dashmap\nlet a = 1; \n    /// tokio\n#[cfg(test)]\nmod tests { use tokio; }\n";
    assert_eq!(code(text), "let a = 1; \n");
}
