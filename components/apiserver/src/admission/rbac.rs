//! Nobody gives what they do not have: writing a role takes its permissions, or the verb `escalate`; binding one takes
//! the same, or the verb `bind`.

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::Value;

use super::{Attributes, Context, Operation};
use crate::authz::rbac::{Ask, Rule, rules_of, uncovered};

const GROUP: &str = "rbac.authorization.k8s.io";

pub fn escalation(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let request = attributes.request;
    if request.spec.group() != GROUP || attributes.operation == Operation::Delete {
        return Ok(());
    }
    let field = if request.spec.resource().ends_with("bindings") { "subjects" } else { "rules" };
    let same = |field: &str| attributes.old.is_some_and(|old| old.get(&[field]) == object.get(&[field]));
    if same(field) && same("roleRef") && same("aggregationRule") {
        return Ok(());
    }
    let may = |verb: &str, resource: &str, name: &str, namespace: &str| {
        let ask = Ask::Resource { verb, group: GROUP, resource, subresource: "", name, namespace };
        context.authorizer.allows(&request.user, &ask, "")
    };
    let namespace = request.namespace.as_str();
    let wanted = if field == "rules" {
        if may("escalate", request.spec.resource(), attributes.name, namespace) {
            return Ok(());
        }
        if object.get(&["aggregationRule"]).is_some_and(|rule| !rule.is_null()) {
            // What an aggregated role will hold is not known, so it counts as everything.
            let all = || vec!["*".to_owned()];
            vec![Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() }]
        } else {
            rules_of(object.value())
        }
    } else {
        let (kind, name) = (object.str(&["roleRef", "kind"]), object.str(&["roleRef", "name"]));
        let (resource, home) = if kind == "Role" { ("roles", namespace) } else { ("clusterroles", "") };
        if may("bind", resource, name, namespace) {
            return Ok(());
        }
        match context.cache.find(GROUP, resource, home, name).and_then(|entry| entry.object()) {
            Some(role) => rules_of(&role.into_value()),
            None => {
                return Err(Status::not_found(GROUP, resource, name));
            }
        }
    };
    let owned = context.authorizer.rules_for(&request.user, namespace);
    let missing = uncovered(&owned, &wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = missing.iter().map(describe).collect();
    let user = &request.user;
    Err(attributes.forbidden(format!(
        "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        user.groups,
        list.join("\n")
    )))
}

/// A rule as upstream's refusal shows it, for example `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
fn describe(rule: &Rule) -> String {
    let lists = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("NonResourceURLs", &rule.urls),
        ("Verbs", &rule.verbs),
    ];
    let shown = lists.iter().filter(|(_, list)| !list.is_empty());
    let shown: Vec<String> = shown.map(|(name, list)| format!("{name}:{}", Value::from((*list).clone()))).collect();
    format!("{{{}}}", shown.join(", "))
}
