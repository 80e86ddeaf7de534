//! Tests: what Go's `encoding/json` reads is read, and what it refuses is refused.

use super::*;

/// Parses a message with a leaked scratch.
fn read(message: impl Into<Vec<u8>>) -> Result<Command<'static>, Ignored> {
    parse(&message.into(), Box::leak(Box::default()))
}

fn subscribe(channel: &'static str) -> Result<Command<'static>, Ignored> {
    Ok(Command::Subscribe {
        channel: channel.into(),
        options: Ok(None),
    })
}

#[test]
fn the_names_of_fields_match_in_any_case_and_the_exact_name_wins() {
    for message in [
        r#"{"Type":"subscribe","CHANNEL":"a"}"#,
        r#"{"TYPE":"subscribe","Data":"a"}"#,
        r#"{"\u0054ype":"subscribe","chAnnel":"a"}"#,
        r#"{"type":"subscribe","channel":"a","CHANNEL":"b"}"#,
        r#"{"Type":"ping","CHANNEL":"b","channel":"a","type":"subscribe"}"#,
        r#"{"type":"subscribe","channel":"a","Channel":7}"#,
        r#"{"type":"subscribe","Channel":"a","channel":null}"#,
        r#"{"type":"subscribe","Channel":"b","CHANNEL":"a"}"#,
        r#"{"type":"subscribe","channel":"","Channel":"b","DATA":"a"}"#,
    ] {
        assert_eq!(read(message), subscribe("a"), "{message}");
    }
    // The value is not folded, no other letter folds to one of these, and options are strict.
    for message in [
        r#"{"type":"PING"}"#,
        r#"{"type ":"ping"}"#,
        r#"{"typé":"ping"}"#,
        r#"{"ｔype":"ping"}"#,
        "{\"type\":\"\u{17f}ubscribe\",\"channel\":\"a\"}",
    ] {
        assert_eq!(read(message), Err(Ignored::UnknownType), "{message}");
    }
    assert_eq!(
        read(r#"{"type":"subscribe","channel":"a","Options":{"gaps":7}}"#),
        subscribe("a")
    );
    assert_eq!(
        read(r#"{"Type":7,"channel":"a"}"#),
        Err(Ignored::WrongFieldType)
    );
}

#[test]
fn of_equal_names_the_later_counts_and_null_changes_nothing() {
    for (message, expected) in [
        (
            r#"{"type":"ping","type":"subscribe","channel":"b","channel":"a"}"#,
            subscribe("a"),
        ),
        (
            r#"{"type":"subscribe","channel":"a","type":null,"channel":null}"#,
            subscribe("a"),
        ),
        (
            r#"{"type":"subscribe","data":"b","data":"a"}"#,
            subscribe("a"),
        ),
        (
            r#"{"type":"subscribe","data":"a","data":null}"#,
            Err(Ignored::MissingChannel),
        ),
        (
            r#"{"type":"subscribe","channel":7,"channel":"a"}"#,
            Err(Ignored::WrongFieldType),
        ),
    ] {
        assert_eq!(read(message), expected, "{message}");
    }
}

#[test]
fn a_number_of_any_size_spoils_nothing() {
    for number in [
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890123456789012345678901234567890",
        "1e400",
        "-1e-99999",
        "0.1e+1000000",
        "1E9",
        "-0",
        "-0.0",
    ] {
        assert_eq!(
            read(format!(
                r#"{{"type":"subscribe","channel":"a","data":{number},"x":[{{"y":{number}}}]}}"#
            )),
            subscribe("a"),
            "{number}"
        );
    }
    for no_number in ["01", "+1", ".5", "1.", "1e", "0x1", "NaN", "Infinity", "-"] {
        assert_eq!(
            read(format!(r#"{{"type":"ping","data":{no_number}}}"#)),
            Err(Ignored::BadJson),
            "{no_number}"
        );
    }
}

#[test]
fn a_lone_surrogate_is_a_replacement_character() {
    for (escaped, text) in [
        (r"\ud800", "\u{fffd}"),
        (r"\uDC00", "\u{fffd}"),
        (r"\udfff\ud83d", "\u{fffd}\u{fffd}"),
        (r"\ud800\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"\ud83d\ude00", "\u{1f600}"),
        (r"\ud800\u0041", "\u{fffd}A"),
        (r"a\ud800\n", "a\u{fffd}\n"),
        (r"\ud800\\", "\u{fffd}\\"),
        (r"\ufffd\ud800é", "\u{fffd}\u{fffd}é"),
    ] {
        assert_eq!(
            read(format!(r#"{{"type":"subscribe","channel":"{escaped}"}}"#)),
            Ok(Command::Subscribe {
                channel: text.into(),
                options: Ok(None)
            }),
            "{escaped}"
        );
        assert_eq!(
            read(format!(
                r#"{{"{escaped}":0,"type":"ping","data":["{escaped}"]}}"#
            )),
            Ok(Command::Ping),
            "{escaped}"
        );
    }
    for no_escape in [
        r"\ud80",
        r"\ud800\u00",
        r"\ud800\x",
        r"\'",
        r"\a",
        r"\u+123",
        r"\0",
    ] {
        assert_eq!(
            read(format!(r#"{{"type":"ping","data":"{no_escape}"}}"#)),
            Err(Ignored::BadJson),
            "{no_escape}"
        );
    }
}

#[test]
fn bytes_that_are_no_utf8_are_replaced_within_strings_only() {
    for message in [
        b"{\"type\":\"ping\",\"data\":\"\xff\"}".as_slice(),
        b"{\"type\":\"ping\",\"\xc3\":[\"\xed\xa0\x80\",\"\xf0\x9f\"]}",
        b"{\"type\":\"ping\",\"typ\xe5\":7}",
    ] {
        assert_eq!(
            read(message),
            Ok(Command::Ping),
            "{}",
            message.escape_ascii()
        );
    }
    assert_eq!(
        read(b"{\"type\":\"subscribe\",\"channel\":\"a\xffb\xc3\"}"),
        subscribe("a\u{fffd}b\u{fffd}")
    );
    for message in [
        b"\xff{\"type\":\"ping\"}".as_slice(),
        b"{\"type\":\"ping\"}\xff",
        b"{\"type\":\xff\"ping\"}",
        b"{\"type\":\"ping\",\"data\":\"\\\xff\"}",
        b"\xff\xfe{\0}\0",
    ] {
        assert_eq!(
            read(message),
            Err(Ignored::BadJson),
            "{}",
            message.escape_ascii()
        );
    }
}

#[test]
fn what_go_refuses_is_refused() {
    for message in [
        "",
        " ",
        "\0",
        "\u{feff}{\"type\":\"ping\"}",
        "{\"type\":\"ping\"}\0",
        "{\"type\":\"ping\"}{}",
        "{\"type\":\"ping\"}\n{\"type\":\"ping\"}",
        "{\"type\":\"ping\"} // ok",
        "{\"type\":\"ping\",\"data\":\"\0\"}",
        "{\"type\":\"ping\",\"data\":\"a\tb\"}",
        "{\"type\":\"ping\",\"da\nta\":1e999}",
        "{\"type\":\"ping\",\"data\":[1e999,]}",
        "{\"type\":\"ping\",\"data\":{\"a\" 1}}",
        "{\"type\":\"ping\",,\"data\":1}",
        "{\"type\":\"ping\",\"data\":nul}",
        "{\"type\":\"ping\",\"data\":True}",
        "{'type':'ping'}",
        "{type:\"ping\"}",
        "{\"type\":\"ping\"\u{a0}}",
        "{\"type\":\"ping\"\u{c}}",
    ] {
        assert_eq!(read(message), Err(Ignored::BadJson), "{message:?}");
    }
    for message in ["null", "1e999", r#""\ud800""#, "[1e999]", "true"] {
        assert_eq!(read(message), Err(Ignored::NotAnObject), "{message}");
    }
    // DEL is no control character of JSON, and a NUL may be escaped.
    assert_eq!(
        read("\t{\"type\":\"subscribe\",\r\n\"channel\":\"\u{7f}\\u0000\"} "),
        subscribe("\u{7f}\0")
    );
}
