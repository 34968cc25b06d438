//! ImagePolicyWebhook: a server that a file names is asked about the images of Pods.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate::text::qualified_name;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Attributes, CHANGES};
use crate::recent::Recent;
use crate::remote::Remote;

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many of its answers are kept.
const REMEMBERED: usize = 1024;
/// What the keys of audit annotations begin with.
const PREFIX: &str = "imagepolicywebhook.image-policy.k8s.io/";
/// The annotations of a Pod that the server is told have this in their keys.
const TOLD: &str = ".image-policy.k8s.io/";

/// The plugin's file. Spans are in seconds, the wait before a second call in milliseconds; 0 is the default, and -1 none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Settings {
    kube_config_file: PathBuf,
    #[serde(rename = "allowTTL")]
    allow: i64,
    #[serde(rename = "denyTTL")]
    deny: i64,
    retry_backoff: i64,
    default_allow: bool,
}

/// The server, and what it has said.
pub struct ImagePolicy {
    remote: Remote,
    allowed_for: Duration,
    refused_for: Duration,
    fails_open: bool,
    recent: Recent<String, Verdict>,
}

/// A review's status.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, rename_all = "camelCase")]
struct Verdict {
    allowed: bool,
    reason: String,
    audit_annotations: Map<String, Value>,
}

impl ImagePolicy {
    /// The error names the field or the file that is wrong.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let span = |field: &str, value: i64, unit: Duration, least: Duration, most: Duration, default: Duration| {
            let span = match value {
                -1 => return Ok(Duration::ZERO),
                0 => return Ok(default),
                value => u32::try_from(value).ok().map(|value| unit * value),
            };
            let span = span.filter(|span| (least..=most).contains(span));
            let format = kinit_duration::format;
            span.with_context(|| {
                format!("{field}: valid value is between {} and {}, got {value}", format(least), format(most))
            })
        };
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let milli = Duration::from_millis(1);
        let backoff = span("retryBackoff", settings.retry_backoff, milli, milli, 5 * minute, 500 * milli)?;
        ensure!(!settings.kube_config_file.as_os_str().is_empty(), "kubeConfigFile: Required value");
        Ok(Self {
            allowed_for: span("allowTTL", settings.allow, second, second, 30 * minute, 5 * minute)?,
            refused_for: span("denyTTL", settings.deny, second, second, 30 * minute, 30 * second)?,
            remote: Remote::load(&settings.kube_config_file).context("kubeConfigFile")?.with_backoff(backoff),
            fails_open: settings.default_allow,
            recent: Recent::new(REMEMBERED),
        })
    }

    /// Refuses a Pod whose images the server does not want, or about which it cannot be asked where it insists.
    pub async fn check(&self, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
        let Some(spec) = question(attributes, pod) else { return Ok(()) };
        let key = spec.to_string();
        let verdict = match self.recent.get(&key) {
            Some(verdict) => verdict,
            None => match self.ask(spec).await {
                Ok(verdict) => {
                    let lasts = if verdict.allowed { self.allowed_for } else { self.refused_for };
                    self.recent.keep(key, verdict.clone(), lasts);
                    verdict
                }
                Err(why) if self.fails_open => {
                    tracing::warn!(why, "the server that images are asked of gave no answer; its policy is to go on");
                    attributes.request.annotations.add(format!("{PREFIX}failed-open"), "true");
                    return Ok(());
                }
                Err(why) => return Err(attributes.forbidden(why)),
            },
        };
        for (key, value) in &verdict.audit_annotations {
            let key = format!("{PREFIX}{key}");
            match value.as_str().filter(|_| qualified_name(&key).is_empty()) {
                Some(value) => attributes.request.annotations.add(key, value),
                None => tracing::warn!(key, "an audit annotation of the server for images is none"),
            }
        }
        match (verdict.allowed, &*verdict.reason) {
            (true, _) => Ok(()),
            (false, "") => Err(attributes.forbidden("one or more images rejected by webhook backend")),
            (false, reason) => {
                Err(attributes.forbidden(format!("image policy webhook backend denied one or more images: {reason}")))
            }
        }
    }

    async fn ask(&self, spec: Value) -> Result<Verdict, String> {
        let review = json!({"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": {},
            "spec": spec, "status": {"allowed": false}});
        let mut answer = self.remote.ask(&review, TIMEOUT).await?;
        serde_json::from_value(answer["status"].take()).map_err(|error| error.to_string())
    }
}

/// What is asked of a Pod, or of the ephemeral containers that it gets; `None` of all else.
fn question(attributes: &Attributes<'_>, pod: &Object) -> Option<Value> {
    let kinds: &[&str] = match () {
        () if !CHANGES.contains(&attributes.operation) => return None,
        () if attributes.is("pods") => &["containers", "initContainers"],
        () if attributes.is("pods/ephemeralcontainers") => &["ephemeralContainers"],
        () => return None,
    };
    let images = kinds.iter().flat_map(|kind| pod.get(&["spec", kind]).and_then(Value::as_array).into_iter().flatten());
    let containers: Vec<Value> = images.map(|container| json!({"image": container["image"]})).collect();
    let annotations = pod.get(&["metadata", "annotations"]).and_then(Value::as_object).into_iter().flatten();
    let told: Map<String, Value> =
        annotations.filter(|(key, _)| key.contains(TOLD)).map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut spec = json!({"containers": containers, "namespace": attributes.request.authorized_namespace()});
    if !told.is_empty() {
        spec["annotations"] = Value::Object(told);
    }
    Some(spec)
}
