//! Equality and order of values.

use std::cmp::Ordering;

use super::{List, Map, Opaque, Value};
use crate::decl::ListType;

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::List(a), Self::List(b)) => same_lists(a, b),
            (Self::Map(a), Self::Map(b)) => same_maps(a, b),
            (Self::Optional(a), Self::Optional(b)) => a == b,
            (Self::Struct(a), Self::Struct(b)) => a.name == b.name && a.fields == b.fields,
            (Self::Opaque(a), Self::Opaque(b)) => same_opaque(a, b),
            _ => matches!(numbers(self, other), Some(Some(Ordering::Equal))),
        }
    }
}

fn same_lists<'a>(a: &List<'a>, b: &List<'a>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let list_type = |list: &List<'_>| match list {
        List::Json(_, Some(decl)) => match &decl.list {
            ListType::Atomic => None,
            ListType::Set => Some(Vec::new()),
            ListType::Map(keys) => Some(keys.clone()),
        },
        _ => None,
    };
    // The order of a set's items, and of a keyed list's, means nothing.
    match list_type(a).or_else(|| list_type(b)) {
        Some(_) => a.iter().all(|item| b.iter().any(|other| item == other)),
        None => a.iter().zip(b.iter()).all(|(a, b)| a == b),
    }
}

fn same_maps<'a>(a: &Map<'a>, b: &Map<'a>) -> bool {
    a.len() == b.len()
        && a.keys().iter().all(|key| match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        })
}

fn same_opaque(a: &Opaque<'_>, b: &Opaque<'_>) -> bool {
    match (a, b) {
        (Opaque::Url(a), Opaque::Url(b)) => a == b,
        (Opaque::Quantity(a), Opaque::Quantity(b)) => a == b,
        (Opaque::Semver(a), Opaque::Semver(b)) => a.cmp_precedence(b).is_eq(),
        (Opaque::Ip(a), Opaque::Ip(b)) => a.to_canonical() == b.to_canonical(),
        (Opaque::Cidr(a, bits), Opaque::Cidr(b, others)) => a == b && bits == others,
        (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
        _ => false,
    }
}

/// How two numbers compare, of whatever types: none if one is no number, and `Some(None)` if one is not a number.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    Some(match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => mixed(*a, whole(b)?),
        (a, Value::Double(b)) => mixed(*b, whole(a)?).map(Ordering::reverse),
        _ => Some(whole(a)?.cmp(&whole(b)?)),
    })
}

fn mixed(real: f64, whole: i128) -> Option<Ordering> {
    if real.is_nan() {
        None
    } else if real.is_infinite() || real.abs() > 1e30 {
        Some(if real > 0.0 { Ordering::Greater } else { Ordering::Less })
    } else {
        // The whole part decides; what is left of it only if that is equal.
        let floor = real.floor();
        let order = (floor as i128).cmp(&whole);
        Some(if order.is_eq() && real > floor { Ordering::Greater } else { order })
    }
}

/// The order of two values: none if they have none.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
        (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
        _ => numbers(a, b)?,
    }
}
