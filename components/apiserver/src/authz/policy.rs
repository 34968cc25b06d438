//! All roles and bindings, kept by subject, so that a decision looks only at what is bound to the asking user.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::rbac::{Ask, Rule, rules_of};

/// The roles and bindings of the cluster. The caller feeds it from a watch; it reads nothing itself.
#[derive(Debug, Default)]
pub struct Policy {
    roles: HashMap<Key, Arc<[Rule]>>,
    bindings: HashMap<Key, Binding>,
    /// Which bindings name a subject.
    by_subject: HashMap<Subject, BTreeSet<Key>>,
}

/// Namespace and name; a cluster-wide object's namespace is empty.
type Key = (String, String);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    role: Key,
    subjects: Vec<Subject>,
}

impl Policy {
    /// Takes in a Role, ClusterRole, RoleBinding or ClusterRoleBinding in place of its earlier version; other kinds are no
    /// concern of this policy.
    pub fn insert(&mut self, object: &Value) {
        let key = key_of(object);
        match object["kind"].as_str() {
            Some("Role" | "ClusterRole") => {
                self.roles.insert(key, rules_of(object).into());
            }
            Some("RoleBinding" | "ClusterRoleBinding") => {
                self.unbind(&key);
                let binding = Binding::from_json(object, &key.0);
                for subject in &binding.subjects {
                    self.by_subject.entry(subject.clone()).or_default().insert(key.clone());
                }
                self.bindings.insert(key, binding);
            }
            _ => {}
        }
    }

    /// Forgets an object which is gone.
    pub fn remove(&mut self, object: &Value) {
        let key = key_of(object);
        match object["kind"].as_str() {
            Some("Role" | "ClusterRole") => {
                self.roles.remove(&key);
            }
            Some("RoleBinding" | "ClusterRoleBinding") => self.unbind(&key),
            _ => {}
        }
    }

    /// Whether a rule bound to the user, or to one of the groups, allows what is asked.
    ///
    /// A member of `system:masters` is not looked at specially here: the binding `cluster-admin` says what it may.
    pub fn allows(&self, user: &str, groups: &[String], ask: &Ask<'_>) -> bool {
        let namespace = match *ask {
            Ask::Resource { namespace, .. } => namespace,
            Ask::Path { .. } => "",
        };
        self.visit(user, groups, namespace, |rules| rules.iter().any(|rule| rule.allows(ask))).is_some()
    }

    /// What allows what is asked, as upstream describes it.
    pub fn binding(&self, user: &str, groups: &[String], ask: &Ask<'_>) -> Option<String> {
        let namespace = match *ask {
            Ask::Resource { namespace, .. } => namespace,
            Ask::Path { .. } => "",
        };
        let found = self.visit(user, groups, namespace, |rules| rules.iter().any(|rule| rule.allows(ask)));
        let (subject, (own, name)) = found?;
        let binding = self.bindings.get(&(own.clone(), name.clone()))?;
        let (role_kind, role) = (binding.role_kind(), &binding.role.1);
        let (kind, shown) = match own.as_str() {
            "" => ("ClusterRoleBinding", name),
            own => ("RoleBinding", format!("{name}/{own}")),
        };
        let subject = match &subject {
            Subject::Group(group) => format!("Group {group:?}"),
            Subject::User(user) => {
                match user.strip_prefix("system:serviceaccount:").and_then(|it| it.split_once(':')) {
                    Some((namespace, account)) => format!("ServiceAccount {:?}", format!("{account}/{namespace}")),
                    None => format!("User {user:?}"),
                }
            }
        };
        Some(format!("{kind} {shown:?} of {role_kind} {role:?} to {subject}"))
    }

    /// Roles that are bound to the user, and that there are not, as upstream tells it; the cluster-wide bindings' first.
    pub fn missing(&self, user: &str, groups: &[String], namespace: &str) -> Vec<String> {
        let subjects =
            std::iter::once(Subject::User(user.to_owned())).chain(groups.iter().cloned().map(Subject::Group));
        let keys: BTreeSet<&Key> = subjects.filter_map(|subject| self.by_subject.get(&subject)).flatten().collect();
        let within = keys.into_iter().filter(|key| key.0.is_empty() || key.0 == namespace);
        let bindings = within.filter_map(|key| self.bindings.get(key));
        let lost = bindings.filter(|binding| !self.roles.contains_key(&binding.role));
        lost.map(|binding| {
            let kind = binding.role_kind().to_lowercase();
            format!("{kind}.rbac.authorization.k8s.io {:?} not found", binding.role.1)
        })
        .collect()
    }

    /// Every rule that holds for the user in a namespace; in none (empty) only the cluster-wide ones.
    pub fn rules_for(&self, user: &str, groups: &[String], namespace: &str) -> Vec<Rule> {
        let mut found = Vec::new();
        self.visit(user, groups, namespace, |rules| {
            found.extend_from_slice(rules);
            false
        });
        found
    }

    /// Shows `stop` the rules of each binding of the user, until it answers true; gives that subject and binding.
    fn visit(
        &self,
        user: &str,
        groups: &[String],
        namespace: &str,
        mut stop: impl FnMut(&[Rule]) -> bool,
    ) -> Option<(Subject, Key)> {
        let subjects =
            std::iter::once(Subject::User(user.to_owned())).chain(groups.iter().cloned().map(Subject::Group));
        for subject in subjects {
            for key in self.by_subject.get(&subject).into_iter().flatten() {
                if !key.0.is_empty() && key.0 != namespace {
                    continue;
                }
                let rules = self.bindings.get(key).and_then(|binding| self.roles.get(&binding.role));
                if rules.is_some_and(|rules| stop(rules)) {
                    return Some((subject, key.clone()));
                }
            }
        }
        None
    }

    fn unbind(&mut self, key: &Key) {
        let Some(old) = self.bindings.remove(key) else { return };
        for subject in &old.subjects {
            let Some(keys) = self.by_subject.get_mut(subject) else { continue };
            keys.remove(key);
            if keys.is_empty() {
                self.by_subject.remove(subject);
            }
        }
    }
}

impl Binding {
    fn role_kind(&self) -> &'static str {
        if self.role.0.is_empty() { "ClusterRole" } else { "Role" }
    }

    fn from_json(object: &Value, namespace: &str) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let role = &object["roleRef"];
        // A Role is sought beside the binding; a cluster-wide binding of a Role finds none.
        let role_namespace = if role["kind"] == "Role" { namespace } else { "" };
        let role = if role["kind"] == "Role" && namespace.is_empty() {
            Key::default()
        } else {
            (role_namespace.to_owned(), text(&role["name"]))
        };
        let subjects = object["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
        let subjects = subjects.iter().filter_map(|subject| {
            let name = text(&subject["name"]);
            match subject["kind"].as_str()? {
                "User" => Some(Subject::User(name)),
                "Group" => Some(Subject::Group(name)),
                "ServiceAccount" => {
                    let own = subject["namespace"].as_str().filter(|own| !own.is_empty()).unwrap_or(namespace);
                    (!own.is_empty()).then(|| Subject::User(format!("system:serviceaccount:{own}:{name}")))
                }
                _ => None,
            }
        });
        Self { role, subjects: subjects.collect() }
    }
}

fn key_of(object: &Value) -> Key {
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (field("namespace"), field("name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(namespace: &str) -> Ask<'_> {
        Ask::Resource { verb: "get", group: "", resource: "pods", subresource: "", name: "a", namespace }
    }

    fn role(kind: &str, namespace: &str) -> Value {
        json!({"kind": kind, "metadata": {"name": "reader", "namespace": namespace},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})
    }

    fn binding(kind: &str, namespace: &str, role: &str, subject: Value) -> Value {
        json!({"kind": kind, "metadata": {"name": "b", "namespace": namespace}, "roleRef": {"kind": role, "name": "reader"},
            "subjects": [subject]})
    }

    #[test]
    fn roles_that_are_not_there_are_told_where_they_would_hold() {
        let mut policy = Policy::default();
        let ann = || json!({"kind": "User", "name": "ann"});
        policy.insert(&binding("ClusterRoleBinding", "", "ClusterRole", ann()));
        policy.insert(&binding("RoleBinding", "x", "Role", ann()));
        let cluster = "clusterrole.rbac.authorization.k8s.io \"reader\" not found";
        assert_eq!(policy.missing("ann", &[], ""), [cluster]);
        assert_eq!(policy.missing("ann", &[], "y"), [cluster]);
        let own = "role.rbac.authorization.k8s.io \"reader\" not found";
        assert_eq!(policy.missing("ann", &[], "x"), [cluster, own]);
        assert!(policy.missing("bob", &[], "x").is_empty());
        policy.insert(&role("ClusterRole", ""));
        assert_eq!(policy.missing("ann", &[], "x"), [own]);
    }

    #[test]
    fn bindings_reach_as_far_as_they_say() {
        let ann = json!({"kind": "User", "name": "ann"});
        // (role's kind and namespace, binding's kind and namespace, allowed in x, in y, in all)
        let cases = [
            ("ClusterRole", "", "ClusterRoleBinding", "", true, true, true),
            ("ClusterRole", "", "RoleBinding", "x", true, false, false),
            ("Role", "x", "RoleBinding", "x", true, false, false),
            ("Role", "y", "RoleBinding", "x", false, false, false),
            ("Role", "x", "ClusterRoleBinding", "", false, false, false),
        ];
        for (kind, home, binding_kind, place, in_x, in_y, everywhere) in cases {
            let mut policy = Policy::default();
            policy.insert(&binding(binding_kind, place, kind, ann.clone()));
            assert!(!policy.allows("ann", &[], &ask("x")), "a binding before its role allows nothing");
            policy.insert(&role(kind, home));
            let got = ["x", "y", ""].map(|namespace| policy.allows("ann", &[], &ask(namespace)));
            assert_eq!(got, [in_x, in_y, everywhere], "{kind} in {home:?} bound by {binding_kind} in {place:?}");
            assert!(!policy.allows("bob", &["ann".into()], &ask("x")), "a group is no user");
        }
    }

    #[test]
    fn a_change_takes_the_old_subjects_away() {
        let mut policy = Policy::default();
        policy.insert(&role("ClusterRole", ""));
        let account = json!({"kind": "ServiceAccount", "name": "robot"});
        policy.insert(&binding("RoleBinding", "x", "ClusterRole", account));
        assert!(policy.allows("system:serviceaccount:x:robot", &[], &ask("x")));
        let staff = binding("RoleBinding", "x", "ClusterRole", json!({"kind": "Group", "name": "staff"}));
        policy.insert(&staff);
        assert!(!policy.allows("system:serviceaccount:x:robot", &[], &ask("x")));
        assert!(policy.allows("ann", &["staff".into()], &ask("x")));
        assert_eq!(policy.rules_for("ann", &["staff".into()], "x").len(), 1);
        assert_eq!(policy.rules_for("ann", &["staff".into()], "").len(), 0);
        policy.remove(&staff);
        assert!(!policy.allows("ann", &["staff".into()], &ask("x")));
        assert!(policy.by_subject.is_empty());
    }
}
