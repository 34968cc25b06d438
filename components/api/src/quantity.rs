//! Quantities: the fixed-point numbers with suffixes that resources are counted in, such as `100m`, `1.5Gi` and `2e3`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = 1_000_000;
/// Binary quantities are capped here, the greatest that a 64-bit integer holds.
const BINARY_CAP: i128 = i64::MAX as i128 * NANO;
/// Suffixes of powers of a thousand, the first of them 10^-9.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Suffixes of powers of 1024, the first of them 1.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The family of suffixes that a quantity was written with, and will be written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// A quantity, exact to a billionth. Equality and order are the number's; the format does not take part.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Number,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    pub const fn new(value: i64, format: Format) -> Self {
        Self { nanos: value as i128 * NANO, format }
    }

    pub const fn from_milli(value: i64) -> Self {
        Self { nanos: value as i128 * MILLI, format: Format::DecimalSi }
    }

    pub fn format(self) -> Format {
        self.format
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// The whole number that is not nearer to zero, capped to 64 bits.
    pub fn value(self) -> i64 {
        clamp(away_from_zero(self.nanos, NANO))
    }

    /// As [`value`](Self::value), in thousandths.
    pub fn milli_value(self) -> i64 {
        clamp(away_from_zero(self.nanos, MILLI))
    }

    /// The nearest floating-point number.
    #[expect(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Rounded away from zero to thousandths: resource lists are no finer.
    #[must_use]
    pub fn round_up_to_milli(self) -> Self {
        Self { nanos: away_from_zero(self.nanos, MILLI).saturating_mul(MILLI), ..self }
    }

    /// The sum. Zero has no format of its own to keep.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    /// The difference, with the same rule for the format as [`plus`](Self::plus).
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN })
}

fn away_from_zero(value: i128, unit: i128) -> i128 {
    value / unit + if value % unit == 0 { 0 } else { value.signum() }
}

/// The canonical form: no fraction, the greatest suffix that loses nothing.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.nanos % NANO == 0 {
            let (number, power) = strip(self.nanos / NANO, 1024, BINARY.len() - 1);
            return write!(f, "{number}{}", BINARY[power]);
        }
        let (number, power) = strip(self.nanos, 1000, DECIMAL.len() - 1);
        match (self.format, power) {
            (Format::DecimalExponent, 3) => write!(f, "{number}"),
            (Format::DecimalExponent, 0..3) => write!(f, "{number}e-{}", 9 - 3 * power),
            (Format::DecimalExponent, _) => write!(f, "{number}e{}", 3 * power - 9),
            _ => write!(f, "{number}{}", DECIMAL[power]),
        }
    }
}

/// Divides by `base` while nothing is lost, at most `limit` times; the rest and the times.
fn strip(mut number: i128, base: i128, limit: usize) -> (i128, usize) {
    let mut power = 0;
    while power < limit && number % base == 0 {
        number /= base;
        power += 1;
    }
    (number, power)
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            None => return Err(ParseError::Format),
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
        };
        let digits_end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        let (whole, rest) = unsigned.split_at(digits_end);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("", rest),
        };
        if !well_formed(suffix) {
            return Err(ParseError::Format);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(ParseError::Number);
        }
        let (base, exponent, format) = interpret(suffix).ok_or(ParseError::Suffix)?;
        let (mantissa, places, inexact) = mantissa(whole, fraction);
        let mut nanos = match base {
            2 => scale(mantissa.saturating_mul(1 << exponent), 9 - places, inexact).min(BINARY_CAP),
            _ => scale(mantissa, 9 - places + exponent, inexact),
        };
        if negative {
            nanos = -nanos;
        }
        let format = if format == Format::BinarySi && nanos > 0 && nanos < NANO { Format::DecimalSi } else { format };
        Ok(Self { nanos, format })
    }
}

/// Letters of suffixes, then a sign, then digits.
fn well_formed(suffix: &str) -> bool {
    let rest = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest.bytes().all(|byte| byte.is_ascii_digit())
}

/// The base, the exponent and the format that a suffix stands for.
fn interpret(suffix: &str) -> Option<(u8, i32, Format)> {
    let place = |list: &[&str]| list.iter().position(|own| *own == suffix).and_then(|at| i32::try_from(at).ok());
    if let Some(at) = place(&DECIMAL) {
        return Some((10, 3 * at - 9, Format::DecimalSi));
    }
    if let Some(at) = place(&BINARY) {
        return Some((2, 10 * at, Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((10, exponent, Format::DecimalExponent))
}

/// The digits as one number, how many of them are a fraction, and whether some that are not zero were left out. Twelve
/// places are three more than any result keeps.
fn mantissa(whole: &str, fraction: &str) -> (i128, i32, bool) {
    let kept = &fraction[..fraction.len().min(12)];
    let inexact = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
    let digits = whole.bytes().chain(kept.bytes());
    let number = digits.fold(0i128, |sum, digit| sum.saturating_mul(10).saturating_add(i128::from(digit - b'0')));
    (number, i32::try_from(kept.len()).unwrap_or(0), inexact)
}

/// `number` × 10^`exponent`, rounded up.
fn scale(number: i128, exponent: i32, inexact: bool) -> i128 {
    if number == 0 {
        return i128::from(inexact);
    }
    match (u32::try_from(exponent), u32::try_from(exponent.saturating_neg())) {
        (Ok(up), _) => {
            let factor = 10i128.checked_pow(up).unwrap_or(i128::MAX);
            number.saturating_mul(factor).saturating_add(i128::from(inexact))
        }
        (_, Ok(down)) => match 10i128.checked_pow(down) {
            Some(divisor) => number / divisor + i128::from(number % divisor != 0 || inexact),
            None => 1,
        },
        _ => number,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|error| error.to_string(), |quantity| quantity.to_string())
    }

    #[test]
    fn quantities_are_written_in_canonical_form() {
        let cases = [
            ("0", "0"),
            ("0Gi", "0"),
            ("-0", "0"),
            ("1", "1"),
            ("+5", "5"),
            ("007", "7"),
            ("1.", "1"),
            (".5", "500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1023Ki", "1023Ki"),
            ("1000Ki", "1000Ki"),
            ("512", "512"),
            ("0.1Ki", "102400m"),
            ("0.0001Ki", "102400u"),
            ("1000k", "1M"),
            ("1e3", "1e3"),
            ("1E6", "1e6"),
            ("12e2", "1200"),
            ("1e-3", "1e-3"),
            ("1e-10", "1e-9"),
            ("0.1n", "1n"),
            ("-1.5Gi", "-1536Mi"),
            ("-100m", "-100m"),
            ("100Ei", "9223372036854775807"),
            ("5E", "5E"),
            ("2000E", "2000E"),
            ("1Ei", "1Ei"),
        ];
        for (text, expected) in cases {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn malformed_quantities_are_refused() {
        let cases = [
            ("", ParseError::Format),
            ("1 ", ParseError::Format),
            ("1..5", ParseError::Format),
            ("a", ParseError::Format),
            ("1Gb", ParseError::Format),
            ("Gi", ParseError::Number),
            (".", ParseError::Number),
            ("1ki", ParseError::Suffix),
            ("1mm", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("1K", ParseError::Suffix),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Quantity>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn whole_values_round_away_from_zero() {
        for (text, value, milli) in [("1.1", 2, 1100), ("-1.1", -2, -1100), ("1u", 1, 1), ("2Ki", 2048, 2_048_000)] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!((quantity.value(), quantity.milli_value()), (value, milli), "{text}");
        }
        let fine: Quantity = "1500100u".parse().unwrap();
        assert_eq!(fine.round_up_to_milli().to_string(), "1501m");
    }

    proptest! {
        #[test]
        fn canonical_text_parses_to_itself(
            number in -1_000_000_000_000i64..1_000_000_000_000,
            places in 0usize..4,
            suffix in prop::sample::select(vec!["", "m", "u", "n", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-2"]),
        ) {
            let text = format!("{number}.{:0<places$}{suffix}", "");
            let parsed: Quantity = text.parse().unwrap();
            let again: Quantity = parsed.to_string().parse().unwrap();
            prop_assert_eq!(parsed, again);
            prop_assert_eq!(parsed.to_string(), again.to_string());
        }

        #[test]
        fn order_and_sums_are_those_of_the_numbers(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
            let (x, y) = (Quantity::from_milli(a), Quantity::from_milli(b));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.plus(y).milli_value(), a + b);
            prop_assert_eq!(x.minus(y).plus(y), x);
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in "[-+.0-9a-zA-Zé]{0,40}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
