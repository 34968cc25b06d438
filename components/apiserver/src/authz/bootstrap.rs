//! The roles and bindings which every cluster has from its first minute.
//!
//! They are data: the files in `bootstrap/`, each of which says at its top how it is read. [`objects`] makes API objects
//! of them, with the labels and the `autoupdate` annotation by which clients know them as defaults. [`reconciled`] tells
//! what an object in the store lacks of its default, for the start of a server over an older store.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rbac::{Rule, rules_of, uncovered};

const FILES: [&str; 4] = [
    include_str!("bootstrap/roles.policy"),
    include_str!("bootstrap/bindings.policy"),
    include_str!("bootstrap/controllers.policy"),
    include_str!("bootstrap/namespaces.policy"),
];

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// All default objects, roles with their gathered rules already in place.
pub fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    for line in FILES.iter().flat_map(|file| file.lines()).filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            objects.push(head(&words));
            continue;
        }
        let object = objects.last_mut().expect("a file begins with a head");
        let (field, item) = if object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")) {
            ("subjects", subject(&words))
        } else {
            ("rules", rule(&words))
        };
        object[field].as_array_mut().expect("every head has a list of this name").push(item);
    }
    gather(&mut objects);
    objects
}

/// What `stored` becomes so that it gives at least what `default` does; `None` when it already does, or when its owner
/// has turned `autoupdate` off. Rules, subjects, labels and annotations that were added by others stay.
///
/// A binding of another role is not mended here: its `roleRef` cannot change, so it has to be deleted and made again.
pub fn reconciled(stored: &Value, default: &Value) -> Option<Value> {
    if stored["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut mended = stored.clone();
    for field in ["labels", "annotations"] {
        if !mended["metadata"][field].is_object() {
            mended["metadata"][field] = json!({});
        }
        for (name, value) in default["metadata"][field].as_object().into_iter().flatten() {
            mended["metadata"][field][name] = value.clone();
        }
    }
    if let Some(selector) = default.get("aggregationRule") {
        // The controller which gathers the rules keeps them.
        mended["aggregationRule"] = selector.clone();
    } else if default.get("roleRef").is_some() {
        let subjects = default["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let missing: Vec<Value> =
            subjects.iter().filter(|subject| !names(&stored["subjects"], subject)).cloned().collect();
        append(&mut mended["subjects"], missing);
    } else {
        let missing = uncovered(&rules_of(stored), &rules_of(default));
        append(&mut mended["rules"], missing.iter().map(Rule::to_json).collect());
    }
    (mended != *stored).then_some(mended)
}

fn names(subjects: &Value, wanted: &Value) -> bool {
    let same = |own: &Value| ["kind", "name", "namespace"].iter().all(|field| own[*field] == wanted[*field]);
    subjects.as_array().is_some_and(|subjects| subjects.iter().any(same))
}

fn append(list: &mut Value, mut items: Vec<Value>) {
    match list.as_array_mut() {
        Some(list) => list.append(&mut items),
        None if items.is_empty() => {}
        None => *list = Value::Array(items),
    }
}

fn head(words: &[&str]) -> Value {
    let (kind, place) = (words[0], words[1]);
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let mut object = json!({
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {AUTOUPDATE: "true"},
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    if let Some(role_kind) = kind.strip_suffix("Binding") {
        object["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": words[2]});
        object["subjects"] = json!([]);
        return object;
    }
    object["rules"] = json!([]);
    for word in &words[2..] {
        if let Some(role) = word.strip_prefix("into=") {
            object["metadata"]["labels"][format!("{AGGREGATE}{role}")] = json!("true");
        } else if let Some(role) = word.strip_prefix("from=") {
            let labels = BTreeMap::from([(format!("{AGGREGATE}{role}"), "true")]);
            object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        }
    }
    object
}

fn rule(words: &[&str]) -> Value {
    let list = |word: &str| word.split(',').map(|item| if item == "-" { "" } else { item }.to_owned()).collect();
    let rule = match *words {
        [verbs, "url", urls] => Rule { verbs: list(verbs), urls: list(urls), ..Rule::default() },
        [verbs, groups, resources, ref names @ ..] => Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: names.iter().flat_map(|names| list(names)).collect::<Vec<String>>(),
            urls: Vec::new(),
        },
        _ => Rule::default(),
    };
    rule.to_json()
}

fn subject(words: &[&str]) -> Value {
    match (words[0], words[1].split_once('/')) {
        ("ServiceAccount", Some((namespace, name))) => {
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        (kind, _) => json!({"apiGroup": GROUP, "kind": kind, "name": words[1]}),
    }
}

/// Fills the roles that gather others: each gets the rules of every role whose labels its selector matches, in order of
/// their names. `view` is part of `edit` and that of `admin`, so it is done until nothing changes.
fn gather(objects: &mut [Value]) {
    loop {
        let mut changed = false;
        for index in 0..objects.len() {
            let Some(wanted) = objects[index]["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"].as_object()
            else {
                continue;
            };
            let labels =
                |object: &Value| wanted.iter().all(|(name, value)| &object["metadata"]["labels"][name] == value);
            let mut sources: Vec<&Value> = objects.iter().filter(|object| labels(object)).collect();
            sources.sort_by_key(|object| object["metadata"]["name"].as_str());
            let mut rules: Vec<Value> = Vec::new();
            for rule in sources.iter().filter_map(|source| source["rules"].as_array()).flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
            let rules = Value::Array(rules);
            changed |= objects[index]["rules"] != rules;
            objects[index]["rules"] = rules;
        }
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
