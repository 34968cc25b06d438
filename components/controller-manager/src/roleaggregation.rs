//! ClusterRoles that gather the rules of others, by labels: `admin`, `edit` and `view` are such.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kinit_runtime::{Queue, key_of, work};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::pods;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("clusterrole-aggregation-controller").await;
    let roles = context.caches.cluster_roles.clone();
    roles.synced().await;
    let queue = Queue::new();
    let (keys, all) = (queue.clone(), roles.clone());
    // Any role may be part of any that gathers.
    roles.handle(move |_, _| {
        for role in all.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            keys.add(key_of(role.as_ref()));
        }
    });
    work("clusterrole-aggregation", queue, 1, context.shutdown.clone(), move |key: String| {
        let (roles, actor) = (roles.clone(), actor.clone());
        async move {
            let Some(role) = roles.get(&key) else { return Ok(None) };
            let Some(rules) = gathered(&role, &roles.list()) else { return Ok(None) };
            if role.rules.as_ref() != Some(&rules) {
                let api: Api<ClusterRole> = Api::all(actor.client());
                let patch = json!({"rules": rules});
                api.patch(&key, &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
            Ok::<_, kube::Error>(None)
        }
    })
    .await;
}

/// The rules that a role gathers out of `all`, in order of their roles' names; `None` for one that gathers nothing.
fn gathered(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    let mut sources: Vec<&Arc<ClusterRole>> = all
        .iter()
        .filter(|other| other.metadata.name != role.metadata.name)
        .filter(|other| selectors.iter().any(|selector| pods::matches(selector, other.metadata.labels.as_ref())))
        .collect();
    sources.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in sources.iter().filter_map(|source| source.rules.as_ref()).flatten() {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, labels: serde_json::Value, verbs: &[&str], gathers: Option<&str>) -> Arc<ClusterRole> {
        let mut value = json!({"metadata": {"name": name, "labels": labels},
            "rules": [{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]});
        if let Some(label) = gathers {
            value["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn rules_are_gathered_once_and_in_order() {
        let view = role("view", json!({}), &[], Some("to-view"));
        let all = [
            role("b", json!({"to-view": "true"}), &["list"], None),
            role("a", json!({"to-view": "true"}), &["get"], None),
            role("c", json!({"to-view": "true"}), &["get"], None),
            role("d", json!({"to-edit": "true"}), &["delete"], None),
            view.clone(),
        ];
        let verbs: Vec<String> = gathered(&view, &all).unwrap().into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(verbs, ["get", "list"]);
        assert_eq!(gathered(&all[0], &all), None);
    }
}
