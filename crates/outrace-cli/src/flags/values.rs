//! The forms of the values of flags: addresses, times and sizes.

use std::time::Duration;

/// Checks `HOST:PORT`; whether there is such a host is for the system to say.
pub(crate) fn address(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("it must be HOST:PORT, such as 127.0.0.1:8080 or 0.0.0.0:0".to_owned()),
    }
}

/// A time beyond any use, short enough never to overflow a clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// A time in seconds, or with a unit.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => duration(text).ok(),
    }
    .filter(|limit| *limit <= MAX_DURATION)
    .ok_or_else(|| "it must be a number of seconds, such as 30 or 0.5".to_owned())
}

/// A time such as `10ms`, `1.5s`, `500us`, `2m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let rule = || "it must be a number and us, ms, s, m or h, such as 10ms".to_owned();
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(rule)?;
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.trim().parse().map_err(|_| rule())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(rule()),
    };
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| rule())?;
    if time > MAX_DURATION {
        return Err("it must be at most 365 days, which are 8760h".to_owned());
    }
    Ok(time)
}

/// A size such as `65536`, `64k`, `4m`, `1MiB` or `2GB`: units are powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        _ => None,
    };
    unit.and_then(|unit| number.trim().parse::<usize>().ok()?.checked_mul(unit))
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
        for right in ["127.0.0.1:8080", "[::1]:0", "localhost:65535"] {
            assert!(address(right).is_ok(), "{right:?} was refused");
        }
        for wrong in [
            "8080",
            ":8080",
            "localhost",
            "localhost:",
            "localhost:65536",
        ] {
            assert!(address(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
