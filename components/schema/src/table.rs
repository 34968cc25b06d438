//! The table itself: read from the files once, when first asked for.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::parse::{self, Line, Package};
use crate::types::{Element, Field, Scalar, Type, TypeRef};

const FILES: &[&str] = &[
    include_str!("types/admission-v1.txt"),
    include_str!("types/admissionregistration-v1.txt"),
    include_str!("types/apidiscovery-v2.txt"),
    include_str!("types/apiextensions-v1.txt"),
    include_str!("types/apiregistration-v1.txt"),
    include_str!("types/apps-v1.txt"),
    include_str!("types/authentication-v1.txt"),
    include_str!("types/authorization-v1.txt"),
    include_str!("types/autoscaling-v1.txt"),
    include_str!("types/autoscaling-v2.txt"),
    include_str!("types/batch-v1.txt"),
    include_str!("types/certificates-v1.txt"),
    include_str!("types/coordination-v1.txt"),
    include_str!("types/core-v1-pods.txt"),
    include_str!("types/core-v1-volumes.txt"),
    include_str!("types/core-v1.txt"),
    include_str!("types/discovery-v1.txt"),
    include_str!("types/events-v1.txt"),
    include_str!("types/flowcontrol-v1.txt"),
    include_str!("types/meta-v1.txt"),
    include_str!("types/networking-v1.txt"),
    include_str!("types/node-v1.txt"),
    include_str!("types/policy-v1.txt"),
    include_str!("types/rbac-v1.txt"),
    include_str!("types/resource-v1.txt"),
    include_str!("types/scheduling-v1.txt"),
    include_str!("types/storage-v1.txt"),
    include_str!("types/version.txt"),
];

/// Kinds that every group and version has, as well as their own.
const EVERYWHERE: &[&str] = &[
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "CreateOptions",
    "DeleteOptions",
    "GetOptions",
    "ListOptions",
    "PatchOptions",
    "Status",
    "UpdateOptions",
];

struct Table {
    types: Box<[Type]>,
    /// By package and name.
    names: HashMap<(&'static str, &'static str), u16>,
    /// By group, version and kind.
    kinds: HashMap<(&'static str, &'static str, &'static str), u16>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let packages: Vec<Package> =
            FILES.iter().map(|text| parse::package(text).expect("the tests read every file")).collect();
        let mut names = HashMap::new();
        let mut kinds = HashMap::new();
        for (package, block) in
            packages.iter().flat_map(|package| package.types.iter().map(move |block| (package, block)))
        {
            let number = u16::try_from(names.len()).expect("there are some hundreds of types");
            names.insert((package.name, block.name), number);
            if block.kind {
                let (_, version) = package.name.split_once('/').expect("the tests read every file");
                kinds.insert((package.group, version, block.name), number);
            }
        }
        let mut types = Vec::with_capacity(names.len());
        for package in packages {
            for block in package.types {
                let fields: Box<[Field]> =
                    block.fields.into_iter().map(|line| field(&names, package.name, line)).collect();
                let mut numbered: Vec<usize> = (0..fields.len()).filter(|&at| fields[at].number > 0).collect();
                numbered.sort_by_key(|&at| fields[at].number);
                types.push(Type {
                    name: block.name,
                    package: package.name,
                    kind: block.kind,
                    atomic: block.atomic,
                    union: block.union,
                    fields,
                    numbered: numbered.into(),
                });
            }
        }
        Table { types: types.into_boxed_slice(), names, kinds }
    })
}

fn field(names: &HashMap<(&'static str, &'static str), u16>, package: &'static str, line: Line) -> Field {
    let element = Scalar::parse(line.element).map(Element::Scalar).unwrap_or_else(|| {
        let named = line.element.split_once('.').unwrap_or((package, line.element));
        Element::Message(TypeRef(*names.get(&named).expect("the tests resolve every reference")))
    });
    Field {
        name: line.name,
        number: line.number,
        shape: line.shape,
        element,
        pointer: line.pointer,
        omit_empty: line.omit_empty,
        omit_zero: line.omit_zero,
        required: line.required,
        list: line.list,
        atomic: line.atomic,
        granular: line.granular,
        merge: line.merge,
        merge_key: line.merge_key,
        retain_keys: line.retain_keys,
        replace: line.replace,
        default: line.default,
    }
}

pub(crate) fn by_number(number: u16) -> &'static Type {
    &table().types[usize::from(number)]
}

/// The type of a kind. Kinds that every group has (`DeleteOptions`, `Status`) are found under each.
pub fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let table = table();
    let number = table
        .kinds
        .get(&(group, version, kind))
        .or_else(|| EVERYWHERE.contains(&kind).then(|| table.kinds.get(&("meta.k8s.io", "v1", kind))).flatten())?;
    Some(by_number(*number))
}

/// The type of a kind in the newest of a group's versions.
pub fn newest(group: &str, kind: &str) -> Option<&'static Type> {
    let versions = table().kinds.iter().filter(|((own, _, name), _)| *own == group && *name == kind);
    versions.max_by_key(|((_, version, _), _)| *version).map(|(_, number)| by_number(*number))
}

/// A type by its package and name: `("meta/v1", "ObjectMeta")`.
pub fn named(package: &str, name: &str) -> Option<&'static Type> {
    table().names.get(&(package, name)).map(|number| by_number(*number))
}

/// Every kind with its group and version, in no order.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str, &'static Type)> {
    table().kinds.iter().map(|((group, version, _), number)| (*group, *version, by_number(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ListType, Shape};

    #[test]
    fn every_file_is_read_and_every_reference_resolves() {
        let mut fields = 0;
        for kind in &table().types {
            let mut numbers: Vec<u32> =
                kind.fields.iter().map(|field| field.number).filter(|&number| number > 0).collect();
            fields += kind.fields.len();
            numbers.sort_unstable();
            let all = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), all, "{}: a number twice", kind.name);
            let mut names: Vec<&str> = kind.json_fields().iter().map(|field| field.name).collect();
            let all = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), all, "{}: a name twice", kind.name);
            for field in &kind.fields {
                if let (ListType::Map(keys), Some(element)) = (field.list, field.message()) {
                    assert!(keys.iter().all(|key| element.field(key).is_some()), "{}.{}", kind.name, field.name);
                }
                assert!(field.shape == Shape::List || field.list == ListType::Atomic, "{}.{}", kind.name, field.name);
                if !field.merge_key.is_empty() {
                    assert!(field.message().is_some_and(|element| element.field(field.merge_key).is_some()));
                }
            }
        }
        assert!(fields > 2000, "{fields} fields");
    }

    #[test]
    fn facts_are_found_by_name() {
        let pod = kind("", "v1", "Pod").unwrap();
        let spec = pod.field("spec").unwrap().message().unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!((containers.number, containers.merge_key, containers.required), (2, "name", true));
        assert_eq!(containers.list, ListType::Map(&["name"]));
        let volume = spec.field("volumes").unwrap().message().unwrap();
        assert_eq!(volume.fields[1].embedded().unwrap().name, "VolumeSource");
        assert_eq!(volume.field("hostPath").unwrap().number, 1);
        let ports = containers.message().unwrap().field("ports").unwrap();
        assert_eq!(ports.list, ListType::Map(&["containerPort", "protocol"]));
        assert_eq!(ports.message().unwrap().field("protocol").unwrap().default, Some("TCP"));
        assert_eq!(kind("apps", "v1", "DeleteOptions").unwrap().package, "meta/v1");
        assert!(kind("apps", "v1", "Pod").is_none());
        assert_eq!(newest("autoscaling", "HorizontalPodAutoscaler").unwrap().package, "autoscaling/v2");
        assert!(newest("", "Deployment").is_none());
    }
}
