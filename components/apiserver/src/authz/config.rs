//! Who is asked whether somebody may: `AuthorizationConfiguration`, or the flags from before it. Pure.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use kinit_cel::{Program, Scope, Type};
use serde::Deserialize;

use crate::authn::condition;
use crate::options::{AuthorizationMode, AuthorizationOptions};
use crate::reload::check_kind;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    authorizers: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    name: String,
    webhook: Option<WebhookEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WebhookEntry {
    #[serde(default)]
    timeout: String,
    #[serde(default = "five_minutes", rename = "authorizedTTL")]
    authorized_ttl: String,
    #[serde(default = "half_a_minute", rename = "unauthorizedTTL")]
    unauthorized_ttl: String,
    #[serde(default = "yes")]
    cache_authorized_requests: bool,
    #[serde(default = "yes")]
    cache_unauthorized_requests: bool,
    #[serde(default)]
    subject_access_review_version: String,
    #[serde(default)]
    match_condition_subject_access_review_version: String,
    #[serde(default)]
    failure_policy: String,
    connection_info: ConnectionEntry,
    #[serde(default)]
    match_conditions: Vec<ConditionEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConnectionEntry {
    #[serde(default)]
    r#type: String,
    kube_config_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionEntry {
    #[serde(default)]
    expression: String,
}

fn five_minutes() -> String {
    "5m".into()
}

fn half_a_minute() -> String {
    "30s".into()
}

fn yes() -> bool {
    true
}

/// One who is asked.
#[derive(Debug)]
pub enum Entrant {
    /// With its name.
    Mode(AuthorizationMode, String),
    Webhook(WebhookConfig),
}

impl Entrant {
    /// The kind of authorizer, which a reload may not add or take away unless it is a webhook.
    pub fn mode(&self) -> AuthorizationMode {
        match self {
            Self::Mode(mode, _) => *mode,
            Self::Webhook(_) => AuthorizationMode::Webhook,
        }
    }
}

/// A webhook that is asked.
#[derive(Debug)]
pub struct WebhookConfig {
    pub name: String,
    pub kubeconfig: PathBuf,
    pub version: String,
    pub timeout: Duration,
    /// How long answers count; zero where they are not kept.
    pub allowed_for: Duration,
    pub refused_for: Duration,
    /// Whether a webhook that can't be asked refuses.
    pub refuses: bool,
    pub conditions: Vec<(String, Program)>,
}

/// What the flags say, without a file.
pub fn of_flags(options: &AuthorizationOptions) -> Result<Vec<Entrant>, String> {
    let modes = match options.modes.as_slice() {
        [] => &[AuthorizationMode::AlwaysAllow][..],
        modes => modes,
    };
    let mut seen = Vec::new();
    let mut entrants = Vec::new();
    for mode in modes {
        if seen.contains(mode) {
            return Err(format!("authorization-mode {modes:?} has mode specified more than once"));
        }
        seen.push(*mode);
        entrants.push(match (mode, &options.webhook_config_file) {
            (AuthorizationMode::Webhook, Some(file)) => Entrant::Webhook(WebhookConfig {
                name: "default".into(),
                kubeconfig: file.clone(),
                version: options.webhook_version.clone(),
                timeout: Duration::from_secs(30),
                allowed_for: options.webhook_allowed_for,
                refused_for: options.webhook_refused_for,
                refuses: false,
                conditions: Vec::new(),
            }),
            (AuthorizationMode::Webhook, None) => {
                return Err("authorization-mode Webhook's authorization config file not passed".into());
            }
            (AuthorizationMode::Abac, _) if options.policy_file.is_none() => {
                return Err("authorization-mode ABAC's authorization policy file not passed".into());
            }
            _ => Entrant::Mode(*mode, mode.name().to_lowercase()),
        });
    }
    for (flag, given, mode) in [
        ("authorization-webhook-config-file", options.webhook_config_file.is_some(), AuthorizationMode::Webhook),
        ("authorization-policy-file", options.policy_file.is_some(), AuthorizationMode::Abac),
    ] {
        if given && !seen.contains(&mode) {
            return Err(format!("cannot specify --{flag} without mode {mode:?}"));
        }
    }
    Ok(entrants)
}

/// Reads the file's text; the error names the fields that are wrong.
pub fn parse(text: &str) -> Result<Vec<Entrant>, String> {
    let file: File = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    check_kind(&file.kind, &file.api_version, "AuthorizationConfiguration", &["v1", "v1beta1"])?;
    let mut wrong = Vec::new();
    if file.authorizers.is_empty() {
        wrong.push("authorizers: Required value: at least one authorization mode must be defined".to_owned());
    }
    let (mut entrants, mut kinds, mut names) = (Vec::new(), HashSet::new(), HashSet::new());
    for (index, entry) in file.authorizers.iter().enumerate() {
        let path = format!("authorizers[{index}]");
        let mode = match entry.r#type.as_str() {
            "" => {
                wrong.push(format!("{path}.type: Required value"));
                continue;
            }
            "Node" => AuthorizationMode::Node,
            "RBAC" => AuthorizationMode::Rbac,
            "AlwaysAllow" => AuthorizationMode::AlwaysAllow,
            "AlwaysDeny" => AuthorizationMode::AlwaysDeny,
            "Webhook" => AuthorizationMode::Webhook,
            other => {
                let known = "\"AlwaysAllow\", \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"";
                wrong.push(format!("{path}.type: Unsupported value: {other:?}: supported values: {known}"));
                continue;
            }
        };
        if mode != AuthorizationMode::Webhook && !kinds.insert(entry.r#type.clone()) {
            wrong.push(format!("{path}.type: Duplicate value: {:?}", entry.r#type));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if entry.name.is_empty() {
            wrong.push(format!("{path}.name: Required value"));
        } else if !entry.name.chars().all(plain) {
            wrong.push(format!(
                "{path}.name: Invalid value: {:?}: a lowercase RFC 1123 subdomain is expected",
                entry.name
            ));
        } else if !names.insert(entry.name.clone()) {
            wrong.push(format!("{path}.name: Duplicate value: {:?}", entry.name));
        }
        match (mode, &entry.webhook) {
            (AuthorizationMode::Webhook, None) => {
                wrong.push(format!("{path}.webhook: Required value: required when type=Webhook"));
            }
            (AuthorizationMode::Webhook, Some(webhook)) => {
                let read = webhook.read(&entry.name, &format!("{path}.webhook"), &mut wrong);
                entrants.extend(read.map(Entrant::Webhook));
            }
            (_, Some(_)) => wrong
                .push(format!("{path}.webhook: Invalid value: \"non-null\": may only be specified when type=Webhook")),
            (mode, None) => entrants.push(Entrant::Mode(mode, entry.name.clone())),
        }
    }
    if wrong.is_empty() { Ok(entrants) } else { Err(wrong.join(", ")) }
}

impl WebhookEntry {
    fn read(&self, name: &str, path: &str, wrong: &mut Vec<String>) -> Option<WebhookConfig> {
        let before = wrong.len();
        let mut span = |field: &str, text: &str, most: Duration| {
            let read = kinit_duration::parse(text).ok().filter(|span| !span.is_zero() && *span <= most);
            if read.is_none() {
                let why = if text.is_empty() {
                    "Required value"
                } else {
                    "Invalid value: must be > 0s, and a timeout <= 30s"
                };
                wrong.push(format!("{path}.{field}: {why}"));
            }
            read.unwrap_or_default()
        };
        let timeout = span("timeout", &self.timeout, Duration::from_secs(30));
        let allowed_for = span("authorizedTTL", &self.authorized_ttl, Duration::MAX);
        let refused_for = span("unauthorizedTTL", &self.unauthorized_ttl, Duration::MAX);
        let mut one_of = |field: &str, value: &str, known: &[&str]| match value {
            value if known.contains(&value) => {}
            "" => wrong.push(format!("{path}.{field}: Required value")),
            other => wrong.push(format!("{path}.{field}: Unsupported value: {other:?}: supported values: {known:?}")),
        };
        one_of("subjectAccessReviewVersion", &self.subject_access_review_version, &["v1", "v1beta1"]);
        one_of("failurePolicy", &self.failure_policy, &["NoOpinion", "Deny"]);
        if !self.match_conditions.is_empty() {
            let field = "matchConditionSubjectAccessReviewVersion";
            one_of(field, &self.match_condition_subject_access_review_version, &["v1"]);
        }
        // Nothing but a file can tell the server how to reach a webhook: it has no account of its own.
        one_of("connectionInfo.type", &self.connection_info.r#type, &["KubeConfigFile"]);
        let file = self.connection_info.kube_config_file.clone().unwrap_or_default();
        if !file.is_absolute() {
            wrong.push(format!(
                "{path}.connectionInfo.kubeConfigFile: Invalid value: {file:?}: must be an absolute path"
            ));
        }
        if self.match_conditions.len() > 64 {
            wrong.push(format!("{path}.matchConditions: Too many: must have at most 64 items"));
        }
        let (mut conditions, mut seen) = (Vec::new(), HashSet::new());
        for (index, entry) in self.match_conditions.iter().enumerate() {
            let path = format!("{path}.matchConditions[{index}].expression");
            let source = entry.expression.trim();
            if source.is_empty() {
                wrong.push(format!("{path}: Required value"));
            } else if !seen.insert(source) {
                wrong.push(format!("{path}: Duplicate value: {source:?}"));
            } else {
                match compile(source) {
                    Ok(program) => conditions.push((source.to_owned(), program)),
                    Err(why) => wrong.push(format!("{path}: Invalid value: {source:?}: {why}")),
                }
            }
        }
        let kept = |keeps: bool, span: Duration| if keeps { span } else { Duration::ZERO };
        (wrong.len() == before).then(|| WebhookConfig {
            name: name.to_owned(),
            kubeconfig: file,
            version: self.subject_access_review_version.clone(),
            timeout,
            allowed_for: kept(self.cache_authorized_requests, allowed_for),
            refused_for: kept(self.cache_unauthorized_requests, refused_for),
            refuses: self.failure_policy == "Deny",
            conditions,
        })
    }
}

/// A condition over `request`, the question's `spec`.
fn compile(source: &str) -> Result<Program, String> {
    let scope = Scope { variables: [("request".to_owned(), Type::Dyn)].into(), structs: Vec::new() };
    condition(Program::compile(source, &scope).map_err(|error| format!("compilation failed: {error}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(authorizers: &str) -> Result<Vec<Entrant>, String> {
        parse(&format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n{authorizers}"
        ))
    }

    fn webhook(fields: &str) -> Result<Vec<Entrant>, String> {
        file(&format!(
            "- type: Webhook\n  name: w\n  webhook:\n    timeout: 3s\n    subjectAccessReviewVersion: v1\n    \
             failurePolicy: Deny\n    connectionInfo: {{type: KubeConfigFile, kubeConfigFile: /etc/w.conf}}\n{fields}- \
             {{type: Node, name: node}}\n- {{type: RBAC, name: rbac}}\n"
        ))
    }

    #[test]
    fn who_is_asked_comes_in_order() {
        let entrants = webhook(
            "    matchConditionSubjectAccessReviewVersion: v1\n    matchConditions:\n    - expression: \
             has(request.resourceAttributes)\n    - expression: request.user != 'a'\n",
        );
        let entrants = entrants.unwrap();
        let modes: Vec<AuthorizationMode> = entrants.iter().map(Entrant::mode).collect();
        assert_eq!(modes, [AuthorizationMode::Webhook, AuthorizationMode::Node, AuthorizationMode::Rbac]);
        let Entrant::Webhook(config) = &entrants[0] else { panic!("a webhook") };
        assert_eq!((config.conditions.len(), config.refuses), (2, true));
        assert_eq!((config.allowed_for.as_secs(), config.refused_for.as_secs()), (300, 30));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let cases = [
            (file(" []"), "at least one authorization mode"),
            (file("- {type: RBAC, name: a}\n- {type: RBAC, name: b}"), "type: Duplicate value"),
            (file("- {type: RBAC, name: a}\n- {type: Node, name: a}"), "name: Duplicate value"),
            (file("- {type: Nobody, name: a}"), "Unsupported value: \"Nobody\""),
            (file("- {type: RBAC}"), "name: Required value"),
            (file("- {type: Webhook, name: a}"), "required when type=Webhook"),
            (webhook("    authorizedTTL: 0s\n"), "authorizedTTL: Invalid value"),
            (
                webhook("    matchConditions: [{expression: 'true'}]\n"),
                "matchConditionSubjectAccessReviewVersion: Required",
            ),
            (
                webhook("    matchConditionSubjectAccessReviewVersion: v1\n    matchConditions: [{expression: '1'}]\n"),
                "must evaluate to bool",
            ),
        ];
        for (found, wanted) in cases {
            let error = found.err().unwrap_or_default();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
    }
}
