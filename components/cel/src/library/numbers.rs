//! Conversions between scalars, quantities and semantic versions.

use std::rc::Rc;

use kinit_api::quantity::Quantity;

use super::operators::text;
use super::{Cost, Row, f, fail, row};
use crate::error::EvalError;
use crate::time;
use crate::value::Value::{Bool, Bytes, Double, Duration, Int, Opaque, String as Str, Timestamp, Type, Uint};
use crate::value::{Opaque as Kind, Result, Value};

const ONE: Cost = Cost::Fixed(1);
const SCAN: Cost = Cost::Scan { sized: false };

macro_rules! conversions {
    ($rows:ident, $to:literal, $run:expr, $($from:literal),+) => {
        $($rows.push(row(concat!($to, "(", $from, ")->", $to), ONE, $run));)+
    };
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("dyn(A)->dyn", Cost::Dyn, f!([value] => Ok(value.clone()))),
        row("type(A)->type<A>", ONE, f!([value] => Ok(Type(value.type_name())))),
        row("string(bytes)->string", Cost::ToText, to_string),
        row("bytes(string)->bytes", Cost::ToBytes, f!([Str(text)] => Ok(Bytes(text.as_bytes().into())))),
        row("bytes(bytes)->bytes", ONE, f!([Bytes(bytes)] => Ok(Bytes(bytes.clone())))),
        row("bool(bool)->bool", ONE, f!([Bool(value)] => Ok(Bool(*value)))),
        row(
            "bool(string)->bool",
            ONE,
            f!([Str(text)] => match &**text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Bool(false)),
                _ => fail("type conversion error from 'string' to 'bool'"),
            }),
        ),
        row(
            "quantity(string)->quantity",
            SCAN,
            f!([Str(text)] => match text.parse::<Quantity>() {
                Ok(quantity) => Ok(Opaque(Kind::Quantity(quantity))),
                Err(error) => fail(error.to_string()),
            }),
        ),
        row("isQuantity(string)->bool", SCAN, f!([Str(text)] => Ok(Bool(text.parse::<Quantity>().is_ok())))),
        row("sign(quantity)->int", ONE, f!([Opaque(Kind::Quantity(a))] => Ok(Int(order(a, &Quantity::ZERO))))),
        row(
            "quantity:isGreaterThan(quantity)->bool",
            ONE,
            f!([Opaque(Kind::Quantity(a)), Opaque(Kind::Quantity(b))] => Ok(Bool(a > b))),
        ),
        row(
            "quantity:isLessThan(quantity)->bool",
            ONE,
            f!([Opaque(Kind::Quantity(a)), Opaque(Kind::Quantity(b))] => Ok(Bool(a < b))),
        ),
        row(
            "quantity:compareTo(quantity)->int",
            ONE,
            f!([Opaque(Kind::Quantity(a)), Opaque(Kind::Quantity(b))] => Ok(Int(order(a, b)))),
        ),
        row("quantity:isInteger()->bool", ONE, f!([Opaque(Kind::Quantity(a))] => Ok(Bool(whole(*a).is_some())))),
        row(
            "quantity:asInteger()->int",
            ONE,
            f!([Opaque(Kind::Quantity(a))] => match whole(*a) {
                Some(value) => Ok(Int(value)),
                None => fail("cannot convert value to integer"),
            }),
        ),
        row(
            "quantity:asApproximateFloat()->double",
            ONE,
            f!([Opaque(Kind::Quantity(a))] => Ok(Double(approximate(*a)))),
        ),
        row(
            "quantity:add(quantity)->quantity",
            ONE,
            f!([Opaque(Kind::Quantity(a)), Opaque(Kind::Quantity(b))] => sum(*a, *b)),
        ),
        row(
            "quantity:add(int)->quantity",
            ONE,
            f!([Opaque(Kind::Quantity(a)), Int(b)] => sum(*a, Quantity::new(*b, a.format()))),
        ),
        row(
            "quantity:sub(quantity)->quantity",
            ONE,
            f!([Opaque(Kind::Quantity(a)), Opaque(Kind::Quantity(b))] => difference(*a, *b)),
        ),
        row(
            "quantity:sub(int)->quantity",
            ONE,
            f!([Opaque(Kind::Quantity(a)), Int(b)] => difference(*a, Quantity::new(*b, a.format()))),
        ),
        row("semver(string)->semver", SCAN, f!([Str(text)] => version(text, false))),
        row("semver(string,bool)->semver", SCAN, f!([Str(text), Bool(lax)] => version(text, *lax))),
        row("isSemver(string)->bool", SCAN, f!([Str(text)] => Ok(Bool(version(text, false).is_ok())))),
        row("isSemver(string,bool)->bool", SCAN, f!([Str(text), Bool(lax)] => Ok(Bool(version(text, *lax).is_ok())))),
        row(
            "semver:isGreaterThan(semver)->bool",
            ONE,
            f!([Opaque(Kind::Semver(a)), Opaque(Kind::Semver(b))] => Ok(Bool(a.cmp_precedence(b).is_gt()))),
        ),
        row(
            "semver:isLessThan(semver)->bool",
            ONE,
            f!([Opaque(Kind::Semver(a)), Opaque(Kind::Semver(b))] => Ok(Bool(a.cmp_precedence(b).is_lt()))),
        ),
        row(
            "semver:compareTo(semver)->int",
            ONE,
            f!([Opaque(Kind::Semver(a)), Opaque(Kind::Semver(b))] => Ok(Int(a.cmp_precedence(b) as i64))),
        ),
        row("semver:major()->int", ONE, f!([Opaque(Kind::Semver(a))] => Ok(part(a.major)))),
        row("semver:minor()->int", ONE, f!([Opaque(Kind::Semver(a))] => Ok(part(a.minor)))),
        row("semver:patch()->int", ONE, f!([Opaque(Kind::Semver(a))] => Ok(part(a.patch)))),
    ];
    conversions!(rows, "int", to_int, "int", "uint", "double", "string", "timestamp", "duration");
    conversions!(rows, "uint", to_uint, "uint", "int", "double", "string");
    conversions!(rows, "double", to_double, "double", "int", "uint", "string");
    conversions!(
        rows,
        "string",
        to_string,
        "string",
        "bool",
        "int",
        "uint",
        "double",
        "timestamp",
        "duration",
        "quantity"
    );
    rows
}

fn part<'a>(number: u64) -> Value<'a> {
    Int(i64::try_from(number).unwrap_or(i64::MAX))
}

fn order(a: &Quantity, b: &Quantity) -> i64 {
    a.cmp(b) as i64
}

fn to_int<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let range = || EvalError::new("integer overflow");
    match args {
        [Int(value)] => Ok(Int(*value)),
        [Uint(value)] => i64::try_from(*value).map(Int).map_err(|_| range()),
        [Double(value)] if *value > -9_223_372_036_854_775_808.0 && *value < 9_223_372_036_854_775_808.0 => {
            Ok(Int(*value as i64))
        }
        [Double(_)] => Err(range()),
        [Timestamp(time)] => Ok(Int(time.as_second())),
        [Duration(nanos)] => Ok(Int(*nanos)),
        [Str(text)] => match text.parse() {
            Ok(value) => Ok(Int(value)),
            Err(_) => fail("type conversion error from 'string' to 'int'"),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn to_uint<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let range = || EvalError::new("unsigned integer overflow");
    match args {
        [Uint(value)] => Ok(Uint(*value)),
        [Int(value)] => u64::try_from(*value).map(Uint).map_err(|_| range()),
        [Double(value)] if *value >= 0.0 && *value < 18_446_744_073_709_551_616.0 => Ok(Uint(*value as u64)),
        [Double(_)] => Err(range()),
        [Str(text)] => match text.parse() {
            Ok(value) => Ok(Uint(value)),
            Err(_) => fail("type conversion error from 'string' to 'uint'"),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn to_double<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Double(value)] => Ok(Double(*value)),
        [Int(value)] => Ok(Double(*value as f64)),
        [Uint(value)] => Ok(Double(*value as f64)),
        [Str(text)] => match text.parse() {
            Ok(value) => Ok(Double(value)),
            Err(_) => fail("type conversion error from 'string' to 'double'"),
        },
        _ => Err(EvalError::NoSuchOverload),
    }
}

pub(super) fn to_string<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(match args {
        [Str(value)] => Str(value.clone()),
        [Bool(value)] => text(if *value { "true" } else { "false" }),
        [Int(value)] => value.to_string().into(),
        [Uint(value)] => value.to_string().into(),
        [Double(value)] => double_text(*value).into(),
        [Timestamp(time)] => time.to_string().into(),
        [Duration(nanos)] => time::duration_text(*nanos).into(),
        [Opaque(Kind::Quantity(quantity))] => quantity.to_string().into(),
        [Opaque(Kind::Ip(address))] => address.to_string().into(),
        [Opaque(Kind::Cidr(address, bits))] => format!("{address}/{bits}").into(),
        [Bytes(bytes)] => match std::str::from_utf8(bytes) {
            Ok(value) => text(value),
            Err(_) => return fail("invalid UTF-8 in bytes, cannot convert to string"),
        },
        _ => return Err(EvalError::NoSuchOverload),
    })
}

pub(super) fn double_text(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        // An exponent has a sign and at least two digits.
        let shown = format!("{value:e}");
        let (number, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format!("{number}e{sign}{digits:0>2}");
    }
    value.to_string()
}

fn whole(quantity: Quantity) -> Option<i64> {
    let value = quantity.value();
    (Quantity::new(value, quantity.format()) == quantity).then_some(value)
}

fn approximate(quantity: Quantity) -> f64 {
    match whole(quantity) {
        Some(value) => value as f64,
        None => quantity.as_f64(),
    }
}

fn sum<'a>(a: Quantity, b: Quantity) -> Result<Value<'a>> {
    Ok(Opaque(Kind::Quantity(a.plus(b))))
}

fn difference<'a>(a: Quantity, b: Quantity) -> Result<Value<'a>> {
    Ok(Opaque(Kind::Quantity(a.minus(b))))
}

/// A semantic version; `lax` allows a leading v, missing parts and leading zeros.
fn version<'a>(text: &str, lax: bool) -> Result<Value<'a>> {
    let normal = if lax { normalized(text) } else { text.to_owned() };
    match semver::Version::parse(&normal) {
        Ok(version) => Ok(Opaque(Kind::Semver(Rc::new(version)))),
        Err(error) => fail(error.to_string()),
    }
}

fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut parts: Vec<&str> = numbers
        .split('.')
        .map(|part| match part.trim_start_matches('0') {
            "" if !part.is_empty() => "0",
            trimmed => trimmed,
        })
        .collect();
    if rest.is_empty() {
        while parts.len() < 3 {
            parts.push("0");
        }
    }
    format!("{}{rest}", parts.join("."))
}
