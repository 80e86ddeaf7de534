//! The forms of the values of flags: addresses, times and sizes.

use std::time::Duration;

/// Checks the form `HOST:PORT`. The system finds out later whether the host exists.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    match (host, port.parse::<u16>()) {
        ("", Ok(port)) => Err(format!(
            "type 127.0.0.1:{port} for this machine, or 0.0.0.0:{port} for all of its addresses"
        )),
        (_, Ok(_)) => Ok(text.to_owned()),
        _ => Err("it must be HOST:PORT, such as 127.0.0.1:7223 or 0.0.0.0:0".to_owned()),
    }
}

/// The longest duration: far beyond any use, and short enough never to overflow a clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Parses a time in seconds, or a time with a unit.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => duration(text).ok(),
    }
    .filter(|limit| *limit <= MAX_DURATION)
    .ok_or_else(|| "it must be a number of seconds, such as 30 or 0.5".to_owned())
}

/// Parses a time with a unit, such as `10ms`, `1.5s`, `500us`, `2m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let time = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|time| Duration::try_from(time).ok())
        .ok_or_else(|| "it must be a number and us, ms, s, m or h, such as 10ms".to_owned())?;
    if time > MAX_DURATION {
        return Err("it must be at most 365 days, which are 8760h".to_owned());
    }
    Ok(time)
}

/// Parses a size such as `65536`, `64k`, `4m`, `1MiB` or `2GB`. Units are powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    // A fraction of a unit is more likely a mistake than meant.
    (!text.contains('.'))
        .then(|| {
            parse_size::Config::new()
                .with_binary()
                .parse_size(text)
                .ok()
        })
        .flatten()
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| "it must be a number of bytes, such as 4194304, 512k or 4MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "10",
            "ms",
            "10 parsecs",
            "-1s",
            "1e400s",
            "1e19s",
            "8761h",
            "nans",
            "infs",
            "10d",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("64k"), Ok(65536));
        assert_eq!(bytes("4M"), Ok(4 << 20));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(bytes("2 GB"), Ok(2 << 30));
        for wrong in [
            "",
            "k",
            "-1",
            "1.5m",
            "4 parsecs",
            "4mm",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for right in ["127.0.0.1:7223", "[::1]:0", "localhost:65535"] {
            assert!(address(right).is_ok(), "{right:?} was refused");
        }
        for wrong in [
            "7223",
            ":7223",
            "localhost",
            "localhost:",
            "localhost:65536",
        ] {
            assert!(address(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
