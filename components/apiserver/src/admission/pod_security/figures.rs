//! How often Pods were held against standards, under upstream's names.

use std::borrow::Cow;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Attributes, Level, Operation, Standard};

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    request_operation: &'static str,
    resource: &'static str,
    subresource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Looked {
    decision: &'static str,
    policy_level: &'static str,
    policy_version: Cow<'static, str>,
    mode: &'static str,
    #[prometheus(flatten)]
    write: Write,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    fatal: &'static str,
    #[prometheus(flatten)]
    write: Write,
}

/// The families. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    looked: Family<Looked, Counter>,
    exempt: Family<Write, Counter>,
    failed: Family<Failed, Counter>,
}

impl Figures {
    pub fn register(&self, families: &mut Registry) {
        let families = families.sub_registry_with_prefix("pod_security");
        families.register("evaluations", "Writes that were held against a standard", self.looked.clone());
        families.register("exemptions", "Writes of which no standard is asked", self.exempt.clone());
        families.register("errors", "What kept writes from being judged as they should be", self.failed.clone());
    }

    /// A write was held against the standard of a mode.
    pub(super) fn looked(&self, attributes: &Attributes<'_>, mode: &'static str, standard: Standard, allowed: bool) {
        let looked = Looked {
            decision: if allowed { "allow" } else { "deny" },
            policy_level: standard.level.name(),
            policy_version: version(standard),
            mode,
            write: write(attributes),
        };
        self.looked.get_or_create(&looked).inc();
    }

    pub(super) fn exempted(&self, attributes: &Attributes<'_>) {
        self.exempt.get_or_create(&write(attributes)).inc();
    }

    pub(super) fn failed(&self, attributes: &Attributes<'_>, fatal: bool) {
        let fatal = if fatal { "true" } else { "false" };
        self.failed.get_or_create(&Failed { fatal, write: write(attributes) }).inc();
    }
}

/// The version of a standard; those that this server does not know yet are one.
fn version(standard: Standard) -> Cow<'static, str> {
    let own = kinit_version::kubernetes().split('.').nth(1).and_then(|minor| minor.parse::<u64>().ok());
    match standard.minor {
        None => "latest".into(),
        Some(_) if standard.level == Level::Privileged => "latest".into(),
        Some(minor) if own.is_some_and(|own| minor > own) => "future".into(),
        Some(minor) => format!("v1.{minor}").into(),
    }
}

fn write(attributes: &Attributes<'_>) -> Write {
    let creates = attributes.operation == Operation::Create;
    let spec = &attributes.request.spec;
    let resource = match (spec.group(), spec.resource()) {
        ("", "pods") => "pod",
        ("", "namespaces") => "namespace",
        _ => "controller",
    };
    let subresources = ["ephemeralcontainers", "resize"];
    let subresource = subresources.into_iter().find(|own| *own == attributes.request.subresource).unwrap_or_default();
    Write { request_operation: if creates { "create" } else { "update" }, resource, subresource }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_few() {
        let of = |level, minor| version(Standard { level, minor }).into_owned();
        assert_eq!(of(Level::Baseline, None), "latest");
        assert_eq!(of(Level::Privileged, Some(20)), "latest");
        assert_eq!(of(Level::Restricted, Some(20)), "v1.20");
        assert_eq!(of(Level::Restricted, Some(36)), "v1.36");
        assert_eq!(of(Level::Restricted, Some(37)), "future");
    }
}
