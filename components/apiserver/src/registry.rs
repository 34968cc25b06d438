//! What the server serves: [`RESOURCES`] has a row per resource, [`SUBRESOURCES`] a row per subresource beside `status`,
//! and nothing about a resource is anywhere else. A [`Registry`] is the table at a moment together with the rows that
//! CustomResourceDefinitions add.

mod dynamic;
mod subresources;
mod table;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use kinit_crd::definition::Definition;

pub use dynamic::{Custom, Registry, Store};
pub use subresources::{SUBRESOURCES, Subresource, subresource, subresources};
pub use table::RESOURCES;

/// A row, shared by all who hold it: one of a definition goes when the last of them does.
pub type Spec = Arc<ResourceSpec>;

/// Whether a resource lives in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// Where a resource's objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Under a prefix of its own.
    Own,
    /// With the resource of the same plural in this group and version, whose form [`crate::view`] turns into this one.
    As { group: &'static str, version: &'static str },
    /// Nowhere: what is created is answered and forgotten.
    Never,
}

/// One resource of one group and version.
#[derive(Debug)]
pub struct ResourceSpec {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    kind: &'static str,
    pub scope: Scope,
    short_names: &'static [&'static str],
    category: Option<&'static str>,
    /// Whether it has a `status` subresource, and so a `status` that ordinary writes leave alone.
    pub status: bool,
    fields: &'static [&'static str],
    pub storage: Storage,
    /// Whether a deletion is answered with the object that is gone, not only with `Status`.
    pub answers_deleted: bool,
    prefix: &'static str,
    /// The names of a custom resource are in here, and not in the fields above.
    pub custom: Option<Custom>,
}

impl ResourceSpec {
    pub(crate) const fn new(
        group: &'static str,
        version: &'static str,
        resource: &'static str,
        kind: &'static str,
        scope: Scope,
    ) -> Self {
        Self {
            group,
            version,
            resource,
            kind,
            scope,
            short_names: &[],
            category: None,
            status: false,
            fields: &[],
            storage: Storage::Own,
            answers_deleted: false,
            prefix: resource,
            custom: None,
        }
    }

    /// The row of a version of a definition.
    fn custom(definition: Arc<Definition>, version: usize) -> Self {
        let scope = if definition.namespaced { Scope::Namespaced } else { Scope::Cluster };
        let mut spec = Self::new("", "", "", "", scope);
        spec.status = definition.versions[version].status;
        let fields = definition.selectable();
        let prefix = match definition.name.split_once('.') {
            Some((plural, group)) => format!("{group}/{plural}"),
            None => definition.name.clone(),
        };
        spec.custom = Some(Custom { definition, version, fields, prefix });
        spec
    }

    pub(crate) const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }

    pub(crate) const fn in_category(mut self, category: &'static str) -> Self {
        self.category = Some(category);
        self
    }

    pub(crate) const fn status(mut self) -> Self {
        self.status = true;
        self
    }

    pub(crate) const fn selected_by(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }

    pub(crate) const fn under(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    pub(crate) const fn answers_deleted(mut self) -> Self {
        self.answers_deleted = true;
        self
    }

    pub(crate) const fn stored_as(mut self, (group, version): (&'static str, &'static str)) -> Self {
        self.storage = Storage::As { group, version };
        self
    }

    pub(crate) const fn never_stored(mut self) -> Self {
        self.storage = Storage::Never;
        self
    }

    /// Empty for the core group.
    pub fn group(&self) -> &str {
        self.custom.as_ref().map_or(self.group, |custom| &custom.definition.group)
    }

    pub fn version(&self) -> &str {
        self.custom.as_ref().map_or(self.version, |custom| &custom.version().name)
    }

    /// The plural in paths.
    pub fn resource(&self) -> &str {
        self.custom.as_ref().map_or(self.resource, |custom| &custom.definition.names.plural)
    }

    pub fn kind(&self) -> &str {
        self.custom.as_ref().map_or(self.kind, |custom| &custom.definition.names.kind)
    }

    /// What clients of a version that is on its way out are warned with.
    pub fn deprecation(&self) -> Option<&str> {
        match &self.custom {
            Some(custom) => custom.version().deprecation.as_deref(),
            None => table::DEPRECATED.iter().find(|row| (row.0, row.1) == (self.group, self.kind)).map(|row| row.2),
        }
    }

    /// The kind of lists.
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) if !custom.definition.names.list_kind.is_empty() => custom.definition.names.list_kind.clone(),
            _ => format!("{}List", self.kind()),
        }
    }

    /// What its keys begin with after `/registry/`, as upstream has it.
    pub fn prefix(&self) -> &str {
        self.custom.as_ref().map_or(self.prefix, |custom| &custom.prefix)
    }

    pub fn short_names(&self) -> Vec<&str> {
        match &self.custom {
            Some(custom) => custom.definition.names.short_names.iter().map(String::as_str).collect(),
            None => self.short_names.to_vec(),
        }
    }

    /// Names under which kubectl gets it together with others, for example `all`.
    pub fn categories(&self) -> Vec<&str> {
        match &self.custom {
            Some(custom) => custom.definition.names.categories.iter().map(String::as_str).collect(),
            None => self.category.into_iter().collect(),
        }
    }

    /// Fields beyond name and namespace that the cache has values of.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let custom = self.custom.iter().flat_map(|custom| custom.fields.iter().map(String::as_str));
        self.fields.iter().copied().chain(custom)
    }

    /// Whether a field selector may name a field.
    pub fn selects(&self, path: &str) -> bool {
        let own = |custom: &Custom| custom.version().selectable.iter().any(|field| field == path);
        matches!(path, "metadata.name" | "metadata.namespace")
            || self.fields.contains(&path)
            || self.custom.as_ref().is_some_and(own)
    }

    /// Whether it is this resource of this group.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.group() == group && self.resource() == resource
    }

    /// Whether there is something to be listed: what is only answered, and never stored, is no row of anything, but for the
    /// components.
    pub fn lists(&self) -> bool {
        self.storage != Storage::Never || self.is("", "componentstatuses")
    }

    /// Whether its row says that it has `status`, or its definition that it has `scale`. A custom resource has no other parts.
    pub fn has_own(&self, subresource: &str) -> bool {
        match subresource {
            "status" => self.status,
            "scale" => self.custom.as_ref().is_some_and(|custom| custom.version().scale.is_some()),
            _ => false,
        }
    }

    /// Whether it is one of the two forms of events.
    pub fn is_event(&self) -> bool {
        self.custom.is_none() && self.resource == "events"
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The group and the version whose form objects are kept in.
    pub fn stored_form(&self) -> (&str, &str) {
        match self.storage {
            Storage::As { group, version } => (group, version),
            Storage::Own | Storage::Never => (self.group(), self.version()),
        }
    }

    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The singular that kubectl takes on its command line.
    pub fn singular(&self) -> String {
        match &self.custom {
            Some(custom) if !custom.definition.names.singular.is_empty() => custom.definition.names.singular.clone(),
            _ => self.kind().to_lowercase(),
        }
    }
}

/// The place of the row under which a resource is stored, by group and plural.
pub fn position(group: &str, resource: &str) -> Option<usize> {
    // A write asks a dozen times.
    static POSITIONS: LazyLock<HashMap<(&str, &str), usize>> = LazyLock::new(|| {
        let rows = RESOURCES.iter().rev();
        rows.filter_map(|spec| Some(((spec.group, spec.resource), stored_at(spec)?))).collect()
    });
    POSITIONS.get(&(group, resource)).copied()
}

/// The place of the row under which a row's objects are stored.
fn stored_at(spec: &ResourceSpec) -> Option<usize> {
    let (group, version) = match spec.storage {
        Storage::As { group, version } => (group, version),
        Storage::Own | Storage::Never => (spec.group, spec.version),
    };
    RESOURCES.iter().position(|row| (row.group, row.version, row.resource) == (group, version, spec.resource))
}

/// The row of a resource and the place of the one it is stored under, by group, version and plural.
pub fn find(group: &str, version: &str, resource: &str) -> Option<(usize, &'static Spec)> {
    let named = |spec: &&Spec| spec.group == group && spec.version == version && spec.resource == resource;
    let spec = RESOURCES.iter().find(named)?;
    Some((stored_at(spec)?, spec))
}

/// The place of the row of a key, without the registry's own prefix, and the rest of the key.
pub fn of_key(key: &str) -> Option<(usize, &str)> {
    // Asked for each write and each event; no prefix has more than two parts.
    static PREFIXES: LazyLock<HashMap<&str, usize>> = LazyLock::new(|| {
        let own = RESOURCES.iter().enumerate().filter(|(_, spec)| spec.storage == Storage::Own);
        own.map(|(at, spec)| (spec.prefix, at)).collect()
    });
    let mut ends = key.match_indices('/').map(|(end, _)| end).take(2);
    ends.find_map(|end| Some((*PREFIXES.get(&key[..end])?, &key[end + 1..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_rows_share_a_name_or_a_kind() {
        let mut seen = std::collections::HashSet::new();
        let mut prefixes = std::collections::HashSet::new();
        for spec in RESOURCES.iter() {
            assert!(seen.insert((spec.group, spec.version, spec.resource)), "{}", spec.resource);
            assert!(seen.insert((spec.group, spec.version, spec.kind)), "{}", spec.kind);
            assert!(spec.storage != Storage::Own || prefixes.insert(spec.prefix), "{}", spec.prefix);
            assert!(spec.prefix.matches('/').count() < 2, "{}", spec.prefix);
        }
        assert_eq!(find("apps", "v1", "deployments").unwrap().1.api_version(), "apps/v1");
        assert!(find("apps", "v2", "deployments").is_none());
        assert_eq!(find("events.k8s.io", "v1", "events").unwrap().0, find("", "v1", "events").unwrap().0);
        assert!(SUBRESOURCES.iter().all(|row| position(row.group, row.resource).is_some()));
    }

    #[test]
    fn keys_tell_their_row() {
        let row = |key| of_key(key).map(|(at, rest)| (RESOURCES[at].resource, rest));
        assert_eq!(row("services/specs/x/a"), Some(("services", "x/a")));
        assert_eq!(row("services/endpoints/x/a"), Some(("endpoints", "x/a")));
        assert_eq!(row("minions/n"), Some(("nodes", "n")));
        assert_eq!(row("ranges/servicenodeports"), None);
    }
}
