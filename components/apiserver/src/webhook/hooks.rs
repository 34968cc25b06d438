//! The webhooks that are configured, read once per change of their configurations, and what each is asked about; pure.

use std::sync::Arc;
use std::time::Duration;

use kinit_api::object::Object;
use kinit_api::selector::LabelSelector;
use parking_lot::Mutex;
use serde_json::Value;

use super::target::ClientConfig;
use crate::admission::{Attributes, Operation};
use crate::cache::{Cache, Map};
use crate::policy::conditions::Conditions;
use crate::registry::Spec;

const GROUP: &str = "admissionregistration.k8s.io";

/// The versions of AdmissionReview that are spoken, the better first.
const REVIEWS: &[&str] = &["v1", "v1beta1"];

/// One webhook of a configuration.
#[derive(Debug)]
pub struct Hook {
    pub configuration: String,
    pub name: String,
    /// The configuration's name, the webhook's, and its place.
    pub uid: String,
    pub client: ClientConfig,
    /// The first version that both sides speak.
    pub review: Option<&'static str>,
    pub fails_open: bool,
    pub timeout: Duration,
    /// Whether it may be asked about a write that is tried only.
    pub without_side_effects: bool,
    /// Whether it wants to be asked again when others have changed the object.
    pub reinvoked: bool,
    pub equivalent: bool,
    pub conditions: Conditions,
    rules: Vec<Rule>,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

/// What a webhook or a policy is asked about.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn any(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    pub fn new(rule: &Value) -> Self {
        Self {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    /// Whether the write is one that the rule means, taken as a write of `version` of the resource.
    pub fn matches(&self, attributes: &Attributes<'_>, group: &str, version: &str, resource: &str) -> bool {
        let request = attributes.request;
        // A Namespace is named by the namespace of its own path, and lies in none.
        let within = !request.namespace.is_empty() && (group, resource) != ("", "namespaces");
        let scope = match self.scope.as_str() {
            "Namespaced" => within,
            "Cluster" => !within,
            _ => true,
        };
        scope
            && any(&self.operations, attributes.operation.as_str())
            && any(&self.groups, group)
            && any(&self.versions, version)
            && self.resources.iter().any(|item| {
                let (own, sub) = item.split_once('/').unwrap_or((item, ""));
                (own == "*" || own == resource) && (sub == "*" || sub == request.subresource)
            })
    }
}

impl Hook {
    /// The webhooks of one configuration.
    fn all(configuration: &Object) -> Vec<Self> {
        let list = configuration.get(&["webhooks"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let one = |(at, hook): (usize, &Value)| {
            let text = |field: &str| hook[field].as_str().unwrap_or_default().to_owned();
            let selector = |field: &str| LabelSelector::from_object(&hook[field]).map_err(|error| error.to_string());
            let name = text("name");
            let spoken = texts(&hook["admissionReviewVersions"]);
            Self {
                uid: format!("{}/{name}/{at}", configuration.name()),
                configuration: configuration.name().to_owned(),
                client: ClientConfig::new(&hook["clientConfig"]),
                review: spoken.iter().find_map(|own| REVIEWS.iter().find(|known| *known == own).copied()),
                fails_open: text("failurePolicy") == "Ignore",
                timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(10)),
                without_side_effects: matches!(text("sideEffects").as_str(), "None" | "NoneOnDryRun"),
                reinvoked: text("reinvocationPolicy") == "IfNeeded",
                equivalent: text("matchPolicy") != "Exact",
                conditions: Conditions::new(&hook["matchConditions"], false),
                rules: hook["rules"].as_array().into_iter().flatten().map(Rule::new).collect(),
                namespaces: selector("namespaceSelector"),
                objects: selector("objectSelector"),
                name,
            }
        };
        list.iter().enumerate().map(one).collect()
    }

    /// The version that the webhook wants to be asked in, if one of the rules means the write: the request's, or another
    /// one of the same objects. `others` gives those.
    pub fn wants(&self, attributes: &Attributes<'_>, others: impl FnOnce() -> Vec<Spec>) -> Option<Spec> {
        let means = |rule: &Rule, spec: &Spec| rule.matches(attributes, spec.group(), spec.version(), spec.resource());
        let own = &attributes.request.spec;
        if self.rules.iter().any(|rule| means(rule, own)) {
            return Some(own.clone());
        }
        if !self.equivalent || self.rules.is_empty() {
            return None;
        }
        let others = others();
        self.rules.iter().find_map(|rule| others.iter().find(|spec| means(rule, spec)).cloned())
    }

    /// Whether the object's labels are selected, before or after.
    pub fn selects(&self, attributes: &Attributes<'_>, object: &Object) -> Result<bool, String> {
        let selector = self.objects.as_ref().map_err(Clone::clone)?;
        let matches = |object: &Object| selector.matches(&object.labels());
        Ok(selector.is_everything() || matches(object) || attributes.old.is_some_and(matches))
    }

    /// The selector of namespaces, where the write is in one or is of one, and it does not select all.
    pub fn namespaces(&self, attributes: &Attributes<'_>) -> Result<Option<&LabelSelector>, String> {
        if attributes.request.authorized_namespace().is_empty() && attributes.request.spec.resource() != "namespaces" {
            return Ok(None);
        }
        let selector = self.namespaces.as_ref().map_err(Clone::clone)?;
        Ok((!selector.is_everything()).then_some(selector))
    }
}

/// Whether a write is about admission itself: no webhook may stand between an administrator and its mending.
pub fn exempt(attributes: &Attributes<'_>) -> bool {
    attributes.request.spec.group() == GROUP
}

/// Whether the labels of the write's namespace are those of the object that is written.
pub fn is_namespace(attributes: &Attributes<'_>) -> bool {
    attributes.is("namespaces") && matches!(attributes.operation, Operation::Create | Operation::Update)
}

/// All webhooks of one kind of configuration, kept as long as no configuration changes.
pub struct Hooks {
    resource: &'static str,
    kept: Mutex<(State, Arc<Vec<Arc<Hook>>>)>,
}

/// The newest revision of a configuration, and how many there are: no change leaves both as they are.
type State = (i64, usize);

impl Hooks {
    pub fn new(resource: &'static str) -> Self {
        Self { resource, kept: Mutex::default() }
    }

    /// The webhooks in the order of their configurations' names.
    pub fn get(&self, cache: &Cache) -> Arc<Vec<Arc<Hook>>> {
        self.of(&cache.all(GROUP, self.resource))
    }

    fn of(&self, configurations: &Map) -> Arc<Vec<Arc<Hook>>> {
        let newest = configurations.values().map(|entry| entry.revision).max().unwrap_or_default();
        let state = (newest, configurations.len());
        let mut kept = self.kept.lock();
        if kept.0 != state {
            let objects = configurations.values().filter_map(|entry| entry.object());
            let hooks = objects.flat_map(|object| Hook::all(&object)).map(Arc::new).collect();
            *kept = (state, Arc::new(hooks));
        }
        kept.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_name_writes() {
        let rule = |operation: &str, group: &str, resource: &str, scope: &str| {
            Rule::new(&json!({"operations": [operation], "apiGroups": [group], "apiVersions": ["*"],
                "resources": [resource], "scope": scope}))
        };
        let parse = |path: &str| {
            crate::request::parse(&crate::registry::Registry::default(), &http::Method::POST, path, None)
                .unwrap()
                .unwrap()
        };
        let pods = parse("/api/v1/namespaces/a/pods");
        let binding = parse("/api/v1/namespaces/a/pods/p/binding");
        let space = crate::request::parse(
            &crate::registry::Registry::default(),
            &http::Method::PUT,
            "/api/v1/namespaces/a",
            None,
        )
        .unwrap()
        .unwrap();
        let cases = [
            (rule("CREATE", "", "pods", "*"), &pods, true),
            (rule("*", "*", "*", "Namespaced"), &pods, true),
            (rule("*", "*", "*", "Cluster"), &pods, false),
            (rule("UPDATE", "", "pods", "*"), &pods, false),
            (rule("*", "apps", "pods", "*"), &pods, false),
            (rule("*", "", "*", "*"), &binding, false),
            (rule("*", "", "*/*", "*"), &binding, true),
            (rule("*", "", "pods/binding", "*"), &binding, true),
            (rule("*", "", "*/status", "*"), &binding, false),
            (rule("*", "", "namespaces", "Namespaced"), &space, false),
            (rule("*", "", "namespaces", "Cluster"), &space, true),
        ];
        for (rule, request, wanted) in cases {
            let attributes = Attributes::new(Operation::Create, request, "p", None);
            let spec = &request.spec;
            let matched = rule.matches(&attributes, spec.group(), spec.version(), spec.resource());
            assert_eq!(matched, wanted, "{rule:?}");
        }
    }

    #[test]
    fn rules_for_another_version_mean_the_same_objects() {
        let registry = crate::registry::Registry::default();
        let path = "/apis/autoscaling/v1/namespaces/a/horizontalpodautoscalers";
        let request = crate::request::parse(&registry, &http::Method::POST, path, None).unwrap().unwrap();
        let attributes = Attributes::new(Operation::Create, &request, "h", None);
        for (policy, version, wanted) in [
            ("Exact", "v1", Some("v1")),
            ("Exact", "v2", None),
            ("Equivalent", "v2", Some("v2")),
            ("Equivalent", "v9", None),
        ] {
            let configuration = json!({"webhooks": [{"matchPolicy": policy, "rules": [{"operations": ["*"],
                "apiGroups": ["autoscaling"], "apiVersions": [version], "resources": ["*"]}]}]});
            let hooks = Hook::all(&Object::from_value(configuration).unwrap());
            let found = hooks[0].wants(&attributes, || registry.sharing(request.index));
            assert_eq!(found.as_ref().map(|spec| spec.version()), wanted, "{policy} {version}");
        }
    }

    #[test]
    fn a_webhook_is_read_from_its_configuration() {
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [{"name": "h", "failurePolicy": "Ignore",
            "admissionReviewVersions": ["v9", "v1beta1"], "sideEffects": "None", "timeoutSeconds": 3,
            "objectSelector": {"matchLabels": {"a": "b"}}}]});
        let hooks = Hook::all(&Object::from_value(configuration).unwrap());
        let hook = &hooks[0];
        assert_eq!((hook.uid.as_str(), hook.review, hook.fails_open), ("c/h/0", Some("v1beta1"), true));
        let request =
            crate::request::parse(&crate::registry::Registry::default(), &http::Method::POST, "/api/v1/nodes", None)
                .unwrap()
                .unwrap();
        let old = Object::from_value(json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
        let attributes = |old| Attributes::new(Operation::Update, &request, "n", old);
        assert!(hook.selects(&attributes(Some(&old)), &Object::default()).unwrap());
        assert!(!hook.selects(&attributes(None), &Object::default()).unwrap());
        assert!(hook.namespaces(&attributes(None)).unwrap().is_none());
    }
}
