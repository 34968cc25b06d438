//! Whether one RBAC rule allows one request, and whether rules cover rules; pure.

use serde_json::{Value, json};

/// What a user wants to do, in the words of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// Something with a resource. Empty fields: the core group, the object itself, all names, the cluster scope.
    Resource {
        verb: &'a str,
        group: &'a str,
        resource: &'a str,
        subresource: &'a str,
        name: &'a str,
        namespace: &'a str,
    },
    /// Something with a path that is no resource; the verb is the method in small letters.
    Path { verb: &'a str, path: &'a str },
}

/// One `PolicyRule`, read once, so that a decision allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty means every name.
    pub names: Vec<String>,
    pub urls: Vec<String>,
}

impl Rule {
    /// Reads a rule of a Role or ClusterRole; a missing or ill-typed list is empty, and so allows nothing.
    pub fn from_json(rule: &Value) -> Self {
        let list = |field: &str| {
            let items = rule[field].as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            urls: list("nonResourceURLs"),
        }
    }

    /// The rule as the API shows it, without its empty lists.
    pub fn to_json(&self) -> Value {
        let mut rule = json!({ "verbs": self.verbs });
        let lists = [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        for (field, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            rule[field] = json!(list);
        }
        rule
    }

    pub fn allows(&self, ask: &Ask<'_>) -> bool {
        match *ask {
            Ask::Path { verb, path } => has(&self.verbs, verb) && self.urls.iter().any(|own| url_covers(own, path)),
            Ask::Resource { verb, group, resource, subresource, name, .. } => {
                has(&self.verbs, verb)
                    && has(&self.groups, group)
                    && self.resources.iter().any(|own| resource_matches(own, resource, subresource))
                    && (self.names.is_empty() || self.names.iter().any(|own| own == name))
            }
        }
    }
}

/// The rules of a Role or ClusterRole.
pub fn rules_of(role: &Value) -> Vec<Rule> {
    role["rules"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(Rule::from_json).collect()
}

/// What of `wanted` no rule of `owned` covers, a simple rule for each combination; empty when its owner may grant it.
///
/// Names and resources are looked at one by one, because two owned rules may cover a wanted one only together.
pub fn uncovered(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(simple_rules).filter(|simple| !owned.iter().any(|own| covers(own, simple))).collect()
}

fn simple_rules(rule: &Rule) -> Vec<Rule> {
    let mut simple = Vec::new();
    let all_names = [String::new()];
    let names: &[String] = if rule.names.is_empty() { &all_names } else { &rule.names };
    for verb in &rule.verbs {
        let verbs = vec![verb.clone()];
        for group in &rule.groups {
            for resource in &rule.resources {
                for name in names {
                    simple.push(Rule {
                        verbs: verbs.clone(),
                        groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        names: if rule.names.is_empty() { Vec::new() } else { vec![name.clone()] },
                        urls: Vec::new(),
                    });
                }
            }
        }
        for url in &rule.urls {
            simple.push(Rule { verbs: verbs.clone(), urls: vec![url.clone()], ..Rule::default() });
        }
    }
    simple
}

/// Whether `own` allows all that `simple`, a rule of one combination, allows.
fn covers(own: &Rule, simple: &Rule) -> bool {
    let resource_covered = |wanted: &String| {
        let (resource, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
        own.resources.iter().any(|own| resource_matches(own, resource, subresource))
    };
    let names_covered =
        own.names.is_empty() || (!simple.names.is_empty() && simple.names.iter().all(|name| own.names.contains(name)));
    simple.verbs.iter().all(|verb| has(&own.verbs, verb))
        && simple.groups.iter().all(|group| has(&own.groups, group))
        && simple.resources.iter().all(resource_covered)
        && simple.urls.iter().all(|url| own.urls.iter().any(|own| url_covers(own, url)))
        && names_covered
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == "*" || own == wanted)
}

/// `*` is every resource and subresource, `*/scale` that subresource of all, `pods` the object without its subresources.
fn resource_matches(own: &str, resource: &str, subresource: &str) -> bool {
    if own == "*" {
        return true;
    }
    if subresource.is_empty() {
        return own == resource;
    }
    own.split_once('/').is_some_and(|(of, sub)| sub == subresource && (of == "*" || of == resource))
}

/// Only a star at the end is a wildcard.
fn url_covers(own: &str, path: &str) -> bool {
    own == path || own.strip_suffix('*').is_some_and(|start| path.starts_with(start.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
        let own = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        Rule { verbs: own(verbs), groups: own(groups), resources: own(resources), names: own(names), urls: Vec::new() }
    }

    #[test]
    fn rules_match_resources() {
        type List = &'static [&'static str];
        // The rule's verbs, groups, resources, names; asked verb, group, resource/subresource, name; whether allowed.
        type Case = (List, List, List, List, &'static str, &'static str, &'static str, &'static str, bool);
        let cases: &[Case] = &[
            (&["get"], &[""], &["pods"], &[], "get", "", "pods", "a", true),
            (&["get"], &[""], &["pods"], &[], "list", "", "pods", "", false),
            (&["*"], &[""], &["pods"], &[], "anything", "", "pods", "", true),
            (&["get"], &[""], &["pods"], &[], "get", "apps", "pods", "a", false),
            (&["get"], &["*"], &["pods"], &[], "get", "apps", "pods", "a", true),
            (&["get"], &[""], &["pods"], &[], "get", "", "pods/log", "a", false),
            (&["get"], &[""], &["pods/log"], &[], "get", "", "pods/log", "a", true),
            (&["get"], &[""], &["pods/log"], &[], "get", "", "pods", "a", false),
            (&["get"], &[""], &["*/scale"], &[], "get", "", "deployments/scale", "a", true),
            (&["get"], &[""], &["*/scale"], &[], "get", "", "deployments/status", "a", false),
            (&["get"], &[""], &["*/scale"], &[], "get", "", "scale", "a", false),
            (&["get"], &[""], &["pods/*"], &[], "get", "", "pods/log", "a", false),
            (&["get"], &[""], &["*"], &[], "get", "", "pods/log", "a", true),
            (&["get"], &[""], &["pods"], &["a"], "get", "", "pods", "a", true),
            (&["get"], &[""], &["pods"], &["a"], "get", "", "pods", "b", false),
            (&["list"], &[""], &["pods"], &["a"], "list", "", "pods", "", false),
            (&[], &["*"], &["*"], &[], "get", "", "pods", "a", false),
        ];
        for (verbs, groups, resources, names, verb, group, what, name, allowed) in cases {
            let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
            let ask = Ask::Resource { verb, group, resource, subresource, name, namespace: "x" };
            assert_eq!(
                rule(verbs, groups, resources, names).allows(&ask),
                *allowed,
                "{resources:?} for {verb} {what} {name}"
            );
            assert!(!rule(verbs, groups, resources, names).allows(&Ask::Path { verb: "get", path: "/healthz" }));
        }
    }

    #[test]
    fn rules_match_paths() {
        let cases = [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/etcd", false),
            ("/healthz/*", "/healthz/etcd", true),
            ("/healthz/*", "/healthz", false),
            ("/health*", "/healthz", true),
            ("*", "/metrics", true),
            ("/a*/b", "/aa/b", false),
        ];
        for (url, path, allowed) in cases {
            let rule = Rule { verbs: vec!["get".into()], urls: vec![url.into()], ..Rule::default() };
            assert_eq!(rule.allows(&Ask::Path { verb: "get", path }), allowed, "{url} for {path}");
            assert!(!rule.allows(&Ask::Path { verb: "post", path }));
        }
    }

    #[test]
    fn what_is_not_covered_is_told_piece_by_piece() {
        let owned =
            [rule(&["get", "list"], &[""], &["pods", "*/status"], &[]), rule(&["*"], &["apps"], &["*"], &["web"])];
        let none: &[Rule] = &[];
        assert_eq!(uncovered(&owned, &[rule(&["get"], &[""], &["pods", "nodes/status"], &["a"])]), none);
        assert_eq!(
            uncovered(&owned, &[rule(&["get", "watch"], &[""], &["pods", "secrets"], &[])]),
            [
                rule(&["get"], &[""], &["secrets"], &[]),
                rule(&["watch"], &[""], &["pods"], &[]),
                rule(&["watch"], &[""], &["secrets"], &[]),
            ]
        );
        assert_eq!(uncovered(&owned, &[rule(&["delete"], &["apps"], &["deployments/scale"], &["web"])]), none);
        // A rule for all names is more than one for a name, and a wildcard more than any list.
        assert_eq!(uncovered(&owned, &[rule(&["get"], &["apps"], &["deployments"], &[])]).len(), 1);
        assert_eq!(uncovered(&owned, &[rule(&["*"], &[""], &["pods"], &[])]).len(), 1);
        let paths = Rule { verbs: vec!["get".into()], urls: vec!["/healthz".into()], ..Rule::default() };
        assert_eq!(uncovered(&owned, std::slice::from_ref(&paths)), [paths]);
    }

    #[test]
    fn json_round_trips() {
        let text = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]});
        assert_eq!(Rule::from_json(&text).to_json(), text);
        assert_eq!(Rule::from_json(&json!({"verbs": 7})), Rule::default());
    }
}
