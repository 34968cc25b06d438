//! What every cluster has from its first minute: namespaces, roles, priority classes, and the API's own Service.
//!
//! It is written as soon as etcd answers, before the server says that it is ready. What is there already stays, except
//! that default roles get back what they lack, flow control what nobody has taken over, and that the API's endpoints are kept to the servers that live.

use std::time::Duration;

use futures::StreamExt;
use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::authn::User;
use crate::authz::bootstrap as roles;
use crate::endpoints;
use crate::fields::Manager;
use crate::handlers::Api;
use crate::request::{self, ResourceRequest};

/// Who is noted as the manager of what the server writes, and of its objects of flow control.
pub(crate) const MANAGER: &str = "kube-apiserver";
const FLOWS_MANAGER: &str = "api-priority-and-fairness-config-producer-v1";
const FLOWS: &str = "flowcontrol.apiserver.k8s.io";

/// Default objects that are written at the same time.
const AT_ONCE: usize = 32;
const RETRY: Duration = Duration::from_millis(200);
/// How often the API's Service and endpoints are looked at.
const ENDPOINTS_EVERY: Duration = Duration::from_secs(10);
/// After how many of these rounds the objects of flow control are looked at.
const FLOWS_EVERY: u64 = 6;
/// A server that ends waits no longer than this for etcd.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Writes everything, sets `done`, and then keeps the API's endpoints until `shutdown`.
pub async fn run(api: Api, port: u16, done: watch::Sender<bool>, shutdown: CancellationToken) {
    let work = async {
        api.cache.wait_until_synced().await;
        let (spaces, others): (Vec<Value>, Vec<Value>) =
            objects(&api).into_iter().partition(|object| object["kind"] == "Namespace");
        for step in [spaces, others] {
            let writes = step.into_iter().map(|object| until_written(&api, object));
            futures::stream::iter(writes).buffer_unordered(AT_ONCE).collect::<()>().await;
        }
        for round in 1u64.. {
            if let Err(error) = keep_service(&api, port).await {
                tracing::warn!(%error, "the Service default/kubernetes could not be kept");
            }
            if let Err(error) = tell_ready(&api).await {
                tracing::debug!(%error, "the ServiceCIDR's condition could not be written");
            }
            done.send_replace(true);
            if round.is_multiple_of(FLOWS_EVERY) {
                for object in crate::flow::defaults::objects() {
                    // What fails is tried again in the next of these rounds.
                    let _ = ensure(&api, &object).await;
                }
            }
            tokio::time::sleep(ENDPOINTS_EVERY).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work => {}
    }
    if let Some(address) = api.options.own_address() {
        // Whoever cannot be told finds out when the key ends.
        let _ = tokio::time::timeout(LEAVE_WITHIN, endpoints::leave(&api.etcd, address)).await;
    }
}

fn objects(api: &Api) -> Vec<Value> {
    let mut objects: Vec<Value> = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    objects.extend(roles::objects());
    for (name, value, what) in [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ] {
        objects.push(json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": what,
        }));
    }
    let ranges: Vec<String> =
        api.options.service_cluster_ip_range.iter().map(|range| range.trunc().to_string()).collect();
    objects.push(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ranges},
    }));
    objects.extend(crate::flow::defaults::objects());
    objects.extend(authentication(api));
    // Since when it is known which tokens of old are used; clean-up counts from that day.
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    objects.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"since": today},
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"}}));
    objects
}

/// Says that the range of the Services' addresses is ready, once.
async fn tell_ready(api: &Api) -> Result<(), Status> {
    const GROUP: &str = "networking.k8s.io";
    let found = api.cache.find(GROUP, "servicecidrs", "", "kubernetes").and_then(|entry| entry.object());
    let Some(mut range) = found else { return Ok(()) };
    let conditions = range.get(&["status", "conditions"]).and_then(Value::as_array);
    if conditions.is_some_and(|conditions| !conditions.is_empty()) {
        return Ok(());
    }
    let condition = json!({"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": crate::handlers::now(),
        "message": "Kubernetes default Service CIDR is ready"});
    range.set(&["status", "conditions"], vec![condition]);
    let update = status_request(&range)?;
    api.store_changed(&update, range).await
}

/// How aggregated servers are to know this server and its clients.
fn authentication(api: &Api) -> Option<Value> {
    let options = &api.options.authentication;
    let read = |path: &Option<std::path::PathBuf>| std::fs::read_to_string(path.as_deref()?).ok();
    let mut data = serde_json::Map::new();
    if let Some(pem) = read(&options.client_ca_file) {
        data.insert("client-ca-file".into(), pem.into());
    }
    if let Some(pem) = read(&options.requestheader_client_ca_file) {
        data.insert("requestheader-client-ca-file".into(), pem.into());
        for (field, list) in [
            ("requestheader-allowed-names", &options.requestheader_allowed_names),
            ("requestheader-username-headers", &options.requestheader_username_headers),
            ("requestheader-uid-headers", &options.requestheader_uid_headers),
            ("requestheader-group-headers", &options.requestheader_group_headers),
            ("requestheader-extra-headers-prefix", &options.requestheader_extra_headers_prefix),
        ] {
            data.insert(field.into(), json!(list).to_string().into());
        }
    }
    (!data.is_empty()).then(|| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}})
    })
}

async fn until_written(api: &Api, default: Value) {
    loop {
        match ensure(api, &default).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, kind = %default["kind"], "not written yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Creates an object that is not there, and mends one that lacks something of its default.
async fn ensure(api: &Api, default: &Value) -> Result<(), Status> {
    let wanted = request(default)?;
    let name = default["metadata"]["name"].as_str().unwrap_or_default();
    let stored = api.cache.find(wanted.spec.group(), wanted.spec.resource(), &wanted.namespace, name);
    let Some(stored) = stored.and_then(|entry| entry.object()) else {
        let object = Object::from_value(default.clone()).ok_or_else(Status::no_such_path)?;
        return match api.store_new(&wanted, object).await {
            Err(status) if status.reason == "AlreadyExists" => Ok(()),
            other => other.map(|_| ()),
        };
    };
    let mended = match default["kind"].as_str() {
        Some("ConfigMap") if default["data"].get("since").is_none() => {
            let mut mended = stored.clone();
            mended.set(&["data"], default["data"].clone());
            (mended != stored).then_some(mended)
        }
        _ if wanted.spec.group() == "rbac.authorization.k8s.io" => {
            roles::reconciled(&stored.into_value(), default).and_then(Object::from_value)
        }
        _ if wanted.spec.group() == FLOWS => crate::flow::defaults::mended(&stored, default),
        _ => None,
    };
    let Some(mended) = mended else { return Ok(()) };
    let mut update = wanted;
    name.clone_into(&mut update.name);
    api.store_changed(&update, mended).await
}

/// The request, by the server itself, that an object's creation is, with the manager that upstream notes.
pub(crate) fn request(object: &Value) -> Result<ResourceRequest, Status> {
    let (group_version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    let spec = crate::registry::RESOURCES
        .iter()
        .find(|spec| Some(spec.api_version().as_str()) == group_version && Some(spec.kind()) == kind)
        .ok_or_else(Status::no_such_path)?;
    let root = if spec.group().is_empty() { "/api/".to_owned() } else { format!("/apis/{}/", spec.group()) };
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let within = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    let path = format!("{root}{}{within}/{}", spec.version(), spec.resource());
    let mut request = request::parse(&crate::registry::Registry::default(), &http::Method::POST, &path, None)?
        .ok_or_else(Status::no_such_path)?;
    request.user = std::sync::Arc::new(User::server());
    let manager = if spec.group() == FLOWS { FLOWS_MANAGER } else { MANAGER };
    request.manager = Some(Manager { name: manager.to_owned(), subresource: String::new() });
    Ok(request)
}

/// The request, by the server itself, that an update of an object's status is; nobody is noted as its manager.
pub(crate) fn status_request(object: &Object) -> Result<ResourceRequest, Status> {
    let mut request = request(object.value())?;
    object.name().clone_into(&mut request.name);
    request.subresource = "status".to_owned();
    request.internal = true;
    request.manager = None;
    Ok(request)
}

/// Keeps the Service default/kubernetes and its endpoints, the servers that live.
async fn keep_service(api: &Api, port: u16) -> Result<(), Status> {
    let Some(address) = api.options.own_address() else { return Ok(()) };
    let cluster_ip = api.options.kubernetes_service_ip();
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    ensure(
        api,
        &json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
            "spec": {
                "clusterIP": cluster_ip.to_string(), "type": "ClusterIP", "sessionAffinity": "None",
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            },
        }),
    )
    .await?;
    let all = endpoints::living(&api.etcd, address).await?;
    if address.is_loopback() {
        // Nobody else could reach it there, and endpoints may not be such addresses.
        return Ok(());
    }
    for (wanted, field) in endpoints::objects(&all, port) {
        keep(api, wanted, field).await?;
    }
    Ok(())
}

/// Creates the object, or makes the stored one's `field` and ports what is wanted.
async fn keep(api: &Api, wanted: Value, field: &str) -> Result<(), Status> {
    ensure(api, &wanted).await?;
    let mut update = request(&wanted)?;
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    let found = api.cache.find(update.spec.group(), update.spec.resource(), &update.namespace, name);
    let Some(stored) = found.and_then(|entry| entry.object()) else { return Ok(()) };
    if stored.get(&[field]) == Some(&wanted[field]) {
        return Ok(());
    }
    name.clone_into(&mut update.name);
    let mut kept = stored;
    kept.set(&[field], wanted[field].clone());
    api.store_changed(&update, kept).await
}
