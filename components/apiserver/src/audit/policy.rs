//! `Policy` of `audit.k8s.io/v1`: how much of a request is noted, and at which stages. Pure.

use serde::Deserialize;

use crate::authn::User;

/// How much is noted of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When it is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// What a request is about, as rules know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub verb: String,
    pub path: String,
    /// Empty where the path names no resource.
    pub resource: String,
    pub subresource: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub name: String,
}

/// What the policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub level: Level,
    omitted: Vec<Stage>,
    pub omit_managed_fields: bool,
}

impl Verdict {
    pub fn notes(&self, stage: Stage) -> bool {
        !self.omitted.contains(&stage)
    }
}

impl Policy {
    /// Reads the file's text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = serde_yaml::from_str(text).map_err(|error| format!("failed decoding: {error}"))?;
        if (policy.api_version.as_str(), policy.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            let (version, kind) = (&policy.api_version, &policy.kind);
            return Err(format!("unknown group version field {version}, Kind={kind} in policy"));
        }
        let mut wrong = Vec::new();
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check(&format!("rules[{index}]"), &mut wrong);
        }
        match (wrong.as_slice(), policy.rules.is_empty()) {
            ([], false) => Ok(policy),
            ([], true) => Err("loaded illegal policy with 0 rules".into()),
            _ => Err(wrong.join(", ")),
        }
    }

    /// What the first rule that fits says.
    pub fn verdict(&self, user: &User, asked: &Asked) -> Verdict {
        match self.rules.iter().find(|rule| rule.fits(user, asked)) {
            Some(rule) => Verdict {
                level: rule.level,
                omitted: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
            },
            None => Verdict {
                level: Level::None,
                omitted: self.omit_stages.clone(),
                omit_managed_fields: self.omit_managed_fields,
            },
        }
    }
}

impl Rule {
    fn check(&self, path: &str, wrong: &mut Vec<String>) {
        for (index, url) in self.urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let mut refuse =
                |why: &str| wrong.push(format!("{path}.nonResourceURLs[{index}]: Invalid value: {url:?}: {why}"));
            if !url.starts_with('/') {
                refuse("non-resource URL rules must begin with a '/' character");
            }
            if url.strip_suffix('*').unwrap_or(url).contains('*') {
                refuse("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
        if !self.urls.is_empty() && (!self.resources.is_empty() || !self.namespaces.is_empty()) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            wrong.push(format!("{path}.nonResourceURLs: Invalid value: {why}"));
        }
        for group in &self.resources {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            if group.group != "*" && !group.group.chars().all(plain) {
                let why = "a lowercase RFC 1123 subdomain is expected, without a version";
                wrong.push(format!("{path}.resources.group: Invalid value: {:?}: {why}", group.group));
            }
            if group.resources.is_empty() && !group.resource_names.is_empty() {
                let why = "using resourceNames requires at least one resource";
                wrong.push(format!("{path}.resources.resourceNames: Invalid value: {why}"));
            }
        }
    }

    fn fits(&self, user: &User, asked: &Asked) -> bool {
        let any = |list: &[String], value: &str| list.is_empty() || list.iter().any(|own| own == value);
        if !any(&self.users, &user.name)
            || !any(&self.verbs, &asked.verb)
            || !self.user_groups.is_empty() && !self.user_groups.iter().any(|group| user.in_group(group))
        {
            return false;
        }
        let of_resource = !asked.resource.is_empty();
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let covered = || self.resources.is_empty() || self.resources.iter().any(|group| group.covers(asked));
            return of_resource && any(&self.namespaces, &asked.namespace) && covered();
        }
        let covers = |url: &String| {
            *url == asked.path || url.strip_suffix('*').is_some_and(|start| asked.path.starts_with(start))
        };
        self.urls.is_empty() || !of_resource && self.urls.iter().any(covers)
    }
}

impl GroupResources {
    fn covers(&self, asked: &Asked) -> bool {
        if self.group != "*" && self.group != asked.group {
            return false;
        }
        let named = self.resource_names.is_empty() || self.resource_names.contains(&asked.name);
        let covers = |own: &String| match (own.as_str(), asked.subresource.as_str()) {
            ("*", _) => true,
            (own, "") => own == asked.resource || own.strip_suffix("/*") == Some(&asked.resource),
            (own, subresource) => {
                let (of, sub) = own.split_once('/').unwrap_or((own, ""));
                (of == "*" || of == asked.resource) && sub == subresource || of == asked.resource && sub == "*"
            }
        };
        self.resources.is_empty() || named && self.resources.iter().any(covers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Result<Policy, String> {
        Policy::parse(&format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n{rules}"
        ))
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = policy(
            "- {level: None, users: ['system:kube-proxy'], verbs: [watch]}\n\
             - {level: None, nonResourceURLs: ['/healthz*', /version]}\n\
             - {level: Request, resources: [{group: '', resources: [pods/log, 'services/*']}]}\n\
             - {level: Metadata, resources: [{group: '', resources: [secrets], resourceNames: [a]}], omitStages: [Panic]}\n\
             - {level: RequestResponse, namespaces: [x], omitManagedFields: true}\n\
             - {level: Metadata, userGroups: [team]}\n",
        )
        .unwrap();
        let asked = |verb: &str, resource: &str, namespace: &str, name: &str| {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let path = if resource.starts_with('+') {
                resource.trim_start_matches('+').replace('.', "/")
            } else {
                String::new()
            };
            Asked {
                verb: verb.into(),
                resource: if path.is_empty() { resource.into() } else { String::new() },
                path,
                subresource: subresource.into(),
                namespace: namespace.into(),
                name: name.into(),
                ..Asked::default()
            }
        };
        let level = |user: &str, asked: Asked| policy.verdict(&User::new(user, &["team"]), &asked).level;
        let proxy = "system:kube-proxy";
        assert_eq!(level(proxy, asked("watch", "endpoints", "", "")), Level::None);
        assert_eq!(level(proxy, asked("get", "endpoints", "", "")), Level::Metadata);
        assert_eq!(level("a", asked("get", "+.healthz.etcd", "", "")), Level::None);
        assert_eq!(level("a", asked("get", "+.version", "", "")), Level::None);
        assert_eq!(level("a", asked("get", "pods/log", "x", "p")), Level::Request);
        assert_eq!(level("a", asked("get", "services/proxy", "y", "p")), Level::Request);
        assert_eq!(level("a", asked("get", "services", "y", "p")), Level::Request);
        assert_eq!(level("a", asked("get", "pods", "x", "p")), Level::RequestResponse);
        let verdict = policy.verdict(&User::new("a", &[]), &asked("get", "secrets", "y", "a"));
        assert_eq!(verdict.level, Level::Metadata);
        assert!(!verdict.notes(Stage::Panic) && !verdict.notes(Stage::RequestReceived));
        assert!(verdict.notes(Stage::ResponseComplete) && !verdict.omit_managed_fields);
        assert_eq!(policy.verdict(&User::new("a", &[]), &asked("get", "secrets", "y", "b")).level, Level::None);
    }

    #[test]
    fn policies_that_make_no_sense_are_refused() {
        let cases = [
            ("- {level: Some}", "unknown variant `Some`"),
            ("- {users: [a]}", "missing field `level`"),
            ("- {level: None, nonResourceURLs: [healthz]}", "must begin with a '/'"),
            ("- {level: None, nonResourceURLs: ['/a*b']}", "must be the final character"),
            ("- {level: None, nonResourceURLs: [/a], namespaces: [x]}", "both regular resources"),
            ("- {level: None, resources: [{group: apps/v1}]}", "without a version"),
            ("- {level: None, resources: [{resourceNames: [a]}]}", "requires at least one resource"),
            (" []", "0 rules"),
        ];
        for (rules, wanted) in cases {
            let error = policy(rules).err().unwrap_or_default();
            assert!(error.contains(wanted), "{rules}: {error}");
        }
        assert!(Policy::parse("kind: Policy\nrules: []").is_err());
    }
}
