//! Encodings that the tests produce or check themselves, instead of trusting the code under test.

use serde_json::Value;

/// Encodes bytes in the base64 whose last two letters are `last_two`.
pub fn base64(bytes: &[u8], last_two: [u8; 2], pads: bool) -> String {
    let letter = |sextet: u32| match u8::try_from(sextet & 63).unwrap() {
        n @ 0..26 => b'A' + n,
        n @ 26..52 => b'a' + n - 26,
        n @ 52..62 => b'0' + n - 52,
        n => last_two[usize::from(n) - 62],
    };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0, |group, &byte| group << 8 | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                text.push(char::from(letter(group >> (18 - 6 * place))));
            } else if pads {
                text.push('=');
            }
        }
    }
    text
}

/// Encodes bytes in the base64 of URLs, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    base64(bytes, *b"-_", false)
}

/// Returns a JSON Web Token with the signature that `sign` makes of its first two parts.
pub fn jwt(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(claims.to_string().as_bytes())
    );
    let signature = base64url(&sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Returns `message` without its timestamp, closed with a brace.
///
/// Panics unless the timestamp is the last field, has the documented shape, and is of this minute.
#[track_caller]
pub fn without_timestamp(message: &str) -> String {
    const SHAPE: &str = r#""timestamp":"0000-00-00T00:00:00.000Z"}"#;
    let start = message
        .len()
        .checked_sub(SHAPE.len())
        .unwrap_or_else(|| panic!("too short: {message}"));
    let (rest, stamp) = message.split_at(start);
    let shape: String = stamp
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, SHAPE, "{message}");
    let time = stamp
        .trim_start_matches(r#""timestamp":""#)
        .trim_end_matches(r#""}"#);
    let time = chrono::DateTime::parse_from_rfc3339(time).unwrap();
    let age = chrono::Utc::now()
        .signed_duration_since(time)
        .num_milliseconds();
    assert!((-1000..60_000).contains(&age), "{age} ms old: {message}");
    let rest = rest
        .strip_suffix(',')
        .unwrap_or_else(|| panic!("the timestamp comes last: {message}"));
    format!("{rest}}}")
}

/// Parses the `data` of a line that a test has labelled `publisher:number`, perhaps with more text
/// after a space. Returns `None` for any other message.
pub fn labelled(message: &Value) -> Option<(usize, usize)> {
    let (publisher, number) = message["data"].as_str()?.split_once(':')?;
    let number = number.split(' ').next()?;
    Some((publisher.parse().ok()?, number.parse().ok()?))
}
