//! What may become of a Pod that a node already has: NodeDeclaredFeatureValidator lets nothing be asked of the node that it does
//! not say it can do, and PodResizeValidator nothing that it has not got.

use kinit_api::object::Object;
use kinit_api::quantity::Quantity;
use kinit_api::quota;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Context, Operation};

const OS: &str = "kubernetes.io/os";

/// Whether a feature is needed to bring one spec to another.
type Needs = fn(&Value, &Value) -> bool;

/// The features that a change of a Pod needs its node to have declared.
const FEATURES: &[(&str, Needs)] = &[
    ("InPlacePodLevelResourcesVerticalScaling", |old, new| !alike(&old["resources"], &new["resources"])),
    ("InPlacePodVerticalScalingInitContainers", |old, new| {
        let [old, new] = [old, new].map(|spec| spec["initContainers"].as_array().map_or(&[][..], Vec::as_slice));
        let mut pairs = old.iter().zip(new).filter(|(old, _)| old["restartPolicy"] != "Always");
        pairs.any(|(old, new)| !alike(&old["resources"], &new["resources"]))
    }),
];

/// Whether two sets of resources are the same, of which one may be left out.
fn alike(old: &Value, new: &Value) -> bool {
    let parts = |value: &Value| ["requests", "limits"].map(|part| quota::amounts(&value[part]));
    parts(old) == parts(new)
}

/// The state of a bound Pod before a change of its spec, and its node; none where there is nothing to look at.
fn changed<'a>(
    context: &Context<'_>,
    attributes: &Attributes<'a>,
    pod: &Object,
) -> Result<Option<(&'a Object, Object)>, Status> {
    let Some(old) = attributes.old.filter(|_| attributes.operation == Operation::Update) else { return Ok(None) };
    let name = pod.str(&["spec", "nodeName"]);
    if name.is_empty() || old.get(&["spec"]) == pod.get(&["spec"]) {
        return Ok(None);
    }
    let node = context.cache.find("", "nodes", "", name).and_then(|entry| entry.object());
    match node {
        Some(node) => Ok(Some((old, node))),
        None => Err(attributes.forbidden(format!("node {name:?} not found"))),
    }
}

pub fn features(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    if !attributes.is("pods") && !attributes.is("pods/resize") {
        return Ok(());
    }
    // Most changes need nothing, so that is asked before the node is looked for.
    let (Some(old), true) = (attributes.old, attributes.operation == Operation::Update) else { return Ok(()) };
    let [before, after] = [old, pod].map(|pod| pod.get(&["spec"]).unwrap_or(&Value::Null));
    let needed: Vec<&str> = FEATURES.iter().filter(|(_, needs)| needs(before, after)).map(|(name, _)| *name).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let Some((_, node)) = changed(context, attributes, pod)? else { return Ok(()) };
    let declared = node.get(&["status", "declaredFeatures"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let lacking: Vec<&str> = needed.into_iter().filter(|name| !declared.iter().any(|own| own == name)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(attributes.forbidden(format!(
        "pod update requires features {} which are not available on node {:?}",
        lacking.join(", "),
        node.name()
    )))
}

pub fn resize(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    if !attributes.is("pods/resize") {
        return Ok(());
    }
    let Some((_, node)) = changed(context, attributes, pod)? else { return Ok(()) };
    match fits(pod, &node) {
        Ok(()) => Ok(()),
        Err((reason, why)) => {
            let mut status = attributes.forbidden(why);
            if let Some(details) = &mut status.details {
                details["causes"] = json!([{ "reason": reason }]);
            }
            Err(status)
        }
    }
}

/// Whether a node has what a Pod asks of it.
fn fits(pod: &Object, node: &Object) -> Result<(), (&'static str, String)> {
    let os = node.str(&["metadata", "labels", OS]);
    if !matches!(os, "" | "linux") {
        let why = format!("pod resize is only supported on linux nodes, node {:?} is {os:?}", node.name());
        return Err(("UnsupportedPlatform", why));
    }
    let spec = pod.get(&["spec"]).unwrap_or(&Value::Null);
    let asked = quota::of_containers(spec, "requests");
    let has = quota::amounts(node.get(&["status", "allocatable"]).unwrap_or(&Value::Null));
    let amount = |of: &quota::Amounts, name: &str| of.get(name).copied().unwrap_or(Quantity::ZERO);
    let mut missing = Vec::new();
    for (name, count) in [("cpu", Quantity::milli_value as fn(Quantity) -> i64), ("memory", Quantity::value)] {
        let (asked, has) = (amount(&asked, name), amount(&has, name));
        if asked > has {
            missing.push(format!("{name}, requested: {}, allocatable: {}", count(asked), count(has)));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(("NodeCapacity", format!("node didn't have enough allocatable resources: {}", missing.join("; "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn features_are_needed_for_what_changes() {
        let spec = |pod: Value, plain: Value, sidecar: Value| {
            json!({"resources": pod, "initContainers": [{"name": "a", "resources": plain},
                {"name": "b", "restartPolicy": "Always", "resources": sidecar}]})
        };
        let one = || json!({"requests": {"cpu": "1"}});
        let two = || json!({"requests": {"cpu": "2"}});
        let before = spec(one(), one(), one());
        for (after, wanted) in [
            (spec(json!({"requests": {"cpu": "1000m"}, "limits": {}}), one(), one()), vec![]),
            (spec(two(), one(), one()), vec!["InPlacePodLevelResourcesVerticalScaling"]),
            (spec(one(), two(), one()), vec!["InPlacePodVerticalScalingInitContainers"]),
            (spec(one(), one(), two()), vec![]),
        ] {
            let needed: Vec<&str> =
                FEATURES.iter().filter(|(_, needs)| needs(&before, &after)).map(|(name, _)| *name).collect();
            assert_eq!(needed, wanted);
        }
    }

    #[test]
    fn a_node_is_asked_for_no_more_than_it_has() {
        let node = |os: &str| {
            object(json!({"metadata": {"name": "n", "labels": {OS: os}},
                "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}}))
        };
        let pod = |cpu: &str, memory: &str| {
            object(json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": memory}}}]}}))
        };
        assert_eq!(fits(&pod("2", "1Gi"), &node("linux")), Ok(()));
        let why = "node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000; memory, \
                   requested: 1073741825, allocatable: 1073741824";
        assert_eq!(fits(&pod("2.5", "1073741825"), &node("linux")), Err(("NodeCapacity", why.to_owned())));
        let why = "pod resize is only supported on linux nodes, node \"n\" is \"windows\"";
        assert_eq!(fits(&pod("1", "1"), &node("windows")), Err(("UnsupportedPlatform", why.to_owned())));
    }
}
