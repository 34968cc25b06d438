//! How kinds count their generations and take updates, as rows: [`LIVES`] has those that differ from the rest.

use kinit_api::object::Object;
use serde_json::Value;

use crate::registry::ResourceSpec;

/// What a change of which is a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Nothing: the server counts no generations of it.
    Nothing,
    /// These fields.
    Fields(&'static [&'static [&'static str]]),
    /// All but the metadata, and the labels.
    Content,
}

/// What becomes of an object's dependents where neither its deletion nor a finalizer says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    Deleted,
    /// As the first clients of these kinds expected.
    Left,
    /// Nothing ever: nobody may ask for it.
    None,
}

/// What is particular about the objects of a resource.
#[derive(Debug)]
struct Life {
    group: &'static str,
    resource: &'static str,
    counted: Counted,
    /// Whether a new object is of generation 1.
    begins: bool,
    /// Whether an update may leave out which version of the object it is about.
    unconditional: bool,
    /// Whether an update makes what is not there.
    creates: bool,
    dependents: Dependents,
}

const SPEC: Counted = Counted::Fields(&[&["spec"]]);

const fn life(group: &'static str, resource: &'static str) -> Life {
    Life {
        group,
        resource,
        counted: Counted::Nothing,
        begins: false,
        unconditional: true,
        creates: false,
        dependents: Dependents::Deleted,
    }
}

impl Life {
    const fn counts(mut self, counted: Counted) -> Self {
        self.counted = counted;
        self.begins = true;
        self
    }

    const fn versioned(mut self) -> Self {
        self.unconditional = false;
        self
    }

    const fn creates(mut self) -> Self {
        self.creates = true;
        self
    }

    const fn dependents(mut self, dependents: Dependents) -> Self {
        self.dependents = dependents;
        self
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOWCONTROL: &str = "flowcontrol.apiserver.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const WEBHOOKS: Counted = Counted::Fields(&[&["webhooks"]]);

static LIVES: &[Life] = &[
    life("", "endpoints").creates(),
    life("", "events").creates().dependents(Dependents::None),
    life("", "limitranges").creates(),
    life("", "pods").counts(SPEC),
    life("", "podtemplates").counts(Counted::Fields(&[&["template"]])),
    life("", "replicationcontrollers").counts(SPEC).dependents(Dependents::Left),
    life("", "services").creates(),
    life(ADMISSION, "mutatingadmissionpolicies").counts(SPEC).versioned(),
    life(ADMISSION, "mutatingadmissionpolicybindings").counts(SPEC).versioned(),
    life(ADMISSION, "mutatingwebhookconfigurations").counts(WEBHOOKS).versioned(),
    life(ADMISSION, "validatingadmissionpolicies").counts(SPEC).versioned(),
    life(ADMISSION, "validatingadmissionpolicybindings").counts(SPEC).versioned(),
    life(ADMISSION, "validatingwebhookconfigurations").counts(WEBHOOKS).versioned(),
    life("apiextensions.k8s.io", "customresourcedefinitions").counts(SPEC).versioned(),
    life("apiregistration.k8s.io", "apiservices").versioned(),
    life("apps", "daemonsets").counts(SPEC),
    // A Deployment's annotations are copied to its ReplicaSets, so they are wished for as well.
    life("apps", "deployments").counts(Counted::Fields(&[&["spec"], &["metadata", "annotations"]])),
    life("apps", "replicasets").counts(SPEC),
    life("apps", "statefulsets").counts(SPEC),
    life("batch", "cronjobs").counts(SPEC),
    life("batch", "jobs").counts(SPEC).dependents(Dependents::Left),
    life("coordination.k8s.io", "leases").versioned().creates(),
    life("discovery.k8s.io", "endpointslices").counts(Counted::Content),
    life("events.k8s.io", "events").creates().dependents(Dependents::None),
    life(FLOWCONTROL, "flowschemas").counts(SPEC),
    life(FLOWCONTROL, "prioritylevelconfigurations").counts(SPEC),
    life(NETWORKING, "ingressclasses").counts(SPEC),
    life(NETWORKING, "ingresses").counts(SPEC),
    life(NETWORKING, "networkpolicies").counts(SPEC),
    life("node.k8s.io", "runtimeclasses").versioned().creates(),
    life("policy", "poddisruptionbudgets").counts(SPEC).versioned(),
    life(RBAC, "clusterrolebindings").creates(),
    life(RBAC, "clusterroles").creates(),
    life(RBAC, "rolebindings").creates(),
    life(RBAC, "roles").creates(),
    life(RESOURCE, "deviceclasses").counts(SPEC),
    life(RESOURCE, "resourceslices").counts(SPEC),
    life("scheduling.k8s.io", "priorityclasses").counts(Counted::Nothing),
    // Its generation begins with the first change.
    Life { begins: false, ..life(STORAGE, "csidrivers").counts(SPEC).versioned() },
    life(STORAGE, "csinodes").versioned(),
    life(STORAGE, "csistoragecapacities").versioned(),
    life(STORAGE, "volumeattachments").versioned(),
];

static OTHERS: Life = life("", "");

fn of(spec: &ResourceSpec) -> &'static Life {
    LIVES.iter().find(|row| spec.is(row.group, row.resource)).unwrap_or(&OTHERS)
}

/// Whether a new object is of generation 1, whatever its client says.
pub fn begins(spec: &ResourceSpec) -> bool {
    spec.custom.is_some() || of(spec).begins
}

/// Whether an update must say which version of the object it is about.
pub fn versioned(spec: &ResourceSpec) -> bool {
    spec.custom.is_some() || !of(spec).unconditional
}

/// Whether an update of an object that is not there makes it.
pub fn creates(spec: &ResourceSpec) -> bool {
    spec.custom.is_none() && of(spec).creates
}

/// What becomes of an object's dependents where nobody says it.
pub fn dependents(spec: &ResourceSpec) -> Dependents {
    if spec.custom.is_some() { Dependents::Deleted } else { of(spec).dependents }
}

/// Whether the change is a new generation.
pub fn advances(spec: &ResourceSpec, old: &Object, new: &Object) -> bool {
    let all_but = |fields: &[&str]| {
        let rest = |object: &Object| {
            let mut rest = object.clone();
            fields.iter().for_each(|field| drop(rest.remove(&[field])));
            rest
        };
        rest(old) != rest(new)
    };
    if spec.custom.is_some() {
        // A custom resource without the subresource has a status that is as any other field.
        return all_but(if spec.status { &["metadata", "status"] } else { &["metadata"] });
    }
    let differs = |path: &[&str]| {
        let empty = |value: &&Value| value.as_object().is_none_or(|map| !map.is_empty());
        old.get(path).filter(empty) != new.get(path).filter(empty)
    };
    match of(spec).counted {
        Counted::Nothing => false,
        Counted::Fields(paths) => paths.iter().any(|path| differs(path)),
        Counted::Content => all_but(&["metadata"]) || differs(&["metadata", "labels"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::{RESOURCES, find};

    #[test]
    fn every_row_is_of_a_resource() {
        for row in LIVES {
            assert!(RESOURCES.iter().any(|spec| spec.is(row.group, row.resource)), "{}", row.resource);
        }
    }

    #[test]
    fn generations_count_what_is_wished_for() {
        let object = |value: Value| Object::from_value(value).unwrap();
        let cases = [
            ("apps", "deployments", json!({"spec": {"a": 1}}), json!({"spec": {"a": 2}}), true),
            ("apps", "deployments", json!({}), json!({"metadata": {"annotations": {"a": "b"}}}), true),
            ("apps", "replicasets", json!({}), json!({"metadata": {"annotations": {"a": "b"}}}), false),
            ("apps", "replicasets", json!({}), json!({"status": {"replicas": 1}}), false),
            ("discovery.k8s.io", "endpointslices", json!({}), json!({"metadata": {"labels": {"a": "b"}}}), true),
            ("discovery.k8s.io", "endpointslices", json!({}), json!({"endpoints": [{}]}), true),
            ("", "services", json!({"spec": {}}), json!({"spec": {"a": 1}}), false),
            ("", "podtemplates", json!({}), json!({"template": {"a": 1}}), true),
            ("scheduling.k8s.io", "priorityclasses", json!({}), json!({"description": "a"}), false),
            (ADMISSION, "mutatingwebhookconfigurations", json!({}), json!({"webhooks": [{}]}), true),
        ];
        for (group, resource, old, new, expected) in cases {
            let spec = find(group, "v1", resource).unwrap().1;
            assert_eq!(advances(spec, &object(old), &object(new.clone())), expected, "{resource} {new}");
        }
    }
}
