//! What Pods get besides their kind's defaults: a priority, and how long they stay on a lost node.

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Context, Operation};

/// Sets the priority that the Pod's class stands for.
pub fn priority(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if attributes.is("pods") && attributes.operation == Operation::Update {
        keep_priority(attributes.old, pod);
        return Ok(());
    }
    if !attributes.is("pods") || attributes.operation != Operation::Create {
        return Ok(());
    }
    let name = pod.str(&["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() {
        default_class(context)
    } else {
        let found = context.cache.find("scheduling.k8s.io", "priorityclasses", "", &name);
        let Some(class) = found.and_then(|entry| entry.object()) else {
            return Err(attributes.forbidden(format!("no PriorityClass with name {name} was found")));
        };
        Some(class)
    };
    let value = class.as_ref().and_then(|class| class.get(&["value"]).and_then(Value::as_i64)).unwrap_or(0);
    let policy = class.as_ref().map(|class| class.str(&["preemptionPolicy"])).filter(|policy| !policy.is_empty());
    let policy = policy.unwrap_or("PreemptLowerPriority").to_owned();
    let asked = pod.get(&["spec", "priority"]).and_then(Value::as_i64);
    if let Some(asked) = asked.filter(|asked| *asked != value) {
        return Err(attributes.forbidden(format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        )));
    }
    let own = pod.str(&["spec", "preemptionPolicy"]);
    if !own.is_empty() && own != policy {
        return Err(attributes.forbidden(format!(
            "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        )));
    }
    if let (true, Some(class)) = (name.is_empty(), &class) {
        pod.set(&["spec", "priorityClassName"], class.name().to_owned());
    }
    pod.set(&["spec", "priority"], value);
    pod.set(&["spec", "preemptionPolicy"], policy);
    Ok(())
}

/// A Pod keeps the priority that it was given where its writer does not know of it.
fn keep_priority(old: Option<&Object>, pod: &mut Object) {
    for field in ["priority", "preemptionPolicy"] {
        let kept = old.and_then(|old| old.get(&["spec", field])).filter(|_| pod.get(&["spec", field]).is_none());
        if let Some(kept) = kept.cloned() {
            pod.set(&["spec", field], kept);
        }
    }
}

/// The class of Pods that name none: of several, the one of the lowest value.
fn default_class(context: &Context<'_>) -> Option<Object> {
    let classes = context.cache.all("scheduling.k8s.io", "priorityclasses");
    let objects = classes.values().filter_map(|entry| entry.object());
    objects
        .filter(|class| class.get(&["globalDefault"]) == Some(&Value::Bool(true)))
        .min_by_key(|class| class.get(&["value"]).and_then(Value::as_i64))
}

/// At most one class is the default one.
pub fn one_default(context: &Context<'_>, attributes: &Attributes<'_>, class: &Object) -> Result<(), Status> {
    let concerns = attributes.of("scheduling.k8s.io", "priorityclasses") && attributes.operation != Operation::Delete;
    if !concerns || class.get(&["globalDefault"]) != Some(&Value::Bool(true)) {
        return Ok(());
    }
    match default_class(context).filter(|other| other.name() != class.name()) {
        Some(other) => Err(attributes.forbidden(format!(
            "PriorityClass {} is already marked as default. Only one default can exist",
            other.name()
        ))),
        None => Ok(()),
    }
}

/// Pods stay on a node that is not ready or not reachable for a while, unless they say how long themselves.
pub fn tolerations(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !attributes.is("pods") || attributes.operation == Operation::Delete {
        return Ok(());
    }
    let options = &context.options.admission;
    let mut list = pod.get(&["spec", "tolerations"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = list.len();
    for (key, seconds) in [
        ("node.kubernetes.io/not-ready", options.default_not_ready_toleration_seconds),
        ("node.kubernetes.io/unreachable", options.default_unreachable_toleration_seconds),
    ] {
        let tolerated = list.iter().any(|own| {
            let (own_key, effect) =
                (own["key"].as_str().unwrap_or_default(), own["effect"].as_str().unwrap_or_default());
            (own_key == key || own_key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}));
        }
    }
    if list.len() != before {
        pod.set(&["spec", "tolerations"], list);
    }
    Ok(())
}

/// PodTopologyLabels: a Pod is told the zone and the region of the node that it is given.
pub fn topology(context: &Context<'_>, attributes: &Attributes<'_>, object: &mut Object) -> Result<(), Status> {
    const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];
    if attributes.operation != Operation::Create {
        return Ok(());
    }
    let node = if attributes.is("pods") {
        object.str(&["spec", "nodeName"])
    } else if attributes.is("pods/binding") && object.str(&["target", "kind"]) == "Node" {
        object.str(&["target", "name"])
    } else {
        ""
    };
    let Some(entry) = context.cache.find("", "nodes", "", node) else { return Ok(()) };
    for label in LABELS {
        if let Some(value) = entry.labels().get(label) {
            object.set(&["metadata", "labels", label], value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_the_priority_that_it_does_not_know_of() {
        let object = |spec: Value| Object::from_value(json!({"spec": spec})).unwrap();
        let old = object(json!({"priority": 7, "preemptionPolicy": "Never"}));
        for (sent, expected) in [
            (json!({}), json!({"priority": 7, "preemptionPolicy": "Never"})),
            (json!({"priority": 8}), json!({"priority": 8, "preemptionPolicy": "Never"})),
        ] {
            let mut pod = object(sent);
            keep_priority(Some(&old), &mut pod);
            assert_eq!(pod.get(&["spec"]), Some(&expected), "what differs is left for validation");
        }
    }
}
