//! The formats that strings may have; names that are not here say nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use kinit_api::validate::text;

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
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "creditcard" => credit_card(text),
        "ssn" => shaped(text, "000-00-0000") || shaped(text, "000 00 0000"),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|it| it.is_ascii_hexdigit())
        }
        "rgbcolor" => rgb(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|it| it.is_ascii_hexdigit()),
        "k8s-short-name" => text::dns_label(text).is_empty(),
        "k8s-long-name" => text::dns_subdomain(text).is_empty(),
        _ => true,
    }
}

/// Whether values of a type can have a format; one that they cannot have says nothing.
pub fn is_known(kind: &str, format: &str) -> bool {
    const OF_TEXT: &[&str] = &[
        "bsonobjectid",
        "byte",
        "cidr",
        "creditcard",
        "date",
        "datetime",
        "duration",
        "email",
        "hexcolor",
        "hostname",
        "ipv4",
        "ipv6",
        "isbn",
        "isbn10",
        "isbn13",
        "k8slongname",
        "k8sshortname",
        "mac",
        "password",
        "rgbcolor",
        "ssn",
        "uri",
        "uuid",
        "uuid3",
        "uuid4",
        "uuid5",
    ];
    match kind {
        "" | "string" => OF_TEXT.contains(&format.replace('-', "").as_str()),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// Whether a text has digits where the shape has noughts, and is the same elsewhere.
fn shaped(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(it, wanted)| if wanted == b'0' { it.is_ascii_digit() } else { it == wanted })
}

/// The digits of a number that may be written in groups; none where there is something else.
fn digits(text: &str) -> Option<Vec<u32>> {
    text.chars().filter(|letter| !matches!(letter, ' ' | '-')).map(|letter| letter.to_digit(10)).collect()
}

fn isbn10(text: &str) -> bool {
    let (body, last) = match text.strip_suffix('X') {
        Some(body) => (digits(body), Some(10)),
        None => (digits(text), None),
    };
    let Some(mut all) = body else { return false };
    all.extend(last);
    all.len() == 10 && all.iter().zip(1..).map(|(digit, place)| digit * place).sum::<u32>().is_multiple_of(11)
}

fn isbn13(text: &str) -> bool {
    let Some(all) = digits(text) else { return false };
    let sum: u32 = all.iter().enumerate().map(|(place, digit)| digit * if place % 2 == 0 { 1 } else { 3 }).sum();
    all.len() == 13 && sum.is_multiple_of(10)
}

/// As many digits as the cards of some maker have, with their check sum.
fn credit_card(text: &str) -> bool {
    let Some(all) = digits(text) else { return false };
    let of_maker = matches!(
        (all.as_slice(), all.len()),
        ([4, ..], 13)
            | ([4, ..] | [5, 1..=5, ..] | [6, 0 | 2 | 5, ..] | [3, 5, ..], 16)
            | ([3, 4 | 7, ..] | [2, 1, 3, 1, ..] | [1, 8, 0, 0, ..], 15)
            | ([3, 0, 0..=5, ..] | [3, 6 | 8, ..], 14)
    );
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 =
        all.iter().rev().enumerate().map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit }).sum();
    of_maker && sum.is_multiple_of(10)
}

/// `rgb(1, 2, 3)`.
fn rgb(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u8>().is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_from_others() {
        let good = [
            ("isbn", "0-306-40615-2"),
            ("isbn10", "0306406152"),
            ("isbn13", "9780306406157"),
            ("creditcard", "4111111111111111"),
            ("ssn", "111-11-1111"),
            ("hexcolor", "#fff"),
            ("rgbcolor", "rgb(1,2,3)"),
            ("bsonobjectid", "507f1f77bcf86cd799439011"),
            ("k8s-short-name", "a-b"),
            ("k8s-long-name", "a.b"),
            ("other", "x"),
        ];
        for (format, text) in good {
            assert!(fits(format, text), "{format} {text}");
        }
        for (format, _) in good.iter().filter(|(format, _)| *format != "other") {
            assert!(!fits(format, "X_"), "{format}");
            assert!(is_known("string", format) && !is_known("integer", format));
        }
        assert!(!is_known("string", "other") && is_known("", "date-time") && is_known("number", "double"));
    }
}
