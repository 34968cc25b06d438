//! Asking a webhook whether somebody may, by `SubjectAccessReview`.

use kinit_cel::{CALL_LIMIT, MATCH_BUDGET, Value as Cel};
use serde_json::{Value, json};

use super::config::WebhookConfig;
use super::rbac::Ask;
use crate::authn::User;
use crate::recent::Recent;
use crate::remote::Remote;

/// How many answers are kept, and of which questions at most, in bytes.
const REMEMBERED: usize = 8192;
const MAX_QUESTION: usize = 10_000;

/// What one who is asked says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    Allow,
    /// Whoever else would be asked is not.
    Refuse,
    None,
}

/// An opinion and what goes with it; either text may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub opinion: Opinion,
    pub reason: String,
    /// Why the opinion may not be the webhook's.
    pub error: String,
}

/// A webhook and its answers.
pub struct Webhook {
    config: WebhookConfig,
    remote: Remote,
    recent: Recent<String, Verdict>,
}

impl Webhook {
    pub fn new(config: WebhookConfig) -> anyhow::Result<Self> {
        let remote = Remote::load(&config.kubeconfig)?;
        Ok(Self { config, remote, recent: Recent::new(REMEMBERED) })
    }

    /// What is known of the question without asking; the question otherwise.
    pub fn known(&self, user: &User, ask: &Ask<'_>) -> Result<Verdict, Value> {
        let spec = question(user, ask);
        match self.asked(&spec) {
            Ok(true) => {}
            Ok(false) => return Ok(Opinion::None.because("")),
            Err(why) => return Ok(self.failed(&why)),
        }
        self.recent.get(&spec.to_string()).ok_or(spec)
    }

    /// Asks.
    pub async fn ask(&self, spec: Value) -> Verdict {
        let review = json!({"kind": "SubjectAccessReview", "metadata": {}, "spec": written(&spec, &self.config.version),
            "apiVersion": format!("authorization.k8s.io/{}", self.config.version), "status": {"allowed": false}});
        let answer = self.remote.ask(&review, self.config.timeout).await;
        let verdict = match answer {
            Ok(answer) => read(&answer["status"]),
            Err(why) => return self.failed(&why),
        };
        let allowed = verdict.opinion == Opinion::Allow;
        let lasts = if allowed { self.config.allowed_for } else { self.config.refused_for };
        let key = spec.to_string();
        if key.len() < MAX_QUESTION {
            self.recent.keep(key, verdict.clone(), lasts);
        }
        verdict
    }

    /// Whether the conditions let the question through.
    fn asked(&self, spec: &Value) -> Result<bool, String> {
        let mut budget = MATCH_BUDGET;
        let mut failed = Ok(true);
        for (source, program) in &self.config.conditions {
            let given = [("request", Cel::of_json(spec, None))];
            let (result, cost) = program.run(&given, CALL_LIMIT.min(budget));
            budget = budget.saturating_sub(cost);
            match result {
                Ok(Cel::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(error) => failed = Err(format!("expression '{source}' resulted in error: {error}")),
            }
        }
        failed
    }

    fn failed(&self, why: &str) -> Verdict {
        tracing::warn!(why, name = self.config.name, "a webhook for authorization gave no answer");
        let opinion = if self.config.refuses { Opinion::Refuse } else { Opinion::None };
        Verdict { error: why.to_owned(), ..opinion.because("") }
    }
}

impl Opinion {
    fn because(self, reason: &str) -> Verdict {
        Verdict { opinion: self, reason: reason.to_owned(), error: String::new() }
    }
}

/// The question's `spec`, with every field that conditions may look at.
fn question(user: &User, ask: &Ask<'_>) -> Value {
    let mut spec = json!({"user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
    match *ask {
        Ask::Resource { verb, group, resource, subresource, name, namespace } => {
            spec["resourceAttributes"] = json!({"verb": verb, "group": group, "resource": resource,
                "subresource": subresource, "name": name, "namespace": namespace, "version": "*"});
        }
        Ask::Path { verb, path } => spec["nonResourceAttributes"] = json!({"verb": verb, "path": path}),
    }
    spec
}

/// The question without what is empty; the first beta calls groups otherwise.
fn written(spec: &Value, version: &str) -> Value {
    let full = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let mut written = serde_json::Map::new();
    for (field, value) in spec.as_object().into_iter().flatten().filter(|(_, value)| full(value)) {
        let name = if version == "v1beta1" && field == "groups" { "group" } else { field };
        let value = match value {
            Value::Object(fields) if field.ends_with("Attributes") => fields
                .iter()
                .filter(|(_, value)| full(value))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            other => other.clone(),
        };
        written.insert(name.to_owned(), value);
    }
    Value::Object(written)
}

/// What an answer says. One that says both yes and no means no, and is an error.
fn read(status: &Value) -> Verdict {
    let flag = |name: &str| status[name] == true;
    let reason = status["reason"].as_str().unwrap_or_default();
    match (flag("allowed"), flag("denied")) {
        (true, true) => Verdict {
            error: "webhook subject access review returned both allow and deny response".to_owned(),
            ..Opinion::Refuse.because(reason)
        },
        (true, false) => Opinion::Allow.because(reason),
        (false, true) => Opinion::Refuse.because(reason),
        (false, false) => Opinion::None.because(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_have_the_fields_of_reviews() {
        let ask = Ask::Resource { verb: "get", group: "", resource: "pods", subresource: "", name: "", namespace: "x" };
        let spec = question(&User::new("ann", &["a"]), &ask);
        assert_eq!(spec["resourceAttributes"]["name"], "");
        let sent = written(&spec, "v1");
        let attributes = json!({"verb": "get", "resource": "pods", "namespace": "x", "version": "*"});
        assert_eq!(sent, json!({"user": "ann", "groups": ["a"], "resourceAttributes": attributes}));
        assert_eq!(written(&spec, "v1beta1")["group"], json!(["a"]));
        let path = question(&User::anonymous(), &Ask::Path { verb: "get", path: "/livez" });
        assert_eq!(written(&path, "v1")["nonResourceAttributes"]["path"], "/livez");
        assert_eq!(read(&json!({"allowed": true, "reason": "r"})), Opinion::Allow.because("r"));
        assert_eq!(read(&json!({"allowed": false, "denied": true})), Opinion::Refuse.because(""));
        assert_eq!(read(&json!({"allowed": false, "reason": "unknown"})), Opinion::None.because("unknown"));
        let both = read(&json!({"allowed": true, "denied": true}));
        assert!(both.opinion == Opinion::Refuse && both.error.ends_with("both allow and deny response"));
    }
}
