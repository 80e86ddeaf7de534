//! Times on the command line.

use std::time::Duration;

/// A time beyond any use, short enough never to overflow a clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

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
