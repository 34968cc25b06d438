//! Looking at other servers now and then: whether they answer, and what they serve.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::check;
use super::swagger::Swagger;
use super::{Aggregator, GROUP, Known, PATIENCE, RESOURCE, Served, is_available, is_remote, target_of};
use crate::handlers::{Api, now};
use crate::webhook::client::Target;

/// How often APIServices are gone through, and how often a server that answers is looked at.
const EVERY: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_secs(30);

/// As whom servers are looked at: somebody who may see all. A front proxy's certificate is worth nothing without a user.
const USER: &[(&str, &str)] = &[("x-remote-user", "system:kube-aggregator"), ("x-remote-group", "system:masters")];

/// What a look found: the condition's status, its reason and message.
type Condition = (bool, &'static str, String);

impl Aggregator {
    /// Looks at servers until `shutdown`.
    pub async fn follow(self, api: Api, shutdown: CancellationToken) {
        self.cache.wait_until_synced().await;
        let mut looked: HashMap<String, Instant> = HashMap::new();
        loop {
            let services = self.cache.all(GROUP, RESOURCE);
            let remote: Vec<Object> = services.values().filter_map(|entry| entry.object()).filter(is_remote).collect();
            let mut known: Known = (*self.known()).clone();
            known.retain(|name, _| remote.iter().any(|service| service.name() == name));
            let fresh = |service: &&Object| {
                let at = looked.get(service.name());
                is_available(service) && at.is_some_and(|at| at.elapsed() < AGAIN)
            };
            let due: Vec<&Object> = remote.iter().filter(|service| !fresh(service)).collect();
            let looks = due.iter().map(|service| self.look(service));
            for (service, (condition, found)) in due.iter().zip(futures::future::join_all(looks).await) {
                looked.insert(service.name().to_owned(), Instant::now());
                note(&mut known, service, condition.0, found);
                if is_available(service) && !condition.0 {
                    *self.lost.write().entry((service.name().to_owned(), condition.1)).or_default() += 1;
                }
                if let Err(error) = report(&api, service, &condition).await {
                    tracing::debug!(%error, service = service.name(), "its condition could not be written");
                }
            }
            if *self.known() != known {
                *self.known.write() = known.into();
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Asks a server what it serves of the group and version.
    async fn look(&self, service: &Object) -> (Condition, Option<Found>) {
        let text = |field| service.str(&["spec", "service", field]);
        let port = service.get(&["spec", "service", "port"]).and_then(Value::as_u64).unwrap_or(443);
        let (namespace, name) = (text("namespace"), text("name"));
        let asked = self.cache.find("", "services", namespace, name).and_then(|entry| entry.object());
        let slices = crate::webhook::target::slices_of(&self.cache, namespace, name);
        if let Err((reason, message)) = check::check((namespace, name, port), asked.as_ref(), &slices) {
            return ((false, reason, message), None);
        }
        let target = target_of(&self.cache, service);
        if let Err(why) = target.address {
            return ((false, "MissingEndpoints", why), None);
        }
        let path = format!("/apis/{}/{}", service.str(&["spec", "group"]), service.str(&["spec", "version"]));
        let authority = asked.map_or_else(|| target.authority.clone(), |service| check::authority(&service, port));
        let url = format!("https://{authority}{path}");
        let refused =
            |why: String| (false, "FailedDiscoveryCheck", format!("failing or missing response from {url}: {why}"));
        match self.client.get(&target, &path, USER, PATIENCE).await {
            Err(why) => (refused(format!("Get {url:?}: {why}")), None),
            Ok((status, bytes)) if status.is_success() => {
                let list = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
                let openapi = self.described(&target, path.trim_start_matches('/')).await;
                let known = self.known();
                // The place of the newer document changes with what it says, so that the older one is not read for nothing.
                let before = known.get(service.name()).filter(|it| it.openapi.is_some() && it.openapi == openapi);
                let swagger = match before.and_then(|it| it.swagger.clone()) {
                    Some(swagger) => Some(swagger),
                    None => self.described_before(&target, &path).await,
                };
                let found = Found { resources: discovered(&list), openapi, swagger };
                ((true, "Passed", "all checks passed".to_owned()), Some(found))
            }
            Ok((status, _)) => (refused(format!("bad status from {url}: {}", status.as_u16())), None),
        }
    }

    /// Where a server says that the OpenAPI document of a group and version (`apis/g/v1`) is.
    async fn described(&self, target: &Target, name: &str) -> Option<String> {
        let (status, bytes) = self.client.get(target, "/openapi/v3", USER, PATIENCE).await.ok()?;
        let index: Value = serde_json::from_slice(&bytes).ok().filter(|_| status.is_success())?;
        let url = index["paths"][name]["serverRelativeURL"].as_str()?;
        // What is below other paths would not be led to that server.
        url.starts_with(&format!("/openapi/v3/{name}")).then(|| url.to_owned())
    }

    /// What a server's document of version 2 says of the paths below one.
    async fn described_before(&self, target: &Target, path: &str) -> Option<Arc<Swagger>> {
        let (status, bytes) = self.client.get(target, "/openapi/v2", USER, PATIENCE).await.ok()?;
        let document: Value = serde_json::from_slice(&bytes).ok().filter(|_| status.is_success())?;
        Some(Arc::new(Swagger::of(document, path)))
    }
}

/// What a server that answers serves of a group and version.
struct Found {
    resources: Vec<Value>,
    openapi: Option<String>,
    swagger: Option<Arc<Swagger>>,
}

fn note(known: &mut Known, service: &Object, current: bool, found: Option<Found>) {
    let text = |field| service.str(&["spec", field]).to_owned();
    let priority = service.get(&["spec", "groupPriorityMinimum"]).and_then(Value::as_i64).unwrap_or_default();
    let entry = known.entry(service.name().to_owned()).or_insert_with(|| Served {
        group: text("group"),
        version: text("version"),
        priority,
        resources: Vec::new(),
        openapi: None,
        swagger: None,
        current,
    });
    (entry.priority, entry.current) = (priority, current);
    if let Some(found) = found {
        (entry.resources, entry.openapi, entry.swagger) = (found.resources, found.openapi, found.swagger);
    }
}

/// A group version's list of resources in the form of the aggregated document.
fn discovered(list: &Value) -> Vec<Value> {
    let own = list["groupVersion"].as_str().unwrap_or_default();
    let (own_group, own_version) = own.split_once('/').unwrap_or(("", own));
    let kind = |row: &Value| {
        let or = |field: &str, own: &str| row[field].as_str().filter(|text| !text.is_empty()).unwrap_or(own).to_owned();
        json!({"group": or("group", own_group), "version": or("version", own_version), "kind": row["kind"]})
    };
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let rows = || list["resources"].as_array().into_iter().flatten();
    for row in rows().filter(|row| !row["name"].as_str().unwrap_or_default().contains('/')) {
        let name = row["name"].as_str().unwrap_or_default();
        let scope = if row["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut resource = json!({"resource": name, "responseKind": kind(row), "scope": scope,
            "singularResource": row["singularName"], "verbs": row["verbs"]});
        for field in ["shortNames", "categories"] {
            if row[field].is_array() {
                resource[field] = row[field].clone();
            }
        }
        all.insert(name.to_owned(), resource);
    }
    for row in rows() {
        let Some((name, subresource)) = row["name"].as_str().and_then(|name| name.split_once('/')) else { continue };
        let Some(resource) = all.get_mut(name) else { continue };
        let one = json!({"subresource": subresource, "responseKind": kind(row), "verbs": row["verbs"]});
        match resource["subresources"].as_array_mut() {
            Some(list) => list.push(one),
            None => resource["subresources"] = json!([one]),
        }
    }
    all.into_values().collect()
}

/// Writes the condition `Available`, if it differs from what is there.
pub(super) async fn report(
    api: &Api,
    service: &Object,
    (good, reason, message): &(bool, &str, String),
) -> Result<(), Status> {
    let status = if *good { "True" } else { "False" };
    let conditions = service.get(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = conditions.iter().find(|one| one["type"] == "Available");
    let same = |one: &Value| one["status"] == status && one["reason"] == *reason && one["message"] == message.as_str();
    if before.is_some_and(same) {
        return Ok(());
    }
    let since = before.filter(|one| one["status"] == status).map(|one| one["lastTransitionTime"].clone());
    let condition = json!({"type": "Available", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| now().into())});
    let others = conditions.iter().filter(|one| one["type"] != "Available").cloned();
    let mut changed = service.clone();
    changed.set(&["status", "conditions"], others.chain([condition]).collect::<Vec<_>>());
    changed.remove(&["metadata", "resourceVersion"]);
    let update = crate::bootstrap::status_request(&changed)?;
    api.store_changed(&update, changed).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_parts_of_the_aggregated_document() {
        let list = json!({"groupVersion": "g/v1", "resources": [
            {"name": "toys", "singularName": "toy", "namespaced": true, "kind": "Toy", "verbs": ["get"], "shortNames": ["t"]},
            {"name": "toys/status", "kind": "Toy", "verbs": ["update"]},
            {"name": "toys/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]}]});
        let found = discovered(&list);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["responseKind"], json!({"group": "g", "version": "v1", "kind": "Toy"}));
        assert_eq!((&found[0]["scope"], &found[0]["shortNames"]), (&json!("Namespaced"), &json!(["t"])));
        assert_eq!(found[0]["subresources"][1]["responseKind"]["group"], "autoscaling");
    }
}
