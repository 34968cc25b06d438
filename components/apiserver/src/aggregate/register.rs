//! An APIService for each group and version that this server has itself, custom resources' too.

use std::collections::BTreeMap;
use std::time::Duration;

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{GROUP, RESOURCE, probe};
use crate::handlers::Api;
use crate::registry::Registry;
use crate::strategy::DeleteOptions;

const LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// How often what is there is compared with what is wanted, besides after each change.
const EVERY: Duration = Duration::from_secs(30);

/// Upstream's priorities of groups and of their versions; a custom resource's are 1000 and 100.
const PRIORITIES: &[(&str, &str, i64, i64)] = &[
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("networking.k8s.io", "v1", 17200, 15),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("node.k8s.io", "v1", 16300, 15),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("resource.k8s.io", "v1", 16200, 21),
];

/// Keeps the APIServices until `shutdown`; sets `done` once all have been there.
pub async fn run(api: Api, done: watch::Sender<bool>, shutdown: CancellationToken) {
    api.cache.wait_until_synced().await;
    let mut changes = api.cache.registry_changes();
    loop {
        let registry = changes.borrow_and_update().clone();
        match keep(&api, &registry).await {
            Ok(()) => {
                done.send_replace(true);
            }
            Err(error) => tracing::debug!(%error, "the APIServices of this server could not be kept"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = changes.changed() => {
                // An error means that the server is ending.
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// What is to be there, by name.
fn wanted(registry: &Registry) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for spec in registry.rows() {
        let (group, version) = (spec.group(), spec.version());
        // The group of APIServices is not behind one, as upstream has it.
        if group == GROUP {
            continue;
        }
        let known = PRIORITIES.iter().find(|row| (row.0, row.1) == (group, version));
        let (of_group, of_version) = known.map_or((1000, 100), |row| (row.2, row.3));
        let managed = if spec.custom.is_some() { "true" } else { "onstart" };
        let name = format!("{version}.{group}");
        let mut wanted = json!({"groupPriorityMinimum": of_group, "version": version, "versionPriority": of_version});
        if !group.is_empty() {
            wanted["group"] = group.into();
        }
        let object = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": name, "labels": {LABEL: managed}}, "spec": wanted});
        all.insert(name, object);
    }
    all
}

async fn keep(api: &Api, registry: &Registry) -> Result<(), Status> {
    let wanted = wanted(registry);
    for (name, object) in &wanted {
        let mut request = crate::bootstrap::request(object)?;
        request.internal = true;
        if api.cache.find(GROUP, RESOURCE, "", name).is_none() {
            let new = Object::from_value(object.clone()).ok_or_else(Status::no_such_path)?;
            match api.store_new(&request, new).await {
                Err(status) if status.reason == "AlreadyExists" => {}
                Err(status) => return Err(status),
                Ok(_) => {}
            }
        }
        let stored = api.etcd.object(GROUP, RESOURCE, "", name).await?;
        if !super::is_remote(&stored) {
            let condition = (true, "Local", "Local APIServices are always available".to_owned());
            probe::report(api, &stored, &condition).await?;
        }
    }
    for entry in api.cache.all(GROUP, RESOURCE).values() {
        let managed = entry.labels().get(LABEL).is_some_and(|value| value == "true");
        if managed && !wanted.contains_key(entry.name()) {
            let Some(object) = entry.object() else { continue };
            let mut request = crate::bootstrap::request(&object.into_value())?;
            request.internal = true;
            api.delete_one(&request, entry.name(), &DeleteOptions::default()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_and_version_has_one() {
        let all = wanted(&Registry::default());
        assert_eq!(all["v1."]["spec"], json!({"groupPriorityMinimum": 18000, "version": "v1", "versionPriority": 1}));
        assert_eq!(all["v1.apps"]["metadata"]["labels"][LABEL], "onstart");
        // Each has a priority of its own in the table.
        assert!(all.values().all(|object| object["spec"]["groupPriorityMinimum"] != 1000));
    }
}
