//! Lists, maps and sets.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::Cost::{Fixed, Traverse};
use super::operators::{position, shown};
use super::{Cost, Row, f, fail, row};
use crate::error::EvalError;
use crate::value::Value::{Bool, Double, Duration, Int, List, Map, Uint};
use crate::value::equal::compare;
use crate::value::{Key, List as Items, Result, Value};

const ONE: Cost = Fixed(1);

macro_rules! of_each {
    ($rows:ident, $name:literal, $run:expr, $($kind:literal),+) => {
        $($rows.push(row(concat!("list<", $kind, ">:", $name, "()->", $kind), Traverse, $run));)+
    };
}

macro_rules! of_ordered {
    ($rows:ident, $text:literal, $($kind:literal),+) => {$(
        $rows.push(row(concat!("list<", $kind, ">:isSorted()->bool"), Traverse, f!([List(list)] => sorted(list))));
        $rows.push(row(concat!("list<", $kind, ">:sort()->list<", $kind, ">"), Cost::CompareAll { text: $text, keys: false }, f!([List(list)] => sort(list))));
        $rows.push(row(
            concat!("list<A>:@sortByAssociatedKeys(list<", $kind, ">)->list<A>"),
            Cost::CompareAll { text: $text, keys: true },
            f!([List(list), List(keys)] => sort_by(list, keys)),
        ));
    )+};
}

pub(super) fn rows() -> Vec<Row> {
    let size: super::Run = f!([value] => Ok(Int(i64::try_from(value.size()).unwrap_or(i64::MAX))));
    let mut rows = vec![
        row("size(string)->int", ONE, size),
        row("size(bytes)->int", ONE, size),
        row("size(list<A>)->int", ONE, size),
        row("size(map<A,B>)->int", ONE, size),
        row("string:size()->int", ONE, size),
        row("bytes:size()->int", ONE, size),
        row("list<A>:size()->int", ONE, size),
        row("map<A,B>:size()->int", ONE, size),
        row(
            "list<A>:indexOf(A)->int",
            Traverse,
            f!([List(list), wanted] => {
                Ok(place(list.iter().position(|item| item == *wanted)))
            }),
        ),
        row(
            "list<A>:lastIndexOf(A)->int",
            Traverse,
            f!([List(list), wanted] => {
                let found = (0..list.len()).rev().find(|at| list.get(*at).is_some_and(|item| item == *wanted));
                Ok(place(found))
            }),
        ),
        row(
            "list<A>:slice(int,int)->list<A>",
            Cost::Slice,
            f!([List(list), Int(start), Int(end)] => slice(list, *start, *end)),
        ),
        row("list<list<A>>:flatten()->list<A>", Cost::Flatten, f!([List(list)] => flatten(list, 1))),
        row("list<dyn>:flatten(int)->list<dyn>", Cost::Flatten, f!([List(list), Int(depth)] => flatten(list, *depth))),
        row("lists.range(int)->list<int>", Cost::Count, f!([Int(end)] => range(*end))),
        row(
            "list<A>:reverse()->list<A>",
            Cost::Reverse,
            f!([List(list)] => {
                Ok(Value::list((0..list.len()).rev().filter_map(|at| list.get(at)).collect()))
            }),
        ),
        row(
            "list<A>:distinct()->list<A>",
            Cost::CompareAll { text: false, keys: false },
            f!([List(list)] => Ok(Value::list(distinct(list)))),
        ),
        row(
            "sets.contains(list<A>,list<A>)->bool",
            Cost::CompareBoth { times: 1 },
            f!([List(a), List(b)] => Ok(Bool(includes(a, b)))),
        ),
        row(
            "sets.equivalent(list<A>,list<A>)->bool",
            Cost::CompareBoth { times: 2 },
            f!([List(a), List(b)] => {
                Ok(Bool(includes(a, b) && includes(b, a)))
            }),
        ),
        row(
            "sets.intersects(list<A>,list<A>)->bool",
            Cost::CompareBoth { times: 1 },
            f!([List(a), List(b)] => {
                Ok(Bool(a.iter().any(|item| b.iter().any(|other| other == item))))
            }),
        ),
    ];
    of_ordered!(rows, false, "int", "uint", "double", "bool", "duration", "timestamp");
    of_ordered!(rows, true, "string", "bytes");
    of_each!(rows, "sum", f!([List(list)] => sum(list)), "int", "uint", "double", "duration");
    of_each!(
        rows,
        "max",
        f!([List(list)] => best(list, Ordering::Greater, "max")),
        "int",
        "uint",
        "double",
        "bool",
        "duration",
        "timestamp",
        "string",
        "bytes"
    );
    of_each!(
        rows,
        "min",
        f!([List(list)] => best(list, Ordering::Less, "min")),
        "int",
        "uint",
        "double",
        "bool",
        "duration",
        "timestamp",
        "string",
        "bytes"
    );
    rows
}

pub(super) fn place<'a>(found: Option<usize>) -> Value<'a> {
    Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn sorted<'a>(list: &Items<'a>) -> Result<Value<'a>> {
    let mut last: Option<Value<'a>> = None;
    for item in list.iter() {
        if let Some(last) = &last {
            match compare(last, &item) {
                Some(Ordering::Greater) => return Ok(Bool(false)),
                Some(_) => {}
                None => return Err(EvalError::NoSuchOverload),
            }
        }
        last = Some(item);
    }
    Ok(Bool(true))
}

fn sum<'a>(list: &Items<'a>) -> Result<Value<'a>> {
    let mut total: Option<Value<'a>> = None;
    let added = |kind: &str, sum: Option<Value<'a>>| sum.ok_or_else(|| EvalError::new(format!("{kind} overflow")));
    for item in list.iter() {
        total = Some(match (total, item) {
            (None, item) => item,
            (Some(Int(a)), Int(b)) => added("integer", a.checked_add(b).map(Int))?,
            (Some(Uint(a)), Uint(b)) => added("unsigned integer", a.checked_add(b).map(Uint))?,
            (Some(Double(a)), Double(b)) => Double(a + b),
            (Some(Duration(a)), Duration(b)) => added("duration", a.checked_add(b).map(Duration))?,
            _ => return Err(EvalError::NoSuchOverload),
        });
    }
    Ok(total.unwrap_or(Int(0)))
}

fn best<'a>(list: &Items<'a>, wanted: Ordering, name: &str) -> Result<Value<'a>> {
    let mut found: Option<Value<'a>> = None;
    for item in list.iter() {
        let better = match &found {
            None => true,
            Some(best) => compare(&item, best).ok_or(EvalError::NoSuchOverload)? == wanted,
        };
        if better {
            found = Some(item);
        }
    }
    found.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn slice<'a>(list: &Items<'a>, start: i64, end: i64) -> Result<Value<'a>> {
    if start < 0 || end < 0 {
        return fail(format!("cannot slice({start}, {end}), negative indexes not supported"));
    }
    if start > end {
        return fail(format!("cannot slice({start}, {end}), start index must be less than or equal to end index"));
    }
    let length = list.len();
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if end <= length => Ok(Value::list((start..end).filter_map(|at| list.get(at)).collect())),
        _ => fail(format!("cannot slice({start}, {end}), list is length {length}")),
    }
}

fn flatten<'a>(list: &Items<'a>, depth: i64) -> Result<Value<'a>> {
    if depth < 0 {
        return fail("level must be non-negative");
    }
    let mut items: Vec<Value<'a>> = list.iter().collect();
    // Lists are not deeper than expressions and objects are, so a great depth ends when nothing is left to open.
    for _ in 0..depth {
        if !items.iter().any(|item| matches!(item, List(_))) {
            break;
        }
        let mut opened = Vec::with_capacity(items.len());
        for item in items {
            match item {
                List(inner) => opened.extend(inner.iter()),
                other => opened.push(other),
            }
        }
        items = opened;
    }
    Ok(Value::list(items))
}

fn range<'a>(end: i64) -> Result<Value<'a>> {
    // What a list costs is counted when it is looked at, so its length is bounded here.
    const MOST: i64 = 1_000_000;
    if end > MOST {
        return Err(EvalError::CostLimit);
    }
    Ok(Value::list((0..end).map(Int).collect()))
}

fn distinct<'a>(list: &Items<'a>) -> Vec<Value<'a>> {
    let mut keys = BTreeSet::new();
    let mut found: Vec<Value<'a>> = Vec::new();
    for item in list.iter() {
        let new = match Key::of(&item) {
            Some(key) => keys.insert(key),
            None => !found.contains(&item),
        };
        if new {
            found.push(item);
        }
    }
    found
}

fn includes<'a>(a: &Items<'a>, b: &Items<'a>) -> bool {
    b.iter().all(|wanted| a.iter().any(|item| item == wanted))
}

fn sort<'a>(list: &Items<'a>) -> Result<Value<'a>> {
    sort_by(list, list)
}

fn sort_by<'a>(list: &Items<'a>, keys: &Items<'a>) -> Result<Value<'a>> {
    if list.len() != keys.len() {
        return fail(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively.",
            list.len(),
            keys.len()
        ));
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.iter().zip(list.iter()).collect();
    if let Some((first, _)) = pairs.first()
        && pairs.iter().any(|(key, _)| key.type_name() != first.type_name())
    {
        return fail("list elements must have the same type");
    }
    if pairs.iter().any(|(key, _)| compare(key, key).is_none() && !matches!(key, Double(_))) {
        return fail("list elements must be comparable");
    }
    pairs.sort_by(|(a, _), (b, _)| compare(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

/// An item of a list if the position is in it, and an entry of a map if it has the key.
pub(super) fn optional_index<'a>(container: &Value<'a>, key: &Value<'a>) -> Result<Value<'a>> {
    let found = match container {
        Value::Optional(None) => None,
        Value::Optional(Some(inner)) => return optional_index(inner, key),
        List(items) => {
            let at = position(key).ok_or(EvalError::NoSuchOverload)?;
            usize::try_from(at).ok().and_then(|at| items.get(at))
        }
        Map(map) => map.get(key),
        _ => return fail(format!("no such overload: _[?_]({}, {})", container.type_name(), shown(key))),
    };
    Ok(found.map_or(Value::Optional(None), Value::some))
}
