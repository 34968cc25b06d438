//! PodNodeSelector: an annotation of the namespace keeps its Pods to nodes, and a file says which labels they may name.

use std::collections::BTreeMap;

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate::text::{label_value, qualified_name};
use serde_json::Value;

use super::{Attributes, Context, Operation};

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// The entry of the file for namespaces without the annotation.
const DEFAULT: &str = "clusterDefaultNodeSelector";

/// Selectors by namespace, with [`DEFAULT`].
pub type Selectors = BTreeMap<String, String>;

/// The labels of a selector such as `a=b,c=d`; the error is upstream's.
fn pairs(selector: &str) -> Result<BTreeMap<String, String>, Status> {
    let mut all = BTreeMap::new();
    if selector.is_empty() {
        return Ok(all);
    }
    let invalid = |place: &str, value: &str, complaints: &[String]| {
        Status::failed(format!("{place}: Invalid value: {value:?}: {}", complaints.join("; ")))
    };
    for term in selector.split(',') {
        let parts: Vec<&str> = term.split('=').collect();
        let [key, value] = parts[..] else {
            return Err(Status::failed(format!("invalid selector: [{}]", parts.join(" "))));
        };
        let (key, value) = (key.trim(), value.trim());
        let wrong = qualified_name(key);
        if !wrong.is_empty() {
            return Err(invalid("<nil>", key, &wrong));
        }
        let wrong = label_value(value);
        if !wrong.is_empty() {
            return Err(invalid(&format!("[{key}]"), value, &wrong));
        }
        all.insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// Puts the namespace's labels into a Pod's selector.
pub fn set(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    let Some(wanted) = of_namespace(context, attributes)? else { return Ok(()) };
    agree(&wanted, pod)?;
    for (key, value) in wanted {
        pod.set(&["spec", "nodeSelector", &key], value);
    }
    check(context, attributes, pod)
}

/// Refuses a selector that is not its namespace's.
pub fn check(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    let Some(wanted) = of_namespace(context, attributes)? else { return Ok(()) };
    agree(&wanted, pod)?;
    let told = context.configuration.node_selectors.get(&attributes.request.namespace);
    allowed(&pairs(told.map(String::as_str).unwrap_or_default())?, pod)
}

/// The labels that the write's namespace asks for; `None` where the write is none of a Pod.
fn of_namespace(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
) -> Result<Option<BTreeMap<String, String>>, Status> {
    if !attributes.is("pods") || attributes.operation != Operation::Create {
        return Ok(None);
    }
    let found = context.cache.find("", "namespaces", "", &attributes.request.namespace);
    let Some(namespace) = found.and_then(|entry| entry.object()) else { return Ok(None) };
    let own = namespace.get(&["metadata", "annotations", ANNOTATION]).and_then(Value::as_str);
    let default = context.configuration.node_selectors.get(DEFAULT).map(String::as_str);
    pairs(own.or(default).unwrap_or_default()).map(Some)
}

fn selector(pod: &Object) -> impl Iterator<Item = (&String, &str)> {
    let all = pod.get(&["spec", "nodeSelector"]).and_then(Value::as_object).into_iter().flatten();
    all.map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn agree(wanted: &BTreeMap<String, String>, pod: &Object) -> Result<(), Status> {
    let conflicts = |(key, own): (&String, &str)| wanted.get(key).is_some_and(|value| value != own);
    if selector(pod).any(conflicts) {
        return Err(refused(pod, "pod node label selector conflicts with its namespace node label selector"));
    }
    Ok(())
}

/// Whether the selector is within the labels that the file has for the namespace; without any, it is.
fn allowed(labels: &BTreeMap<String, String>, pod: &Object) -> Result<(), Status> {
    let foreign = |(key, own): (&String, &str)| labels.get(key).is_none_or(|value| value != own);
    if !labels.is_empty() && selector(pod).any(foreign) {
        return Err(refused(pod, "pod node label selector labels conflict with its namespace whitelist"));
    }
    Ok(())
}

/// Upstream names the Pod by its name alone, also while that is still to be generated.
fn refused(pod: &Object, why: &str) -> Status {
    let name = pod.name();
    let what = if name.is_empty() { "pods".to_owned() } else { format!("pods {name:?}") };
    Status::forbidden("", "pods", name, format!("{what} is forbidden: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_namespaces_selector_is_of_labels() {
        let read = |text: &str| pairs(text).map(|all| all.into_iter().collect::<Vec<_>>());
        let own =
            |all: &[(&str, &str)]| all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        assert_eq!(read("a=b, c = d").unwrap(), own(&[("a", "b"), ("c", "d")]));
        assert_eq!(read("").unwrap(), own(&[]));
        for (text, wanted) in [
            ("a in b", "invalid selector: [a in b]"),
            ("a=b=c", "invalid selector: [a b c]"),
            ("a=b,", "invalid selector: []"),
            ("=b", "<nil>: Invalid value: \"\": name part must be non-empty; name part must consist of"),
            ("a=b b", "[a]: Invalid value: \"b b\": a valid label must be an empty string or consist of"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.code == 500 && told.message.starts_with(wanted), "{told}");
        }
    }

    #[test]
    fn a_selector_is_its_namespaces() {
        let pod = |selector: Value, metadata: Value| {
            Object::from_value(json!({"metadata": metadata, "spec": {"nodeSelector": selector}})).unwrap()
        };
        let labels = pairs("a=b").unwrap();
        assert!(agree(&labels, &pod(json!({"c": "d"}), json!({"name": "p"}))).is_ok());
        let told = agree(&labels, &pod(json!({"a": "c"}), json!({"generateName": "p-"}))).unwrap_err();
        let text = "pods is forbidden: pod node label selector conflicts with its namespace node label selector";
        assert_eq!(told.message, text);
        assert!(allowed(&labels, &pod(json!({"a": "b"}), json!({"name": "p"}))).is_ok());
        let told = allowed(&labels, &pod(json!({"c": "d"}), json!({"name": "p"}))).unwrap_err();
        let text = "pods \"p\" is forbidden: pod node label selector labels conflict with its namespace whitelist";
        assert_eq!(told.message, text);
        assert!(allowed(&BTreeMap::new(), &pod(json!({"c": "d"}), json!({"name": "p"}))).is_ok());
    }
}
