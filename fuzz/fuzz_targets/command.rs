//! The command parser never panics, and agrees with a naive parser of the same rules that works on
//! a tree of the whole message.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use outrace::internals::{
    ClientCommand as Command, Ignored, InvalidOptions, Range, Since, SubscribeOptions, parse,
};

/// A JSON value. A number keeps its text, and an object all of its entries.
#[derive(Debug, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array,
    Object(Vec<(String, Json)>),
}

fuzz_target!(|message: &[u8]| {
    let mut scratch = Vec::new();
    let read = parse(message, &mut scratch);
    // The naive parser recurses.
    let opened = message.iter().filter(|byte| matches!(byte, b'[' | b'{'));
    if opened.count() > 500 {
        return;
    }
    let text = String::from_utf8_lossy(message);
    let value = Naive(&text).message();
    let naive = value
        .as_ref()
        .ok_or(Ignored::BadJson)
        .and_then(interpret_naively);
    assert_eq!(read, naive);
});

/// A naive parser of JSON: the text that is left.
struct Naive<'a>(&'a str);

impl Naive<'_> {
    fn message(mut self) -> Option<Json> {
        let value = self.value()?;
        self.skip_space();
        self.0.is_empty().then_some(value)
    }

    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    /// Takes this text, after space, if it is next.
    fn take(&mut self, text: &str) -> bool {
        self.skip_space();
        let rest = self.0.strip_prefix(text);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn value(&mut self) -> Option<Json> {
        for (word, value) in [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
        ] {
            if self.take(word) {
                return Some(value);
            }
        }
        if self.take("\"") {
            return self.text().map(Json::Text);
        }
        if self.take("[") {
            if self.take("]") {
                return Some(Json::Array);
            }
            loop {
                self.value()?;
                if self.take("]") {
                    return Some(Json::Array);
                }
                self.take(",").then_some(())?;
            }
        }
        if self.take("{") {
            let mut entries = Vec::new();
            if self.take("}") {
                return Some(Json::Object(entries));
            }
            loop {
                self.take("\"").then_some(())?;
                let key = self.text()?;
                self.take(":").then_some(())?;
                entries.push((key, self.value()?));
                if self.take("}") {
                    return Some(Json::Object(entries));
                }
                self.take(",").then_some(())?;
            }
        }
        self.number()
    }

    /// Takes the rest of a string, whose quote was taken.
    fn text(&mut self) -> Option<String> {
        let mut units: Vec<u16> = Vec::new();
        let mut chars = self.0.chars();
        loop {
            let taken = match chars.next()? {
                '"' => break,
                '\\' => match chars.next()? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let mut unit = 0;
                        for _ in 0..4 {
                            unit = unit * 16 + chars.next()?.to_digit(16)? as u16;
                        }
                        units.push(unit);
                        continue;
                    }
                    escaped @ ('"' | '\\' | '/') => escaped,
                    _ => return None,
                },
                '\0'..='\u{1f}' => return None,
                plain => plain,
            };
            units.extend(taken.encode_utf16(&mut [0; 2]).iter());
        }
        self.0 = chars.as_str();
        Some(String::from_utf16_lossy(&units))
    }

    fn number(&mut self) -> Option<Json> {
        let end = self
            .0
            .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(self.0.len());
        let (number, rest) = self.0.split_at(end);
        self.0 = rest;
        is_number(number).then(|| Json::Number(number.to_owned()))
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

impl Json {
    fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    fn whole_number(&self) -> Option<u64> {
        match self {
            Json::Number(number) if number == "-0" => Some(0),
            Json::Number(number) => number.parse().ok(),
            _ => None,
        }
    }

    /// Returns the values of this key in an object, in order.
    fn all(&self, key: &str) -> Option<Vec<&Json>> {
        let Json::Object(entries) = self else {
            return None;
        };
        let found = entries.iter().filter(|(name, _)| name == key);
        Some(found.map(|(_, value)| value).collect())
    }

    /// Reads each value of an option, and returns the last one.
    fn option<T>(
        &self,
        key: &str,
        read: impl Fn(&Json) -> Option<T>,
    ) -> Result<Option<T>, InvalidOptions> {
        let mut last = None;
        for value in self.all(key).ok_or(InvalidOptions)? {
            last = Some(read(value).ok_or(InvalidOptions)?);
        }
        Ok(last)
    }
}

/// Folds a key as Go does. These are the only letters beyond ASCII that fold to ASCII.
fn fold(key: &str) -> String {
    key.replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
        .to_ascii_lowercase()
}

/// Returns the values of a field: those of its exact name, or else those of the name in any case.
fn values<'a>(entries: &'a [(String, Json)], name: &str, null_counts: bool) -> Vec<&'a Json> {
    let of = |exact: bool| -> Vec<&Json> {
        entries
            .iter()
            .filter(|(key, _)| fold(key) == name && (key == name) == exact)
            .map(|(_, value)| value)
            .filter(|value| null_counts || **value != Json::Null)
            .collect()
    };
    let exact = of(true);
    if exact.is_empty() { of(false) } else { exact }
}

/// Interprets a message by the rules of the wire.
fn interpret_naively(value: &Json) -> Result<Command<'_>, Ignored> {
    let Json::Object(entries) = value else {
        return Err(Ignored::NotAnObject);
    };
    let text = |name: &str| {
        let values = values(entries, name, false);
        if values.iter().any(|value| value.text().is_none()) {
            return Err(Ignored::WrongFieldType);
        }
        Ok(values.last().and_then(|value| value.text()).unwrap_or(""))
    };
    let (kind, channel) = (text("type")?, text("channel")?);
    let data = values(entries, "data", true);
    let data = data.last().and_then(|value| value.text());
    let channel = if channel.is_empty() {
        data.unwrap_or("")
    } else {
        channel
    };
    let channel = Cow::Borrowed(channel);
    match kind {
        "subscribe" | "unsubscribe" if channel.is_empty() => Err(Ignored::MissingChannel),
        "subscribe" => Ok(Command::Subscribe {
            channel,
            options: value
                .all("options")
                .and_then(|options| options.last().copied())
                .map_or(Ok(None), parse_options),
        }),
        "unsubscribe" => Ok(Command::Unsubscribe { channel }),
        "ping" => Ok(Command::Ping),
        _ => Err(Ignored::UnknownType),
    }
}

fn parse_options(value: &Json) -> Result<Option<SubscribeOptions>, InvalidOptions> {
    if *value == Json::Null {
        return Ok(None);
    }
    let flag = |key: &str| {
        value
            .option(key, |value| match value {
                Json::Bool(flag) => Some(*flag),
                _ => None,
            })
            .map(Option::unwrap_or_default)
    };
    let text = |value: &Json| value.text().map(str::to_owned);
    Ok(Some(SubscribeOptions {
        gaps: flag("gaps")?,
        tail: value.option("tail", Json::whole_number)?,
        since: value.option("since", |since| {
            let epoch = since.option("epoch", text).ok()??;
            let seq = since.option("seq", Json::whole_number).ok()??;
            Some(Since { epoch, seq })
        })?,
        batch: flag("batch")?,
        detail: flag("detail")?,
        partial: flag("partial")?,
        range: value.option("range", |range| {
            let epoch = range.option("epoch", text).ok()??;
            let from = range.option("from", Json::whole_number).ok()??;
            let to = range.option("to", Json::whole_number).ok()??;
            (1 <= from && from <= to).then_some(Range { epoch, from, to })
        })?,
    }))
}
