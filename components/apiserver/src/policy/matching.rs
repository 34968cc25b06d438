//! Which writes a policy or a binding means.

use std::collections::BTreeMap;

use kinit_api::object::Object;
use kinit_api::selector::LabelSelector;
use serde_json::Value;

use crate::admission::{Attributes, Context};
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

    /// Whether the write is one of the rule's, in the version of the request or in one of `others`.
    fn matches(&self, attributes: &Attributes<'_>, others: &[String]) -> bool {
        let spec = &attributes.request.spec;
        let named = self.names.is_empty() || self.names.iter().any(|name| name == attributes.name);
        let versions = std::iter::once(spec.version()).chain(others.iter().map(String::as_str));
        named && versions.into_iter().any(|it| self.rule.matches(attributes, spec.group(), it, spec.resource()))
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

    /// Whether the write is meant. `namespace` is the one that it is in. The error says what is wrong with a selector.
    pub fn matches(
        &self,
        context: &Context<'_>,
        attributes: &Attributes<'_>,
        object: &Object,
        namespace: Option<&Object>,
    ) -> Result<bool, String> {
        let others = if self.equivalent { versions(context, attributes) } else { Vec::new() };
        let any = |rules: &[Named]| rules.iter().any(|rule| rule.matches(attributes, &others));
        // A binding without rules means all that its policy means.
        if any(&self.excluded) || !(self.rules.is_empty() || any(&self.rules)) {
            return Ok(false);
        }
        let namespaces = self.namespaces.as_ref().map_err(Clone::clone)?;
        if let Some(namespace) = namespace
            && !namespaces.matches(&namespace.labels())
        {
            return Ok(false);
        }
        let objects = self.objects.as_ref().map_err(Clone::clone)?;
        let selected = |labels: &BTreeMap<String, String>| objects.matches(labels);
        Ok(objects.is_everything()
            || selected(&object.labels())
            || attributes.old.is_some_and(|old| selected(&old.labels())))
    }
}

/// The other versions that the resource is served in.
fn versions(context: &Context<'_>, attributes: &Attributes<'_>) -> Vec<String> {
    let spec = &attributes.request.spec;
    let registry = context.cache.registry();
    let same = registry.rows().into_iter().filter(|row| row.is(spec.group(), spec.resource()));
    same.map(|row| row.version().to_owned()).filter(|version| version != spec.version()).collect()
}
