//! Values that may be absent.

use super::collections::optional_index;
use super::{Cost, Row, f, fail, row};
use crate::error::EvalError;
use crate::value::Value;
use crate::value::Value::{Bool, List, Map, Optional};

const ONE: Cost = Cost::Fixed(1);

pub(super) fn rows() -> Vec<Row> {
    let index: super::Run = f!([container, key] => optional_index(container, key));
    vec![
        row("optional.of(A)->optional<A>", ONE, f!([value] => Ok(Value::some(value.clone())))),
        row(
            "optional.ofNonZeroValue(A)->optional<A>",
            ONE,
            f!([value] => {
                Ok(if value.is_zero() { Optional(None) } else { Value::some(value.clone()) })
            }),
        ),
        row("optional.none()->optional<A>", ONE, f!([] => Ok(Optional(None)))),
        row(
            "optional<A>:value()->A",
            ONE,
            f!([Optional(inner)] => match inner {
                Some(value) => Ok((**value).clone()),
                None => fail("optional.none() dereference"),
            }),
        ),
        row("optional<A>:hasValue()->bool", ONE, f!([Optional(inner)] => Ok(Bool(inner.is_some())))),
        row(
            "optional<A>:or(optional<A>)->optional<A>",
            ONE,
            f!([Optional(inner), other] => {
                Ok(inner.as_ref().map_or_else(|| other.clone(), |value| Optional(Some(value.clone()))))
            }),
        ),
        row(
            "optional<A>:orValue(A)->A",
            ONE,
            f!([Optional(inner), other] => {
                Ok(inner.as_ref().map_or_else(|| other.clone(), |value| (**value).clone()))
            }),
        ),
        row(
            "_?._(dyn,string)->optional<A>",
            ONE,
            f!([container, Value::String(field)] => match container {
                Optional(None) => Ok(Optional(None)),
                Optional(Some(inner)) => select(inner, field),
                other => select(other, field),
            }),
        ),
        row("_[?_](list<A>,int)->optional<A>", ONE, index),
        row("_[?_](optional<list<A>>,int)->optional<A>", ONE, index),
        row("_[?_](map<A,B>,A)->optional<B>", ONE, index),
        row("_[?_](optional<map<A,B>>,A)->optional<B>", ONE, index),
        row("_[_](optional<list<A>>,int)->optional<A>", ONE, super::operators::index),
        row("_[_](optional<map<A,B>>,A)->optional<B>", ONE, super::operators::index),
        row(
            "list<A>:first()->optional<A>",
            ONE,
            f!([List(list)] => {
                Ok(list.get(0).map_or(Optional(None), Value::some))
            }),
        ),
        row(
            "list<A>:last()->optional<A>",
            ONE,
            f!([List(list)] => {
                Ok(list.len().checked_sub(1).and_then(|at| list.get(at)).map_or(Optional(None), Value::some))
            }),
        ),
        row("optional.unwrap(list<optional<A>>)->list<A>", ONE, unwrapped),
        row("list<optional<A>>:unwrapOpt()->list<A>", ONE, unwrapped),
    ]
}

fn unwrapped<'a>(args: &[Value<'a>]) -> crate::value::Result<Value<'a>> {
    let [List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let present = list.iter().filter_map(|item| match item {
        Optional(inner) => inner.map(|value| (*value).clone()),
        other => Some(other),
    });
    Ok(Value::list(present.collect()))
}

/// A field if it is there.
pub(crate) fn select<'a>(container: &Value<'a>, field: &str) -> crate::value::Result<Value<'a>> {
    match container {
        Optional(None) => Ok(Optional(None)),
        Optional(Some(inner)) => select(inner, field),
        Map(map) => match map.field(field) {
            None => Ok(Optional(None)),
            Some(value) => value.map(Value::some),
        },
        Value::Struct(object) => Ok(object.fields.get(field).cloned().map_or(Optional(None), Value::some)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
