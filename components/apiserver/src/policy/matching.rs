//! Which writes a policy or a binding means.

use std::collections::BTreeMap;

use kinit_api::object::Object;
use kinit_api::selector::LabelSelector;
use serde_json::Value;

use crate::admission::{Attributes, Context};
use crate::registry::Spec;
use crate::webhook::hooks::Rule;

/// `matchConstraints` of a policy, `matchResources` of a binding.
#[derive(Debug)]
pub(super) struct Matcher {
    rules: Vec<Named>,
    excluded: Vec<Named>,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
    equivalent: bool,
}

/// A rule that may be for objects of a few names only.
#[derive(Debug)]
struct Named {
    rule: Rule,
    names: Vec<String>,
}

impl Named {
    fn all(rules: &Value) -> Vec<Self> {
        let one = |rule: &Value| {
            let names = rule["resourceNames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            Self { rule: Rule::new(rule), names: names.map(str::to_owned).collect() }
        };
        rules.as_array().into_iter().flatten().map(one).collect()
    }

    /// Whether the write is one of the rule's, taken as one of `spec`.
    fn matches(&self, attributes: &Attributes<'_>, spec: &Spec) -> bool {
        let own = || if attributes.is_of_collection() { "" } else { attributes.name };
        let named = self.names.is_empty() || self.names.iter().any(|name| name == own());
        named && self.rule.matches(attributes, spec.group(), spec.version(), spec.resource())
    }
}

impl Matcher {
    pub fn new(resources: &Value) -> Self {
        let selector = |field: &str| LabelSelector::from_object(&resources[field]).map_err(|error| error.to_string());
        Self {
            rules: Named::all(&resources["resourceRules"]),
            excluded: Named::all(&resources["excludeResourceRules"]),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            equivalent: resources["matchPolicy"].as_str() != Some("Exact"),
        }
    }

    /// The version that the write is meant in, if it is meant: the request's, or another one of the same objects.
    /// `namespace` is the one that it is in. The error says what is wrong with a selector.
    pub fn matches(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &Object,
        namespace: Option<&Object>,
    ) -> Result<Option<Spec>, String> {
        let own = &attributes.request.spec;
        let request = attributes.request;
        let others = if self.equivalent { context.cache.registry().sharing(request.index) } else { Vec::new() };
        let find = |rules: &[Named]| {
            let of = |spec: &Spec| rules.iter().any(|rule| rule.matches(attributes, spec));
            let other = || rules.iter().find_map(|rule| others.iter().find(|spec| rule.matches(attributes, spec)));
            if of(own) { Some(own.clone()) } else { other().cloned() }
        };
        // A binding without rules means all that its policy means.
        let found = if self.rules.is_empty() { Some(own.clone()) } else { find(&self.rules) };
        let Some(found) = found.filter(|_| find(&self.excluded).is_none()) else { return Ok(None) };
        let namespaces = self.namespaces.as_ref().map_err(Clone::clone)?;
        if let Some(namespace) = namespace
            && !namespaces.matches(&namespace.labels())
        {
            return Ok(None);
        }
        let objects = self.objects.as_ref().map_err(Clone::clone)?;
        let selected = |labels: &BTreeMap<String, String>| objects.matches(labels);
        let is_meant = objects.is_everything()
            || selected(&object.labels())
            || attributes.old.is_some_and(|old| selected(&old.labels()));
        Ok(is_meant.then_some(found))
    }
}
