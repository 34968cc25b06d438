//! Operators, indexing and what macros are made of. `&&`, `||` and `?:` are not run from here: they choose what to run.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Cost::{self, Concat, ConcatLists, Fixed};
use super::{Row, f, fail, row};
use crate::error::EvalError;
use crate::value::Value::{Bool, Bytes, Double, Duration, Int, List, Map, Timestamp, Uint};
use crate::value::equal::compare;
use crate::value::{Key, List as Items, Map as Entries, Result, Text, Value};

const ONE: Cost = Fixed(1);

/// The four orderings of a pair of types.
macro_rules! ordering {
    ($rows:ident, $cost:expr, $($pair:literal),+) => {$(
        $rows.push(row(concat!("_<_(", $pair, ")->bool"), $cost, |args| ordered(args, Ordering::is_lt)));
        $rows.push(row(concat!("_<=_(", $pair, ")->bool"), $cost, |args| ordered(args, Ordering::is_le)));
        $rows.push(row(concat!("_>_(", $pair, ")->bool"), $cost, |args| ordered(args, Ordering::is_gt)));
        $rows.push(row(concat!("_>=_(", $pair, ")->bool"), $cost, |args| ordered(args, Ordering::is_ge)));
    )+};
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("_&&_(bool,bool)->bool", Cost::And, |_| Err(EvalError::NoSuchOverload)),
        row("_||_(bool,bool)->bool", Cost::Or, |_| Err(EvalError::NoSuchOverload)),
        row("_?_:_(bool,A,A)->A", Cost::Conditional, |_| Err(EvalError::NoSuchOverload)),
        row("@not_strictly_false(bool)->bool", ONE, f!([value] => Ok(Bool(!matches!(value, Bool(false)))))),
        row("!_(bool)->bool", ONE, f!([Bool(value)] => Ok(Bool(!value)))),
        row("_==_(A,A)->bool", Cost::Compare, f!([a, b] => Ok(Bool(a == b)))),
        row("_!=_(A,A)->bool", Cost::Compare, f!([a, b] => Ok(Bool(a != b)))),
        row("-_(int)->int", ONE, negate),
        row("-_(double)->double", ONE, negate),
        row("_[_](list<A>,int)->A", Cost::IndexList, index),
        row("_[_](map<A,B>,A)->B", Cost::IndexMap, index),
        row("@in(A,list<A>)->bool", Cost::InList, contained),
        row("@in(A,map<A,B>)->bool", ONE, contained),
        row("cel.@mapInsert(map<A,B>,A,B)->map<A,B>", ONE, insert),
        row("cel.@mapInsert(map<A,B>,map<A,B>)->map<A,B>", ONE, insert_all),
        row("_+_(bytes,bytes)->bytes", Concat, add),
        row("_+_(double,double)->double", ONE, add),
        row("_+_(duration,duration)->duration", ONE, add),
        row("_+_(duration,timestamp)->timestamp", ONE, add),
        row("_+_(timestamp,duration)->timestamp", ONE, add),
        row("_+_(int,int)->int", ONE, add),
        row("_+_(list<A>,list<A>)->list<A>", ConcatLists, add),
        row("_+_(string,string)->string", Concat, add),
        row("_+_(uint,uint)->uint", ONE, add),
        row("_-_(double,double)->double", ONE, subtract),
        row("_-_(duration,duration)->duration", ONE, subtract),
        row("_-_(int,int)->int", ONE, subtract),
        row("_-_(timestamp,duration)->timestamp", ONE, subtract),
        row("_-_(timestamp,timestamp)->duration", ONE, subtract),
        row("_-_(uint,uint)->uint", ONE, subtract),
        row("_*_(double,double)->double", ONE, multiply),
        row("_*_(int,int)->int", ONE, multiply),
        row("_*_(uint,uint)->uint", ONE, multiply),
        row("_/_(double,double)->double", ONE, divide),
        row("_/_(int,int)->int", ONE, divide),
        row("_/_(uint,uint)->uint", ONE, divide),
        row("_%_(int,int)->int", ONE, remainder),
        row("_%_(uint,uint)->uint", ONE, remainder),
    ];
    ordering!(rows, ONE, "bool,bool", "int,int", "int,double", "int,uint", "uint,uint", "uint,double", "uint,int");
    ordering!(rows, ONE, "double,double", "double,int", "double,uint", "timestamp,timestamp", "duration,duration");
    ordering!(rows, Cost::Compare, "string,string", "bytes,bytes");
    rows
}

fn ordered<'a>(args: &[Value<'a>], wanted: fn(Ordering) -> bool) -> Result<Value<'a>> {
    let [a, b] = args else { return Err(EvalError::NoSuchOverload) };
    match compare(a, b) {
        Some(order) => Ok(Bool(wanted(order))),
        None if matches!(a, Double(_)) || matches!(b, Double(_)) => Ok(Bool(false)),
        None => Err(EvalError::NoSuchOverload),
    }
}

fn or_overflow<'a, T>(result: Option<T>, kind: &str, make: fn(T) -> Value<'a>) -> Result<Value<'a>> {
    match result {
        Some(value) => Ok(make(value)),
        None => fail(format!("{kind} overflow")),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Int(value)] => or_overflow(value.checked_neg(), "integer", Int),
        [Double(value)] => Ok(Double(-value)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn shifted(time: &jiff::Timestamp, nanos: Option<i64>) -> Option<jiff::Timestamp> {
    time.checked_add(jiff::SignedDuration::from_nanos(nanos?)).ok()
}

fn add<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Int(a), Int(b)] => or_overflow(a.checked_add(*b), "integer", Int),
        [Uint(a), Uint(b)] => or_overflow(a.checked_add(*b), "unsigned integer", Uint),
        [Double(a), Double(b)] => Ok(Double(a + b)),
        [Value::String(a), Value::String(b)] => Ok(format!("{}{}", &**a, &**b).into()),
        [Bytes(a), Bytes(b)] => Ok(Bytes([&a[..], &b[..]].concat().into())),
        [Duration(a), Duration(b)] => or_overflow(a.checked_add(*b), "duration", Duration),
        [Timestamp(a), Duration(b)] | [Duration(b), Timestamp(a)] => {
            or_overflow(shifted(a, Some(*b)), "timestamp", Timestamp)
        }
        [List(a), List(b)] => Ok(Value::list(a.iter().chain(b.iter()).collect())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn subtract<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Int(a), Int(b)] => or_overflow(a.checked_sub(*b), "integer", Int),
        [Uint(a), Uint(b)] => or_overflow(a.checked_sub(*b), "unsigned integer", Uint),
        [Double(a), Double(b)] => Ok(Double(a - b)),
        [Duration(a), Duration(b)] => or_overflow(a.checked_sub(*b), "duration", Duration),
        [Timestamp(a), Duration(b)] => or_overflow(shifted(a, b.checked_neg()), "timestamp", Timestamp),
        [Timestamp(a), Timestamp(b)] => {
            or_overflow(i64::try_from(a.as_nanosecond() - b.as_nanosecond()).ok(), "duration", Duration)
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn multiply<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Int(a), Int(b)] => or_overflow(a.checked_mul(*b), "integer", Int),
        [Uint(a), Uint(b)] => or_overflow(a.checked_mul(*b), "unsigned integer", Uint),
        [Double(a), Double(b)] => Ok(Double(a * b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn divide<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Int(_), Int(0)] | [Uint(_), Uint(0)] => fail("division by zero"),
        [Int(a), Int(b)] => or_overflow(a.checked_div(*b), "integer", Int),
        [Uint(a), Uint(b)] => Ok(Uint(a / b)),
        [Double(a), Double(b)] => Ok(Double(a / b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn remainder<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Int(_), Int(0)] | [Uint(_), Uint(0)] => fail("modulus by zero"),
        [Int(a), Int(b)] => or_overflow(a.checked_rem(*b), "integer", Int),
        [Uint(a), Uint(b)] => Ok(Uint(a % b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// A position in a list, of whatever type of number.
pub(super) fn position(value: &Value<'_>) -> Option<i64> {
    match Key::of(value)? {
        Key::Int(position) => Some(position),
        _ => None,
    }
}

/// What a key or a position shows as in messages.
pub(crate) fn shown(key: &Value<'_>) -> String {
    match key {
        Value::String(text) => text.to_string(),
        other => other.to_json().map_or_else(|| other.type_name().to_string(), |json| json.to_string()),
    }
}

pub(crate) fn index<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [Value::Optional(None), _] => Ok(Value::Optional(None)),
        [Value::Optional(Some(inner)), key] => match index(&[(**inner).clone(), key.clone()]) {
            Ok(value) => Ok(Value::some(value)),
            Err(EvalError::NoSuchOverload) => Err(EvalError::NoSuchOverload),
            Err(_) => Ok(Value::Optional(None)),
        },
        [List(items), key] => {
            let at = position(key).ok_or(EvalError::NoSuchOverload)?;
            let found = usize::try_from(at).ok().and_then(|at| items.get(at));
            found.ok_or_else(|| EvalError::new(format!("index out of bounds: {at}")))
        }
        [Map(Entries::Lazy(fields)), Value::String(name)] => {
            fields.get(name).unwrap_or_else(|| Err(EvalError::NoSuchKey(name.to_string())))
        }
        [Map(map), key] => map.get(key).ok_or_else(|| EvalError::NoSuchKey(shown(key))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn contained<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args {
        [value, List(items)] => Ok(Bool(items.iter().any(|item| item == *value))),
        [key, Map(map)] => Ok(Bool(map.get(key).is_some())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn owned<'a>(map: &Entries<'a>) -> Option<BTreeMap<Key<'a>, Value<'a>>> {
    map.keys().iter().map(|key| Some((Key::of(key)?, map.get(key)?))).collect()
}

fn insert<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let [Map(map), key, value] = args else { return Err(EvalError::NoSuchOverload) };
    let (Some(mut entries), Some(wanted)) = (owned(map), Key::of(key)) else { return Err(EvalError::NoSuchOverload) };
    if entries.insert(wanted, value.clone()).is_some() {
        return fail(format!("insert failed: key {} already exists", shown(key)));
    }
    Ok(Map(Entries::Owned(Rc::new(entries))))
}

fn insert_all<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let [Map(map), Map(more)] = args else { return Err(EvalError::NoSuchOverload) };
    let (Some(mut entries), Some(more)) = (owned(map), owned(more)) else { return Err(EvalError::NoSuchOverload) };
    for (key, value) in more {
        if entries.contains_key(&key) {
            return fail(format!("insert failed: key {} already exists", shown(&key.into())));
        }
        entries.insert(key, value);
    }
    Ok(Map(Entries::Owned(Rc::new(entries))))
}

/// Appends to a list that nothing else holds, instead of copying it.
pub(crate) fn append<'a>(list: &mut Value<'a>, more: &Value<'a>) -> bool {
    let (List(Items::Owned(items)), List(more)) = (list, more) else { return false };
    let Some(items) = Rc::get_mut(items) else { return false };
    items.extend(more.iter());
    true
}

/// Adds an entry to a map that nothing else holds, instead of copying it: false if it has to be copied.
pub(crate) fn insert_in_place<'a>(map: &mut Value<'a>, key: &Value<'a>, value: &Value<'a>) -> Result<bool> {
    let (Map(Entries::Owned(entries)), Some(wanted)) = (map, Key::of(key)) else { return Ok(false) };
    let Some(entries) = Rc::get_mut(entries) else { return Ok(false) };
    if entries.insert(wanted, value.clone()).is_some() {
        return fail(format!("insert failed: key {} already exists", shown(key)));
    }
    Ok(true)
}

/// A string that lives as long as the values do.
pub(super) fn text<'a>(text: &str) -> Value<'a> {
    Value::String(Text::Owned(text.into()))
}
