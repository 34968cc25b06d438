//! Timestamps and durations as text.

use jiff::Timestamp;

/// A timestamp by RFC 3339.
pub fn timestamp(text: &str) -> Result<Timestamp, String> {
    let shape = text.len() >= 20 && text.as_bytes()[4] == b'-' && matches!(text.as_bytes()[10], b'T' | b't');
    if !shape {
        return Err(format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?}"));
    }
    text.parse().map_err(|error| format!("parsing time {text:?}: {error}"))
}

/// A duration as `1.5s` or `90s`.
pub fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, rest) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}
