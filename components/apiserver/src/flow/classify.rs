//! Which FlowSchema a request falls under; pure.

use kinit_api::object::Object;
use serde_json::Value;

use crate::authn::User;

/// What schemas look at of a request.
pub struct Digest<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub what: What<'a>,
}

/// What a request is about.
#[derive(Clone, Copy)]
pub enum What<'a> {
    Resource { group: &'a str, resource: &'a str, subresource: &'a str, namespace: &'a str },
    Path(&'a str),
}

/// Where a request was sorted.
pub struct Found {
    pub uid: String,
    /// The schema's name.
    pub name: String,
    pub level: String,
    /// What tells the schema's flows from each other: a user, a namespace, or nothing.
    pub distinguisher: String,
}

/// All schemas, the first to look at first.
#[derive(Default)]
pub struct Rules(Vec<Schema>);

struct Schema {
    uid: String,
    name: String,
    level: String,
    distinguisher: String,
    rules: Vec<Value>,
}

impl Rules {
    pub fn new(schemas: &[Object]) -> Self {
        let precedence = |schema: &Object| schema.get(&["spec", "matchingPrecedence"]).and_then(Value::as_i64);
        let mut sorted: Vec<&Object> = schemas.iter().collect();
        sorted.sort_by_key(|schema| (precedence(schema).unwrap_or(1000), schema.name().to_owned()));
        let one = |schema: &&Object| Schema {
            uid: schema.uid().to_owned(),
            name: schema.name().to_owned(),
            level: schema.str(&["spec", "priorityLevelConfiguration", "name"]).to_owned(),
            distinguisher: schema.str(&["spec", "distinguisherMethod", "type"]).to_owned(),
            rules: schema.get(&["spec", "rules"]).and_then(Value::as_array).cloned().unwrap_or_default(),
        };
        Self(sorted.iter().map(one).collect())
    }

    /// The first schema that is about the request.
    pub fn find(&self, digest: &Digest<'_>) -> Option<Found> {
        let schema = self.0.iter().find(|schema| schema.rules.iter().any(|rule| matches(rule, digest)))?;
        let distinguisher = match (schema.distinguisher.as_str(), digest.what) {
            ("ByUser", _) => digest.user.name.as_str(),
            ("ByNamespace", What::Resource { namespace, .. }) => namespace,
            _ => "",
        };
        let (uid, name, level) = (schema.uid.clone(), schema.name.clone(), schema.level.clone());
        Some(Found { uid, name, level, distinguisher: distinguisher.to_owned() })
    }
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn has(value: &Value, field: &str, wanted: &str) -> bool {
    list(value, field).any(|own| own == "*" || own == wanted)
}

fn matches(rule: &Value, digest: &Digest<'_>) -> bool {
    if !list(rule, "subjects").any(|subject| is_subject(subject, digest.user)) {
        return false;
    }
    match digest.what {
        What::Resource { group, resource, subresource, namespace } => {
            let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
            list(rule, "resourceRules").any(|one| {
                let place =
                    if namespace.is_empty() { one["clusterScope"] == true } else { has(one, "namespaces", namespace) };
                place && has(one, "verbs", digest.verb) && has(one, "apiGroups", group) && has(one, "resources", &full)
            })
        }
        What::Path(path) => list(rule, "nonResourceRules").any(|one| {
            let fits = |own: &str| own == path || own.strip_suffix('*').is_some_and(|start| path.starts_with(start));
            has(one, "verbs", digest.verb) && list(one, "nonResourceURLs").filter_map(Value::as_str).any(fits)
        }),
    }
}

fn is_subject(subject: &Value, user: &User) -> bool {
    let name = |kind: &str| subject[kind]["name"].as_str().unwrap_or_default();
    match subject["kind"].as_str() {
        Some("User") => name("user") == "*" || name("user") == user.name,
        Some("Group") => name("group") == "*" || user.in_group(name("group")),
        Some("ServiceAccount") => {
            let namespace = subject["serviceAccount"]["namespace"].as_str().unwrap_or_default();
            let account = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            account.is_some_and(|(own, account)| {
                own == namespace && matches!(name("serviceAccount"), wanted if wanted == "*" || wanted == account)
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_schemas_sort_requests() {
        let objects = super::super::defaults::objects().into_iter().filter(|object| object["kind"] == "FlowSchema");
        let rules = Rules::new(&objects.filter_map(Object::from_value).collect::<Vec<_>>());
        let level = |user: &User, verb: &str, what: What<'_>| {
            rules.find(&Digest { user, verb, what }).map(|found| found.level).unwrap_or_default()
        };
        let of = |group: &'static str, resource: &'static str, namespace: &'static str| What::Resource {
            group,
            resource,
            subresource: "",
            namespace,
        };
        let known = "system:authenticated";
        let admin = User::new("admin", &["system:masters", known]);
        let node = User::new("system:node:n", &["system:nodes", known]);
        let robot = User::new("system:serviceaccount:kube-system:robot", &["system:serviceaccounts", known]);
        let other = User::new("system:serviceaccount:a:b", &["system:serviceaccounts", known]);
        let ann = User::new("ann", &[known]);
        let leases = of("coordination.k8s.io", "leases", "x");
        for (user, verb, what, wanted) in [
            (&admin, "list", of("", "pods", ""), "exempt"),
            (&node, "update", leases, "node-high"),
            (&node, "get", of("", "pods", "x"), "system"),
            (&robot, "update", leases, "leader-election"),
            (&robot, "list", of("", "pods", ""), "workload-high"),
            (&other, "list", of("", "pods", "a"), "workload-low"),
            (&ann, "list", of("", "pods", "a"), "global-default"),
            (&ann, "get", What::Path("/healthz"), "exempt"),
            (&ann, "get", What::Path("/version"), "global-default"),
        ] {
            assert_eq!(level(user, verb, what), wanted, "{} {verb}", user.name);
        }
    }
}
