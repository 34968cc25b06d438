//! Durations as Go reads and writes them, which is how flags, configurations and requests have them: `1h30m`, `2m0s`, `150ms`.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// How many nanoseconds each of Go's units has.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// Digits behind a point that count; more say less than a nanosecond in every unit.
const FRACTION: usize = 18;

/// Why a text is no duration, in the words of Go's `time.ParseDuration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Invalid(String),
    MissingUnit(String),
    UnknownUnit { unit: String, text: String },
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => write!(out, "time: invalid duration {text:?}"),
            Self::MissingUnit(text) => write!(out, "time: missing unit in duration {text:?}"),
            Self::UnknownUnit { unit, text } => write!(out, "time: unknown unit {unit:?} in duration {text:?}"),
        }
    }
}

impl std::error::Error for Error {}

/// A duration in nanoseconds, which may be below zero: numbers with units and one sign before all, or `0`.
pub fn nanoseconds(text: &str) -> Result<i64, Error> {
    let invalid = || Error::Invalid(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0u128;
    while !rest.is_empty() {
        let (whole, after) = split(rest, |letter| !letter.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split(after, |letter| !letter.is_ascii_digit()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let (unit, after) = split(after, |letter| letter.is_ascii_digit() || letter == '.');
        if unit.is_empty() {
            return Err(Error::MissingUnit(text.to_owned()));
        }
        let found = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, size) = found.ok_or_else(|| Error::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() })?;
        let number =
            |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse::<u64>().map_err(|_| invalid()) };
        let fraction = &fraction[..fraction.len().min(FRACTION)];
        // At most 2^64 hours and 10^18 hours: neither product is near the end of 128 bits.
        total += u128::from(number(whole)?) * size
            + u128::from(number(fraction)?) * size / 10u128.pow(fraction.len() as u32);
        if total > i64::MAX as u128 {
            return Err(invalid());
        }
        rest = after;
    }
    let total = total as i64;
    Ok(if negative { -total } else { total })
}

/// A duration that is not below zero.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let nanoseconds = nanoseconds(text)?;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| Error::Invalid(text.to_owned()))
}

/// A flag's value, or what to write instead.
pub fn flag(text: &str) -> Result<Duration, String> {
    parse(text).map_err(|_| format!("{text:?} is no duration; write it as 10s, 5m0s or 1h30m"))
}

/// A duration as Go prints it: `24h0m0s`, `1.5s`, `150ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (size, unit) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, part) = (nanos / size, nanos % size);
    let mut text = match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) | (_, _, _) if size < 1_000_000_000 => whole.to_string(),
        (0, 0, seconds) => seconds.to_string(),
        (0, minutes, seconds) => format!("{minutes}m{seconds}"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}"),
    };
    if part > 0 {
        let digits = size.ilog10() as usize;
        let _ = write!(text, ".{}", format!("{part:0digits$}").trim_end_matches('0'));
    }
    text + unit
}

/// A duration in a configuration, as text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Debug for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        flag(&String::deserialize(from)?).map(Self).map_err(de::Error::custom)
    }
}

/// A text up to the first letter that ends it, and the rest.
fn split(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in [
            ("0", 0),
            ("+0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1h15m30.918273645s", 4_530_918_273_645),
            ("-1m30s", -90_000_000_000),
            ("12ns", 12),
            ("3us2µs1μs", 6_000),
            ("0.3333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX),
        ] {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("", "invalid duration \"\""),
            ("-", "invalid duration \"-\""),
            (".", "invalid duration \".\""),
            ("s", "invalid duration \"s\""),
            (".s", "invalid duration \".s\""),
            ("+.s", "invalid duration \"+.s\""),
            ("soon", "invalid duration \"soon\""),
            ("3", "missing unit in duration \"3\""),
            ("1s2", "missing unit in duration \"1s2\""),
            ("1.2.3s", "missing unit in duration \"1.2.3s\""),
            ("5y", "unknown unit \"y\" in duration \"5y\""),
            ("1h x", "unknown unit \"h x\" in duration \"1h x\""),
            ("9223372036854775808ns", "invalid duration \"9223372036854775808ns\""),
            ("99999999999999999999s", "invalid duration \"99999999999999999999s\""),
            ("2562048h", "invalid duration \"2562048h\""),
        ] {
            assert_eq!(nanoseconds(text).unwrap_err().to_string(), format!("time: {why}"));
        }
    }

    #[test]
    fn what_takes_time_is_not_below_zero() {
        assert_eq!(parse("2m0s"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("-1h").unwrap_err().to_string(), "time: invalid duration \"-1h\"");
        assert_eq!(flag("1d").unwrap_err(), "\"1d\" is no duration; write it as 10s, 5m0s or 1h30m");
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for text in [
            "0s",
            "1ns",
            "1.1µs",
            "2.2ms",
            "150ms",
            "3.3s",
            "1m0s",
            "4m5.001s",
            "5h6m7.001s",
            "24h0m0s",
            "8m0.000000001s",
        ] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
