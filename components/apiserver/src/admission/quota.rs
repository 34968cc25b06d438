//! ResourceQuota: a write is charged to its namespace's quotas before it is stored, by compare-and-swap on their status.
//!
//! What a write that fails afterwards was charged is given back by the controller, which counts what there is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use kinit_api::object::Object;
use kinit_api::quantity::Quantity;
use kinit_api::quota::{self, Amounts};
use kinit_api::status::Status;
use parking_lot::Mutex;

use super::{Attributes, Context, Operation, limited};
use crate::cache::Entry;
use crate::fields::{self, Manager};
use crate::handlers::now;
use crate::storage::WriteError;
use crate::{bootstrap, registry};

/// How often a charge that lost the race is tried again.
const ATTEMPTS: usize = 8;
/// Namespaces whose last charges are remembered.
const REMEMBERED: usize = 1024;

/// A quota as it was last written, by its name.
type Written = HashMap<String, (i64, Object)>;

/// Charges quotas. Charges to one namespace wait for each other, because they would lose the race for its quotas.
#[derive(Clone, Default)]
pub struct Quotas {
    namespaces: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<Written>>>>>,
}

impl Quotas {
    /// Charges the write to every quota that is about it, or refuses it.
    pub async fn charge(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &Object,
    ) -> Result<(), Status> {
        let namespace = &attributes.request.namespace;
        if namespace.is_empty() || !handles(attributes, object) {
            return Ok(());
        }
        let all = context.cache.all("", "resourcequotas");
        let own = || crate::cache::within(&all, namespace);
        let limits = &context.configuration.limited;
        if own().next().is_none() {
            return limited::check(limits, attributes, object, &[]);
        }
        let lock = self.lock(namespace);
        let mut written = lock.lock().await;
        let current = |entry: &Entry| match written.get(entry.name()).filter(|(revision, _)| *revision > entry.revision)
        {
            Some(known) => Some(known.clone()),
            None => Some((entry.revision, entry.object()?)),
        };
        let mut current: Vec<(i64, Object)> = own().filter_map(|(_, entry)| current(entry)).collect();
        for attempt in 0.. {
            if attempt == 0 {
                let quotas: Vec<&Object> = current.iter().map(|(_, quota)| quota).collect();
                limited::check(limits, attributes, object, &quotas)?;
            }
            // All are asked before any is charged: who is refused by one has used nothing of another.
            let mut charges = Vec::new();
            for quota in current {
                if let Some(used) = charged(attributes, &quota.1, object)? {
                    charges.push((quota, used));
                }
            }
            current = Vec::new();
            for (quota, used) in charges.into_iter().filter(|_| !attributes.dry_run()) {
                let name = quota.1.name().to_owned();
                match store(context, &quota, used).await {
                    Ok(stored) => {
                        written.insert(name, stored);
                    }
                    // The quota has gone, and limits nothing any more.
                    Err(WriteError::Mismatch(None)) => {}
                    Err(WriteError::Mismatch(Some(newer))) if attempt < ATTEMPTS => {
                        current.push((newer.revision, newer.object()?));
                    }
                    Err(WriteError::Mismatch(_)) => return Err(Status::modified("", "resourcequotas", &name)),
                    Err(WriteError::Failed(status)) => return Err(status),
                }
            }
            if current.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn lock(&self, namespace: &str) -> Arc<tokio::sync::Mutex<Written>> {
        let mut namespaces = self.namespaces.lock();
        if namespaces.len() >= REMEMBERED && !namespaces.contains_key(namespace) {
            // One that is in use stays, so that nobody charges beside its holder.
            namespaces.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        namespaces.entry(namespace.to_owned()).or_default().clone()
    }
}

async fn store(
    context: &Context<'_>,
    (revision, quota): &(i64, Object),
    used: Amounts,
) -> Result<(i64, Object), WriteError> {
    let old = quota;
    let mut quota = quota.clone();
    quota.remove(&["metadata", "resourceVersion"]);
    for (name, amount) in used {
        quota.set(&["status", "used", &name], amount.to_string());
    }
    let mut request = bootstrap::status_request(&quota).map_err(WriteError::Failed)?;
    request.manager = Some(Manager { name: bootstrap::MANAGER.to_owned(), subresource: "status".to_owned() });
    fields::note(&request, Some(old), &mut quota, &now(), None);
    let (_, spec) = registry::find("", "v1", "resourcequotas").expect("ResourceQuota has a row");
    let key = context.etcd.key(spec, quota.namespace(), quota.name());
    let revision = context.etcd.put(&key, Bytes::from(quota.to_vec()), *revision).await?;
    Ok((revision, quota))
}

/// Whether the write takes anything.
fn handles(attributes: &Attributes<'_>, object: &Object) -> bool {
    let spec = &attributes.request.spec;
    let changes = || {
        let ends = |object: &Object| object.get(&["spec"]).is_some_and(quota::terminates);
        attributes.old.is_some_and(|old| ends(old) != ends(object))
    };
    match (attributes.operation, attributes.request.subresource.as_str()) {
        (Operation::Create, "") => true,
        (Operation::Update, "resize") => attributes.is("pods/resize"),
        (Operation::Update, "") => {
            spec.group().is_empty()
                && match spec.resource() {
                    "services" | "persistentvolumeclaims" => true,
                    "pods" => changes(),
                    _ => false,
                }
        }
        _ => false,
    }
}

/// What of the quota is used with the write, by what is limited; `None` where the write changes nothing of it.
fn charged(attributes: &Attributes<'_>, resource_quota: &Object, object: &Object) -> Result<Option<Amounts>, Status> {
    let spec = &attributes.request.spec;
    let (group, resource) = (spec.group(), spec.resource());
    let (tree, limits) = (object.value(), resource_quota.value());
    let hard = quota::amounts(&limits["status"]["hard"]);
    let concerned: Vec<&str> =
        hard.keys().map(String::as_str).filter(|name| quota::concerns(group, resource, name)).collect();
    if concerned.is_empty() || !quota::in_scopes(limits, resource, tree) {
        return Ok(None);
    }
    let name = resource_quota.name();
    if (group, resource) == ("", "pods") {
        let missing = quota::unsaid(tree, concerned.iter().copied());
        if !missing.is_empty() {
            let list = missing.iter().map(|(amount, containers)| {
                let containers: Vec<&str> = containers.iter().map(String::as_str).collect();
                format!("{amount} for: {}", containers.join(","))
            });
            let list = list.collect::<Vec<_>>().join("; ");
            return Err(attributes.forbidden(format!("failed quota: {name}: must specify {list}")));
        }
    }
    let used = quota::amounts(&limits["status"]["used"]);
    if concerned.iter().any(|amount| !used.contains_key(*amount)) {
        let list = concerned.join(",");
        return Err(attributes.forbidden(format!("status unknown for quota: {name}, resources: {list}")));
    }
    let mut taken = quota::of(group, resource, tree);
    let negative: Vec<&str> =
        taken.iter().filter(|(_, amount)| **amount < Quantity::ZERO).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        let list = negative.join(",");
        return Err(attributes.forbidden(format!("quota usage is negative for resource(s): {list}")));
    }
    if let Some(old) = attributes.old {
        let old = old.value();
        if quota::in_scopes(limits, resource, old) {
            // What shrinks is given back when it is counted, not here: the write may still fail.
            for (name, before) in quota::of(group, resource, old) {
                if let Some(amount) = taken.get_mut(&name) {
                    *amount = amount.minus(before).max(Quantity::ZERO);
                }
            }
        }
    }
    taken.retain(|name, amount| !amount.is_zero() && hard.contains_key(name));
    if taken.is_empty() {
        return Ok(None);
    }
    let mut sum = BTreeMap::new();
    let mut exceeded = Vec::new();
    for (name, amount) in &taken {
        let new = used.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
        if hard.get(name).is_some_and(|most| new > *most) {
            exceeded.push(name.as_str());
        }
        sum.insert(name.clone(), new);
    }
    if exceeded.is_empty() {
        return Ok(Some(sum));
    }
    let shown = |all: &Amounts| {
        let one = |name: &&str| format!("{name}={}", all.get(*name).copied().unwrap_or(Quantity::ZERO));
        exceeded.iter().map(one).collect::<Vec<_>>().join(",")
    };
    let (asked, used, most) = (shown(&taken), shown(&used), shown(&hard));
    Err(attributes.forbidden(format!("exceeded quota: {name}, requested: {asked}, used: {used}, limited: {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn writes_are_charged_up_to_the_limit() {
        let request =
            |method, path| crate::request::parse(&registry::Registry::default(), &method, path, None).unwrap().unwrap();
        let pods = request(http::Method::POST, "/api/v1/namespaces/a/pods");
        let attributes = Attributes::new(Operation::Create, &pods, "p", None);
        let quota = |hard: Value, used: Value| {
            object(json!({"metadata": {"name": "q"}, "status": {"hard": hard, "used": used}}))
        };
        let pod = object(json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "600m"}}}]}}));
        let limited = json!({"pods": "2", "requests.cpu": "1"});
        let first = charged(&attributes, &quota(limited.clone(), json!({"pods": "0", "requests.cpu": "0"})), &pod);
        assert_eq!(first.unwrap().unwrap()["requests.cpu"].to_string(), "600m");
        let second = charged(&attributes, &quota(limited.clone(), json!({"pods": "1", "requests.cpu": "600m"})), &pod);
        let text = "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1";
        assert_eq!(second.unwrap_err().message, text);
        let unknown = charged(&attributes, &quota(limited, json!({})), &pod).unwrap_err();
        assert!(unknown.message.ends_with("status unknown for quota: q, resources: pods,requests.cpu"), "{unknown}");
        let unsaid = charged(&attributes, &quota(json!({"limits.cpu": "1"}), json!({"limits.cpu": "0"})), &pod);
        assert!(unsaid.unwrap_err().message.ends_with("failed quota: q: must specify limits.cpu for: c"));
        let elsewhere = charged(&attributes, &quota(json!({"services": "1"}), json!({"services": "0"})), &pod);
        assert_eq!(elsewhere.unwrap(), None);
    }

    #[test]
    fn an_update_is_charged_what_it_adds() {
        let path = "/api/v1/namespaces/a/services/s";
        let request =
            crate::request::parse(&registry::Registry::default(), &http::Method::PUT, path, None).unwrap().unwrap();
        let old = object(json!({"spec": {"type": "ClusterIP", "ports": [{"port": 1}]}}));
        let new = object(json!({"spec": {"type": "NodePort", "ports": [{"port": 1}]}}));
        let attributes = Attributes::new(Operation::Update, &request, "s", Some(&old));
        assert!(handles(&attributes, &new));
        let quota = object(json!({"metadata": {"name": "q"}, "status":
            {"hard": {"services": "1", "services.nodeports": "1"}, "used": {"services": "1", "services.nodeports": "0"}}}));
        let sum = charged(&attributes, &quota, &new).unwrap().unwrap();
        assert_eq!(sum.keys().map(String::as_str).collect::<Vec<_>>(), ["services.nodeports"]);
        assert_eq!(charged(&attributes, &quota, &old).unwrap(), None);
    }
}
