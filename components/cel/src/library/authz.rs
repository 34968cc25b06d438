//! Questions about permissions: `authorizer.group('').resource('pods').check('get').allowed()`.

use std::rc::Rc;

use super::operators::text;
use super::{Cost, Row, f, row};
use crate::authorizer::Stage;
use crate::error::EvalError;
use crate::value::Opaque as Kind;
use crate::value::Value::{Bool, Opaque, String as Str};

const ONE: Cost = Cost::Fixed(1);
/// So much that an expression can ask twice.
const CHECK: Cost = Cost::Fixed(350_000);
const SELECTOR: Cost = Cost::Scan { sized: false };

macro_rules! step {
    ($rows:ident, $signature:literal, $cost:expr, $from:pat, $to:expr, $set:expr) => {
        $rows.push(row($signature, $cost, f!([Opaque(Kind::Authz(authz)), Str(value)] => {
            if !matches!(authz.stage, $from) {
                return Err(EvalError::NoSuchOverload);
            }
            let set: fn(&mut crate::authorizer::Question, String) = $set;
            Ok(Opaque(Kind::Authz(authz.with($to, |question| set(question, value.to_string())))))
        })));
    };
}

pub(super) fn rows() -> Vec<Row> {
    use Stage::{Authorizer, Group, Path, Resource};
    let check: super::Run = f!([Opaque(Kind::Authz(authz)), Str(verb)] => {
        let asked = authz.with(authz.stage, |question| question.verb = verb.to_string());
        Ok(Opaque(Kind::Decision(Rc::new(asked.authorizer.check(&asked.question)))))
    });
    let mut rows = vec![
        row(
            "authorizer:serviceAccount(string,string)->authorizer",
            ONE,
            f!([
                Opaque(Kind::Authz(authz)),
                Str(namespace),
                Str(name),
            ] => {
                let account = (namespace.to_string(), name.to_string());
                Ok(Opaque(Kind::Authz(authz.with(Authorizer, |question| question.service_account = Some(account)))))
            }),
        ),
        row("path:check(string)->decision", CHECK, check),
        row("resource:check(string)->decision", CHECK, check),
        row("decision:errored()->bool", ONE, f!([Opaque(Kind::Decision(d))] => Ok(Bool(d.error.is_some())))),
        row(
            "decision:error()->string",
            ONE,
            f!([Opaque(Kind::Decision(d))] => {
                Ok(text(d.error.as_deref().unwrap_or_default()))
            }),
        ),
        row("decision:allowed()->bool", ONE, f!([Opaque(Kind::Decision(d))] => Ok(Bool(d.allowed)))),
        row("decision:reason()->string", ONE, f!([Opaque(Kind::Decision(d))] => Ok(text(&d.reason)))),
    ];
    step!(rows, "authorizer:path(string)->path", ONE, Authorizer, Path, |q, v| q.path = Some(v));
    step!(rows, "authorizer:group(string)->group", ONE, Authorizer, Group, |q, v| q.group = v);
    step!(rows, "group:resource(string)->resource", ONE, Group, Resource, |q, v| q.resource = v);
    step!(rows, "resource:subresource(string)->resource", ONE, Resource, Resource, |q, v| q.subresource = v);
    step!(rows, "resource:namespace(string)->resource", ONE, Resource, Resource, |q, v| q.namespace = v);
    step!(rows, "resource:name(string)->resource", ONE, Resource, Resource, |q, v| q.name = v);
    step!(rows, "resource:fieldSelector(string)->resource", SELECTOR, Resource, Resource, |q, v| q.field_selector =
        Some(v));
    step!(rows, "resource:labelSelector(string)->resource", SELECTOR, Resource, Resource, |q, v| q.label_selector =
        Some(v));
    rows
}
