//! `limitedResources` of ResourceQuota's configuration: what may be used only in namespaces with a quota that is about it. Pure.

use std::collections::BTreeSet;

use kinit_api::object::Object;
use kinit_api::quantity::Quantity;
use kinit_api::quota::{self, Amounts};
use kinit_api::status::Status;
use serde::Deserialize;
use serde_json::Value;

use super::{Attributes, Operation};

/// A resource that is limited where no quota says otherwise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limited {
    #[serde(default)]
    pub api_group: String,
    pub resource: String,
    /// Parts of the names of amounts that have to be covered.
    #[serde(default)]
    pub match_contains: Vec<String>,
    /// Scopes that have to be covered, as quotas have them.
    #[serde(default)]
    pub match_scopes: Vec<Value>,
}

/// Refuses a write that takes something limited which none of its namespace's quotas is about.
pub fn check(
    limited: &[Limited],
    attributes: &Attributes<'_>,
    object: &Object,
    quotas: &[&Object],
) -> Result<(), Status> {
    if limited.is_empty() {
        return Ok(());
    }
    let spec = &attributes.request.spec;
    let (group, resource, tree) = (spec.group(), spec.resource(), object.value());
    let taken = quota::of(group, resource, tree);
    let about = |object: &Value| {
        let about = quotas.iter().filter(|quota| quota::in_scopes(quota.value(), resource, object));
        about.map(|quota| quota.value()).collect::<Vec<_>>()
    };
    let about_this = about(tree);
    if !takes_more(&taken, attributes, resource, &about_this) {
        return Ok(());
    }
    let covered: BTreeSet<&String> = about_this
        .iter()
        .filter_map(|quota| quota["status"]["hard"].as_object())
        .flat_map(|hard| hard.keys())
        .collect();
    let own = limited.iter().filter(|one| (one.api_group.as_str(), one.resource.as_str()) == (group, resource));
    let parts: Vec<&String> = own.flat_map(|one| &one.match_contains).collect();
    let needed = taken.iter().filter(|(_, amount)| **amount > Quantity::ZERO).map(|(name, _)| name);
    let needed = needed.filter(|name| parts.iter().any(|part| name.contains(part.as_str())));
    let missing: Vec<&str> = needed.filter(|name| !covered.contains(name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(attributes.forbidden(format!("insufficient quota to consume: {}", missing.join(","))));
    }
    // A scope counts as covered as soon as some quota has it, whatever else that quota is about.
    let covered: Vec<Value> = quotas.iter().flat_map(|quota| quota::scopes(quota.value())).collect();
    let covered: BTreeSet<&str> =
        covered.iter().filter(|scope| quota::is_in(scope, resource, tree)).filter_map(name_of).collect();
    let needed = limited.iter().flat_map(|one| &one.match_scopes).filter(|scope| quota::is_in(scope, resource, tree));
    let missing: Vec<String> =
        needed.filter(|scope| name_of(scope).is_none_or(|name| !covered.contains(name))).map(shown).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Upstream does not call this one a refusal.
    Err(Status::failed(format!("insufficient quota to match these scopes: [{}]", missing.join(" "))))
}

/// Whether the write takes anything that was not taken before, or that a quota was not about before.
fn takes_more(taken: &Amounts, attributes: &Attributes<'_>, resource: &str, quotas: &[&Value]) -> bool {
    let some = |amount: &Quantity| !amount.is_zero();
    let Some(old) = attributes.old.filter(|_| attributes.operation == Operation::Update) else {
        return taken.values().any(some);
    };
    let before = quota::of(attributes.request.spec.group(), resource, old.value());
    let more = |(name, amount): (&String, &Quantity)| before.get(name).is_none_or(|before| amount > before);
    let new_to_one = quotas.iter().any(|quota| !quota::in_scopes(quota, resource, old.value()));
    taken.iter().any(more) || (new_to_one && taken.values().any(some))
}

fn name_of(scope: &Value) -> Option<&str> {
    scope["scopeName"].as_str()
}

/// A scope as Go prints it.
fn shown(scope: &Value) -> String {
    let text = |field: &str| scope[field].as_str().unwrap_or_default();
    let values = scope["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
    format!("{{{} {} [{}]}}", text("scopeName"), text("operator"), values.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn what_is_limited_has_to_be_covered() {
        let limited: Vec<Limited> = serde_json::from_value(json!([
            {"resource": "pods", "matchContains": ["cpu"]},
            {"apiGroup": "apps", "resource": "deployments", "matchContains": ["count/"]},
            {"resource": "pods", "matchScopes":
                [{"scopeName": "PriorityClass", "operator": "In", "values": ["cluster-services", "other"]}]},
        ]))
        .unwrap();
        let request =
            |path| crate::request::parse(&Registry::default(), &http::Method::POST, path, None).unwrap().unwrap();
        let pods = request("/api/v1/namespaces/a/pods");
        let pod = |cpu: &str, class: &str| {
            object(json!({"spec": {"priorityClassName": class,
                "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}))
        };
        let quota =
            |hard: Value, scope: Value| object(json!({"spec": {"scopeSelector": scope}, "status": {"hard": hard}}));
        let class = json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]});
        let none = "pods \"p\" is forbidden: insufficient quota to consume: cpu,requests.cpu";
        let scope = "insufficient quota to match these scopes: [{PriorityClass In [cluster-services other]}]";
        let cases = [
            (pod("0", ""), vec![], Ok(())),
            (pod("1", ""), vec![], Err((403, none))),
            (pod("1", ""), vec![quota(json!({"cpu": "1", "requests.cpu": "1"}), json!({}))], Ok(())),
            (pod("1", ""), vec![quota(json!({"cpu": "1", "requests.cpu": "1"}), class.clone())], Err((403, none))),
            (pod("0", "cluster-services"), vec![], Err((500, scope))),
            (pod("0", "cluster-services"), vec![quota(json!({}), class)], Ok(())),
            (pod("0", "third"), vec![], Ok(())),
        ];
        for (pod, quotas, wanted) in cases {
            let attributes = Attributes::new(Operation::Create, &pods, "p", None);
            let told = check(&limited, &attributes, &pod, &quotas.iter().collect::<Vec<_>>());
            let told = told.as_ref().copied().map_err(|status| (status.code, status.message.as_str()));
            assert_eq!(told, wanted, "{pod:?} {quotas:?}");
        }
        let deployments = request("/apis/apps/v1/namespaces/a/deployments");
        let attributes = Attributes::new(Operation::Create, &deployments, "d", None);
        let told = check(&limited, &attributes, &object(json!({})), &[]).unwrap_err();
        assert!(told.message.ends_with("insufficient quota to consume: count/deployments.apps"), "{told}");
    }

    #[test]
    fn what_was_taken_before_needs_no_quota() {
        let limited = [Limited {
            api_group: String::new(),
            resource: "services".into(),
            match_contains: vec!["nodeports".into()],
            match_scopes: Vec::new(),
        }];
        let path = "/api/v1/namespaces/a/services/s";
        let request = crate::request::parse(&Registry::default(), &http::Method::PUT, path, None).unwrap().unwrap();
        let service = |kind: &str| object(json!({"spec": {"type": kind, "ports": [{"port": 1}]}}));
        for (old, new, allowed) in
            [("NodePort", "NodePort", true), ("NodePort", "ClusterIP", true), ("ClusterIP", "NodePort", false)]
        {
            let old = service(old);
            let attributes = Attributes::new(Operation::Update, &request, "s", Some(&old));
            assert_eq!(check(&limited, &attributes, &service(new), &[]).is_ok(), allowed, "{old:?} {new}");
        }
    }
}
