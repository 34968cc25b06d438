//! The formats that strings may have; names that are not here say nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether a text has a format.
pub fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => date_time(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "mac" => mac(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid(format, text),
        "email" => {
            text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
        }
        "uri" => {
            text.split_once(':').is_some_and(|(scheme, _)| scheme.starts_with(|c: char| c.is_ascii_alphabetic()))
                || text.starts_with('/')
        }
        "hostname" => hostname(text),
        "byte" => base64(text),
        _ => true,
    }
}

fn date_time(text: &str) -> bool {
    let zoned = text.ends_with(['Z', 'z']) || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    zoned && text.parse::<jiff::Timestamp>().is_ok()
}

/// `1h2m3.5s`, or words as `3 days`.
fn duration(text: &str) -> bool {
    const UNITS: &[&str] = &[
        "ns", "us", "µs", "ms", "s", "m", "h", "d", "w", "nano", "nanos", "micro", "micros", "milli", "millis", "sec",
        "secs", "second", "seconds", "min", "mins", "minute", "minutes", "hr", "hrs", "hour", "hours", "day", "days",
        "week", "weeks",
    ];
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
        let tail = rest[digits..].trim_start();
        let unit = tail.find(|letter: char| !letter.is_alphabetic()).unwrap_or(tail.len());
        if digits == 0 || rest[..digits].parse::<f64>().is_err() || !UNITS.contains(&&tail[..unit]) {
            return false;
        }
        rest = tail[unit..].trim_start();
    }
    !text.is_empty()
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let bits: u8 = bits.parse().unwrap_or(u8::MAX);
    address.parse::<Ipv4Addr>().is_ok() && bits <= 32 || address.parse::<Ipv6Addr>().is_ok() && bits <= 128
}

fn mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit()))
}

fn uuid(format: &str, text: &str) -> bool {
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    let shaped = text.len() == 32 || text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let version = format.strip_prefix("uuid").unwrap_or_default();
    shaped
        && digits.bytes().all(|it| it.is_ascii_hexdigit())
        && (version.is_empty() || digits.get(12..13) == Some(version))
}

fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.split('.').all(label)
}

fn base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'/' | b'-' | b'_'))
}
