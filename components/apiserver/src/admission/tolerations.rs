//! How tolerations are put together, and PodTolerationRestriction: which of them the Pods of a namespace get and may have.

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::strict;
use serde_json::{Value, json};

use super::{Attributes, Context, Operation};
use crate::strategy::pods::qos_class;

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// What the plugin is told: tolerations for namespaces whose annotations say nothing of them.
#[derive(Debug, Default)]
pub struct Tolerations {
    pub default: Vec<Value>,
    pub allowed: Vec<Value>,
}

/// The fields of a toleration; what it does not say is empty.
#[derive(PartialEq)]
struct Fields<'a> {
    key: &'a str,
    operator: &'a str,
    value: &'a str,
    effect: &'a str,
    seconds: Option<i64>,
}

impl<'a> Fields<'a> {
    fn of(toleration: &'a Value) -> Self {
        let text = |field: &str| toleration[field].as_str().unwrap_or_default();
        let seconds = toleration["tolerationSeconds"].as_i64();
        Self { key: text("key"), operator: text("operator"), value: text("value"), effect: text("effect"), seconds }
    }

    /// Whether all that `other` tolerates is tolerated.
    fn covers(&self, other: &Self) -> bool {
        let all_keys = self.key.is_empty() && self.operator == "Exists";
        let longer = match (self.seconds, other.seconds) {
            (Some(most), Some(asked)) => asked <= most,
            (Some(_), None) => false,
            (None, _) => true,
        };
        self == other
            || (self.key == other.key || all_keys)
                && (self.effect == other.effect || self.effect.is_empty())
                && (self.effect != "NoExecute" || longer)
                && match self.operator {
                    "Equal" | "" => other.operator == "Equal" && self.value == other.value,
                    operator => operator == "Exists",
                }
    }
}

/// Both lists as one, without those that another of them covers; of equal ones the first stays.
pub fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let own = Fields::of(one);
        let before = merged.iter().any(|kept| Fields::of(kept).covers(&own));
        let after =
            all[index + 1..].iter().map(|later| Fields::of(later)).any(|later| later != own && later.covers(&own));
        if !before && !after {
            merged.push((*one).clone());
        }
    }
    merged
}

fn list(pod: &Object) -> Vec<Value> {
    pod.get(&["spec", "tolerations"]).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// What an annotation of a namespace lists: nothing where it is empty, `None` where there is no such annotation. The error is
/// what is wrong with it.
fn annotated(namespace: &Object, annotation: &str) -> Result<Option<Vec<Value>>, Status> {
    let Some(text) = namespace.get(&["metadata", "annotations", annotation]).and_then(Value::as_str) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let told = |error| Status::failed(strict::go_syntax(text.as_bytes(), &error));
    match serde_json::from_str(text).map_err(told)? {
        Value::Array(items) => typed(items).map(Some),
        Value::Null => Ok(Some(Vec::new())),
        other => {
            let kind = strict::go_kind(&other);
            Err(Status::failed(format!("json: cannot unmarshal {kind} into Go value of type []v1.Toleration")))
        }
    }
}

/// The tolerations by their fields' types, without what they have no field for.
fn typed(items: Vec<Value>) -> Result<Vec<Value>, Status> {
    const WITHIN: &str = "spec.tolerations.";
    let schema = kinit_schema::kind("", "v1", "Pod").expect("Pods have a type");
    let mut pod = Object::from_value(json!({"spec": {"tolerations": items}})).expect("an object");
    let told = |error: strict::TypeError| Status::failed(error.to_string().replacen(WITHIN, "", 1));
    strict::conform(pod.map_mut(), schema).map_err(told)?;
    Ok(list(&pod))
}

fn namespace_of(context: &Context<'_>, attributes: &Attributes<'_>) -> Option<Object> {
    context.cache.find("", "namespaces", "", &attributes.request.namespace).and_then(|entry| entry.object())
}

fn concerns(attributes: &Attributes<'_>) -> bool {
    attributes.is("pods") && matches!(attributes.operation, Operation::Create | Operation::Update)
}

/// Gives a Pod its namespace's tolerations, and one of full memory to those that asked for some of it.
pub fn give(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !concerns(attributes) {
        return Ok(());
    }
    let mut extra = Vec::new();
    if attributes.operation == Operation::Create
        && let Some(namespace) = namespace_of(context, attributes)
    {
        let own = annotated(&namespace, DEFAULTS)?;
        extra = own.unwrap_or_else(|| context.configuration.tolerations.default.clone());
    }
    if qos_class(pod) != "BestEffort" {
        extra.push(json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}));
    }
    if !extra.is_empty() {
        pod.set(&["spec", "tolerations"], merge(&list(pod), &extra));
    }
    check(context, attributes, pod)
}

/// Refuses tolerations that a Pod may not have.
pub fn check(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    let own = if concerns(attributes) { list(pod) } else { Vec::new() };
    let Some(namespace) = namespace_of(context, attributes).filter(|_| !own.is_empty()) else { return Ok(()) };
    let (allowed, scope) = match annotated(&namespace, ALLOWED)? {
        Some(allowed) => (allowed, "namespace"),
        None => (context.configuration.tolerations.allowed.clone(), "cluster"),
    };
    if within(&own, &allowed) {
        return Ok(());
    }
    Err(Status::failed(format!(
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
    )))
}

/// Whether each is covered by one that is allowed; without any, all are.
fn within(own: &[Value], allowed: &[Value]) -> bool {
    let covered = |one: &Value| allowed.iter().any(|wide| Fields::of(wide).covers(&Fields::of(one)));
    allowed.is_empty() || own.iter().all(covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wider_toleration_stays() {
        let any = json!({"operator": "Exists"});
        let key = json!({"key": "k", "operator": "Exists"});
        let narrow = json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"});
        let short = json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "k", "operator": "Exists", "effect": "NoExecute"});
        let equal = json!({"key": "k", "operator": "Equal", "value": "v"});
        let untold = json!({"key": "k", "value": "v"});
        for (first, second, wanted) in [
            (vec![&key], vec![&narrow], vec![&key]),
            (vec![&narrow], vec![&key], vec![&key]),
            (vec![&narrow, &short], vec![&any], vec![&any]),
            (vec![&short], vec![&long], vec![&long]),
            (vec![&narrow], vec![&short], vec![&narrow, &short]),
            (vec![&equal], vec![&equal], vec![&equal]),
            (vec![&untold], vec![&equal], vec![&untold]),
            (vec![&untold], vec![&narrow], vec![&untold, &narrow]),
        ] {
            let owned = |list: &[&Value]| list.iter().map(|one| (*one).clone()).collect::<Vec<_>>();
            let merged = merge(&owned(&first), &owned(&second));
            assert_eq!(merged, owned(&wanted), "{first:?} {second:?}");
        }
    }

    #[test]
    fn tolerations_are_among_those_that_are_allowed() {
        let wide = [json!({"key": "k", "operator": "Exists"})];
        assert!(within(&[json!({"key": "k", "operator": "Equal", "value": "v"})], &wide));
        assert!(!within(&[json!({"key": "j", "operator": "Exists"})], &wide));
        assert!(within(&[json!({"key": "j"})], &[]), "nothing is said");
    }

    #[test]
    fn an_annotation_lists_tolerations() {
        let namespace = |text: Value| {
            Object::from_value(json!({"metadata": {"name": "n", "annotations": {DEFAULTS: text}}})).unwrap()
        };
        let read = |text: &str| annotated(&namespace(text.into()), DEFAULTS);
        assert_eq!(read(r#"[{"key":"a"}]"#).unwrap(), Some(vec![json!({"key": "a"})]));
        assert_eq!(read(r#"[{"key":"a","foo":"b"}]"#).unwrap(), Some(vec![json!({"key": "a"})]));
        assert_eq!(read("").unwrap(), Some(Vec::new()));
        assert_eq!(annotated(&namespace(Value::Null), DEFAULTS).unwrap(), None);
        for (text, wanted) in [
            ("x", "invalid character 'x' looking for beginning of value"),
            (r#"[{"key":1}]"#, "json: cannot unmarshal number into Go struct field Toleration.key of type string"),
            ("{}", "json: cannot unmarshal object into Go value of type []v1.Toleration"),
        ] {
            assert_eq!(read(text).unwrap_err().message, wanted);
        }
    }
}
