//! The objects: Pods as a Deployment makes them, with a sidecar, mounts and a status; and many requests at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Body, Client};

pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The path of a namespace's Pods.
pub fn path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// A Pod of about 2 KB.
pub fn pod(name: &str) -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.org/team/{name}:v1.2.3"),
            "args": ["--listen=:8080", "--log-level=info"],
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "MODE", "value": "production"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}],
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "load", "pod-template-hash": "5d9c7b6f8", "tier": "web"}},
        "spec": {
            "automountServiceAccountToken": false,
            "volumes": [{"name": "config", "configMap": {"name": "settings"}}],
            "containers": [container("server"), container("sidecar")],
            "nodeSelector": {"load.example.org/none": "true"},
        },
    })
}

pub fn body(value: &Value) -> Body<'static> {
    Body { kind: JSON, bytes: Bytes::from(value.to_string()) }
}

/// Makes a namespace, if it is not there.
pub async fn namespace(client: &Client, name: &str) -> Result<()> {
    let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let (status, bytes) = client.ask(Method::POST, "/api/v1/namespaces", JSON, Some(body(&value))).await?;
    anyhow::ensure!(matches!(status, 201 | 409), "{status} {}", String::from_utf8_lossy(&bytes));
    // A Pod's account is made by a controller, which need not be there.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
    let (status, bytes) = client.ask(Method::POST, &path, JSON, Some(body(&account))).await?;
    anyhow::ensure!(matches!(status, 201 | 409), "{status} {}", String::from_utf8_lossy(&bytes));
    Ok(())
}

/// Removes all Pods of a namespace.
pub async fn clear(client: &Client, namespace: &str) -> Result<()> {
    let path = format!("{}?gracePeriodSeconds=0", path(namespace));
    client.must(Method::DELETE, &path, JSON, None).await.map(drop)
}

/// Does something for each number below `count`, `clients` at once, and gives the time of each.
pub async fn each<F, R>(count: usize, clients: usize, make: F) -> Result<Vec<Duration>>
where
    F: Fn(usize) -> R,
    R: Future<Output = Result<()>>,
{
    let timed = |at: usize| {
        let work = make(at);
        async move {
            let begun = Instant::now();
            work.await?;
            Ok::<_, anyhow::Error>(begun.elapsed())
        }
    };
    let mut all = futures::stream::iter((0..count).map(timed)).buffer_unordered(clients);
    let mut times = Vec::with_capacity(count);
    while let Some(time) = all.next().await {
        times.push(time?);
    }
    Ok(times)
}

/// Makes Pods `p0`, `p1` and so on that are not there yet.
pub async fn fill(client: &Client, namespace: &str, count: usize) -> Result<()> {
    self::namespace(client, namespace).await?;
    let path = path(namespace);
    each(count, 200, |at| {
        let (client, path) = (client.clone(), path.clone());
        async move {
            let (status, bytes) = client.ask(Method::POST, &path, JSON, Some(body(&pod(&format!("p{at}"))))).await?;
            anyhow::ensure!(matches!(status, 201 | 409), "{status} {}", String::from_utf8_lossy(&bytes));
            Ok(())
        }
    })
    .await
    .map(drop)
}
