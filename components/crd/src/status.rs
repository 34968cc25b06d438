//! What the server says of a definition: whether its names are free, whether it is served, whether it is going.

use std::collections::HashSet;

use kinit_api::object::Object;
use serde_json::{Value, json};

use crate::approval::{self, Word};
use crate::definition::{Names, has_condition};

/// What a definition waits for before it goes: that the objects it defines are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The names that other definitions of a group have been given.
#[derive(Debug, Default)]
pub struct Taken {
    resources: HashSet<String>,
    kinds: HashSet<String>,
}

impl Taken {
    pub fn add(&mut self, definition: &Object) {
        let Some(names) = definition.get(&["status", "acceptedNames"]).map(Names::read) else { return };
        self.resources.extend([names.plural, names.singular].into_iter().chain(names.short_names));
        self.kinds.extend([names.kind, names.list_kind]);
    }
}

/// Accepts the names of a definition as far as they are free, and says so in its status.
pub fn accept(definition: &mut Object, taken: &Taken, now: &str) {
    let wanted = definition.get(&["spec", "names"]).cloned().unwrap_or_default();
    let mut accepted = definition.get(&["status", "acceptedNames"]).cloned().unwrap_or_else(|| json!({}));
    let mut refusal: Option<(&str, String)> = None;
    let rows = [
        ("plural", "PluralConflict", &taken.resources),
        ("singular", "SingularConflict", &taken.resources),
        ("kind", "KindConflict", &taken.kinds),
        ("listKind", "ListKindConflict", &taken.kinds),
    ];
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (at, (field, reason, taken)) in rows.into_iter().enumerate() {
        // Short names are looked at between names of resources and of kinds.
        if at == 2 {
            short_names(&wanted, &mut accepted, taken_resources(&rows), &mut refusal);
        }
        let name = wanted[field].as_str().unwrap_or_default();
        if accepted[field] != name && taken.contains(name) {
            refusal = Some((reason, in_use(name)));
        } else {
            accepted[field] = name.into();
        }
    }
    match wanted.get("categories") {
        Some(categories) => accepted["categories"] = categories.clone(),
        None => drop(accepted.as_object_mut().map(|names| names.remove("categories"))),
    }
    definition.set(&["status", "acceptedNames"], accepted);
    let (status, reason, message) = match &refusal {
        Some((reason, message)) => ("False", *reason, message.as_str()),
        None => ("True", "NoConflicts", "no conflicts found"),
    };
    condition(definition, "NamesAccepted", status, reason, message, now);
    if has_condition(definition, "Established") {
        return;
    }
    if refusal.is_none() {
        let message = "the initial names have been accepted";
        condition(definition, "Established", "True", "InitialNamesAccepted", message, now);
    } else {
        condition(definition, "Established", "False", "NotAccepted", "not all names are accepted", now);
    }
}

fn taken_resources<'a>(rows: &[(&str, &str, &'a HashSet<String>); 4]) -> &'a HashSet<String> {
    rows[0].2
}

fn short_names(
    wanted: &Value,
    accepted: &mut Value,
    taken: &HashSet<String>,
    refusal: &mut Option<(&'static str, String)>,
) {
    if wanted.get("shortNames") == accepted.get("shortNames") {
        return;
    }
    let own = Names::read(accepted).short_names;
    let clashes: Vec<String> = Names::read(wanted)
        .short_names
        .into_iter()
        .filter(|name| !own.contains(name) && taken.contains(name))
        .map(|name| format!("{name:?} is already in use"))
        .collect();
    match clashes.as_slice() {
        [] => match wanted.get("shortNames") {
            Some(names) => accepted["shortNames"] = names.clone(),
            None => drop(accepted.as_object_mut().map(|names| names.remove("shortNames"))),
        },
        [only] => *refusal = Some(("ShortNamesConflict", only.clone())),
        _ => *refusal = Some(("ShortNamesConflict", format!("[{}]", clashes.join(", ")))),
    }
}

/// Says in the status what somebody has said of a definition of a group that is Kubernetes' own.
pub fn approve(definition: &mut Object, now: &str) {
    let Some((word, message)) = approval::of(definition) else { return };
    let (status, reason) = match word {
        Word::Missing => ("False", "MissingAnnotation"),
        Word::Bypassed => ("False", "UnapprovedAnnotation"),
        Word::Approved => ("True", "ApprovedAnnotation"),
        Word::Invalid => ("False", "InvalidAnnotation"),
    };
    condition(definition, "KubernetesAPIApprovalPolicyConformant", status, reason, &message, now);
}

/// Sets a condition; its time is that of its last turn.
pub fn condition(definition: &mut Object, name: &str, status: &str, reason: &str, message: &str, now: &str) {
    let mut conditions =
        definition.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let new = json!({"type": name, "status": status, "reason": reason, "message": message, "lastTransitionTime": now});
    match conditions.iter_mut().find(|condition| condition["type"] == name) {
        Some(old) => {
            let since = if old["status"] == status { old["lastTransitionTime"].clone() } else { now.into() };
            *old = new;
            old["lastTransitionTime"] = since;
        }
        None => conditions.push(new),
    }
    definition.set(&["status", "conditions"], conditions);
}

/// Notes the version that objects are now stored in among those that they have ever been.
pub fn note_storage(definition: &mut Object) {
    let versions = definition.get(&["spec", "versions"]).and_then(Value::as_array);
    let Some(name) = versions.into_iter().flatten().find(|it| it["storage"] == true).map(|it| it["name"].clone())
    else {
        return;
    };
    let mut stored =
        definition.get(&["status", "storedVersions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    if !stored.contains(&name) {
        stored.push(name);
        definition.set(&["status", "storedVersions"], stored);
    }
}

/// Marks a definition that is being deleted: what it defines goes first.
pub fn terminate(definition: &mut Object, now: &str) {
    let mut finalizers =
        definition.get(&["metadata", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    if !finalizers.iter().any(|own| own == FINALIZER) {
        finalizers.push(FINALIZER.into());
        definition.set(&["metadata", "finalizers"], finalizers);
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    condition(definition, "Terminating", "True", "InstanceDeletionPending", message, now);
}

/// Lets a definition go.
pub fn release(definition: &mut Object, now: &str) {
    let (reason, message) = if has_condition(definition, "Established") {
        ("InstanceDeletionCompleted", "removed all instances")
    } else {
        ("NeverEstablished", "resource was never established")
    };
    condition(definition, "Terminating", "False", reason, message, now);
    let finalizers = definition.get(&["metadata", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let rest: Vec<Value> = finalizers.into_iter().filter(|own| own != FINALIZER).collect();
    if rest.is_empty() {
        definition.remove(&["metadata", "finalizers"]);
    } else {
        definition.set(&["metadata", "finalizers"], rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(names: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "d"}, "spec": {"names": names}})).unwrap()
    }

    fn reason(object: &Object, name: &str) -> String {
        let conditions = object.get(&["status", "conditions"]).and_then(Value::as_array).unwrap();
        let found = conditions.iter().find(|condition| condition["type"] == name).unwrap();
        format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
    }

    #[test]
    fn names_are_given_to_who_comes_first() {
        let names =
            json!({"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList", "shortNames": ["f"]});
        let mut first = definition(names.clone());
        accept(&mut first, &Taken::default(), "t1");
        assert_eq!(first.get(&["status", "acceptedNames"]), Some(&names));
        assert_eq!(reason(&first, "NamesAccepted"), "True NoConflicts");
        assert_eq!(reason(&first, "Established"), "True InitialNamesAccepted");
        let mut taken = Taken::default();
        taken.add(&first);
        let mut second = definition(
            json!({"plural": "bars", "singular": "bar", "kind": "Foo", "listKind": "BarList", "shortNames": ["f"]}),
        );
        accept(&mut second, &taken, "t1");
        assert_eq!(reason(&second, "NamesAccepted"), "False KindConflict");
        assert_eq!(reason(&second, "Established"), "False NotAccepted");
        assert_eq!(
            second.get(&["status", "acceptedNames"]),
            Some(&json!({"plural": "bars", "singular": "bar", "listKind": "BarList"}))
        );
        accept(&mut second, &Taken::default(), "t2");
        assert_eq!(reason(&second, "Established"), "True InitialNamesAccepted");
    }

    #[test]
    fn what_is_said_of_groups_that_are_kubernetes_own_is_a_condition() {
        let of = |group: &str, said: &str| {
            let mut object = definition(json!({}));
            object.set(&["spec", "group"], group);
            object.set(&["metadata", "annotations"], json!({"api-approved.kubernetes.io": said}));
            approve(&mut object, "t1");
            let all = object.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
            all.first().map(|it| format!("{} {} {}", it["status"], it["reason"], it["message"]).replace('"', ""))
        };
        let url = "https://github.com/kubernetes/kubernetes/pull/1";
        assert_eq!(of("example.com", url), None);
        assert_eq!(of("a.k8s.io", url), Some(format!("True ApprovedAnnotation approved in {url}")));
        let bypassed = "False UnapprovedAnnotation not approved: \\unapproved, testing\\";
        assert_eq!(of("kubernetes.io", "unapproved, testing"), Some(bypassed.to_owned()));
        assert!(of("a.k8s.io", "").unwrap().starts_with("False MissingAnnotation protected groups must have"));
        assert!(
            of("a.k8s.io", "no").unwrap().contains("InvalidAnnotation protected groups must have approval annotation")
        );
    }

    #[test]
    fn a_definition_goes_after_what_it_defines() {
        let mut going = definition(json!({}));
        terminate(&mut going, "t1");
        assert_eq!(going.get(&["metadata", "finalizers"]), Some(&json!([FINALIZER])));
        release(&mut going, "t2");
        assert_eq!(
            (going.has_finalizers(), reason(&going, "Terminating")),
            (false, "False NeverEstablished".to_owned())
        );
    }
}
