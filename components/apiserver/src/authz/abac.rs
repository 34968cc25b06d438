//! Attribute-based access control: a file with a policy in each line.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::rbac::Ask;
use crate::authn::{AUTHENTICATED, User};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Line {
    api_version: String,
    kind: String,
    spec: Policy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct Policy {
    user: String,
    group: String,
    readonly: bool,
    #[serde(rename = "apiGroup")]
    api_group: String,
    resource: String,
    namespace: String,
    non_resource_path: String,
}

/// The policies of a file.
#[derive(Debug)]
pub struct Abac(Vec<Policy>);

impl Abac {
    /// Reads the file; errors name it and the line.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
        let mut policies = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let line: Line = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
            let version = "abac.authorization.kubernetes.io/v1beta1";
            let known = line.api_version == version && line.kind == "Policy";
            anyhow::ensure!(known, "line {number}: a Policy of {version} is expected");
            policies.push(line.spec);
        }
        Ok(Self(policies))
    }

    /// Whether a policy allows what is asked.
    pub fn allows(&self, user: &User, ask: &Ask<'_>) -> bool {
        self.0.iter().any(|policy| policy.is_of(user) && policy.allows(ask))
    }
}

impl Policy {
    fn is_of(&self, user: &User) -> bool {
        let everybody = |group: &str| group == "*" && user.in_group(AUTHENTICATED);
        let named = self.user.is_empty() || everybody(&self.user) || self.user == user.name;
        let grouped = self.group.is_empty() || everybody(&self.group) || user.in_group(&self.group);
        named && grouped && !(self.user.is_empty() && self.group.is_empty())
    }

    fn allows(&self, ask: &Ask<'_>) -> bool {
        let is = |own: &str, asked: &str| own == "*" || own == asked;
        match *ask {
            Ask::Resource { verb, group, resource, namespace, .. } => {
                (!self.readonly || matches!(verb, "get" | "list" | "watch"))
                    && is(&self.namespace, namespace)
                    && is(&self.resource, resource)
                    && is(&self.api_group, group)
            }
            Ask::Path { verb, path } => {
                let start = self.non_resource_path.strip_suffix('*');
                (!self.readonly || matches!(verb, "get" | "list" | "watch"))
                    && (self.non_resource_path == path || start.is_some_and(|start| path.starts_with(start)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_allow_what_they_name() {
        let line = |spec: &str| {
            format!(
                "{{\"apiVersion\":\"abac.authorization.kubernetes.io/v1beta1\",\"kind\":\"Policy\",\"spec\":{spec}}}\n"
            )
        };
        let text = line(r#"{"user":"ann","namespace":"x","resource":"pods","apiGroup":"*","readonly":true}"#)
            + "# a comment\n"
            + &line(r#"{"group":"*","nonResourcePath":"/health*","readonly":true}"#)
            + &line(r#"{"namespace":"*","resource":"*","apiGroup":"*"}"#);
        let abac = Abac::parse(&text).unwrap();
        let pods =
            |verb, namespace| Ask::Resource { verb, group: "", resource: "pods", subresource: "", name: "", namespace };
        let ann = User::new("ann", &[AUTHENTICATED]);
        assert!(abac.allows(&ann, &pods("list", "x")));
        assert!(!abac.allows(&ann, &pods("create", "x")) && !abac.allows(&ann, &pods("list", "y")));
        assert!(!abac.allows(&User::new("bob", &[AUTHENTICATED]), &pods("list", "x")));
        assert!(abac.allows(&User::new("bob", &[AUTHENTICATED]), &Ask::Path { verb: "get", path: "/healthz" }));
        assert!(!abac.allows(&User::anonymous(), &Ask::Path { verb: "get", path: "/healthz" }));
        assert!(Abac::parse("{}").is_err());
    }
}
