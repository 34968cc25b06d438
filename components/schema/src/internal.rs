//! Values as messages of upstream's server print them. It decides about types of its own, which have no JSON names, and prints
//! them as Go does: every field, by the name that it has in Go and in the order of that type, with nothing left out. Types of
//! `meta/v1` are the same there as on the wire, and so are their fields' names.
//!
//! # The file
//!
//! A type's fields are those of the table, each with its first letter large, unless `types/internal.txt` lists others:
//!
//! ```text
//! core/v1.PodSpec
//!   Volumes DNSPolicy=dnsPolicy
//! ```
//!
//! - `Name=field` is a field of another name than its own with a large letter; `.Name` is an embedded type.
//! - `&Name` is no pointer and `*Name` is one, where the type on the wire differs.
//! - `Name=.` is the type that is embedded on the wire, as a field; `Name=^field` is a field of the object around.
//! - `Name:value` has that value always: it is not on the wire.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::types::{Element, Field, Scalar, Shape, Type};

/// Where a field of a type comes from.
#[derive(Debug, PartialEq)]
enum Source {
    Field(&'static str),
    /// The fields of an embedded type, by its name.
    Embedded(&'static str),
    /// An embedded type, as one field.
    Whole(&'static str),
    /// A field of the object around.
    Around(&'static str),
    /// What is not on the wire.
    Always(&'static str),
}

/// A field that the file lists.
#[derive(Debug)]
struct Listed {
    name: &'static str,
    source: Source,
    /// Whether it is a pointer, where that is said.
    pointer: Option<bool>,
}

type File = HashMap<(&'static str, &'static str), Vec<Listed>>;

fn file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| read(include_str!("types/internal.txt")).expect("the tests read the file"))
}

fn read(text: &'static str) -> Option<File> {
    let mut all = File::new();
    let mut current = None;
    for line in text.lines() {
        match line.strip_prefix("  ") {
            None => current = Some(line.split_once('.')?),
            Some(fields) => {
                let listed: &mut Vec<Listed> = all.entry(current?).or_default();
                for word in fields.split(' ') {
                    listed.push(listed_field(word)?);
                }
            }
        }
    }
    Some(all)
}

fn listed_field(word: &'static str) -> Option<Listed> {
    let (pointer, word) = match (word.strip_prefix('*'), word.strip_prefix('&')) {
        (Some(rest), _) => (Some(true), rest),
        (_, Some(rest)) => (Some(false), rest),
        _ => (None, word),
    };
    let (name, source) = match (word.strip_prefix('.'), word.split_once('='), word.split_once(':')) {
        (Some(embedded), ..) => ("", Source::Embedded(embedded)),
        (_, Some((name, ".")), _) => (name, Source::Whole(name)),
        (_, Some((name, field)), _) => (name, field.strip_prefix('^').map_or(Source::Field(field), Source::Around)),
        (_, _, Some((name, value))) => (name, Source::Always(value)),
        _ => (word, Source::Field("")),
    };
    Some(Listed { name, source, pointer })
}

/// JSON whose objects keep the order of their fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// A value without fields, or one whose fields are in no order but the alphabet's.
    Plain(Value),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// A value of a type.
    pub fn of(kind: &Type, value: &Value) -> Self {
        Self::Object(object(kind, value, None))
    }

    /// A value that was found at a path, such as `spec.containers[0].env`, in an object of type `root`. Where the path leads to
    /// nothing that has fields, a value that has some is the object around; where it leads nowhere, it is written as it is.
    pub fn at(root: &'static Type, path: &str, value: &Value) -> Self {
        let (mut around, mut found, mut inside) = (root, None::<&Field>, false);
        for step in steps(path) {
            let Some(name) = step else {
                inside = true;
                continue;
            };
            let next = found.map_or(Some(root), Field::message).and_then(|kind| Some((kind, kind.field(name)?)));
            let Some((kind, field)) = next else { return Self::Plain(value.clone()) };
            (around, found, inside) = (kind, Some(field), false);
        }
        let Some(field) = found else { return Self::of(root, value) };
        match (field.element, field.shape, value) {
            (_, Shape::List, Value::Array(_)) => whole(field, field.pointer, value, None),
            (_, Shape::Map, Value::Object(_)) if !inside => whole(field, field.pointer, value, None),
            (Element::Scalar(Scalar::String | Scalar::Bool | Scalar::I32 | Scalar::I64), _, Value::Object(_)) => {
                Self::of(around, value)
            }
            _ => element(field, value, None),
        }
    }

    /// On one line, as Go's encoder writes it.
    pub fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    /// On lines of their own, a blank deeper for each level.
    pub fn indented(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    fn write(&self, out: &mut String, depth: Option<usize>) {
        match self {
            Self::Plain(Value::Object(map)) => {
                let fields = map.iter().map(|(name, value)| (name.as_str(), Self::Plain(value.clone())));
                block(out, depth, ['{', '}'], fields.map(|(name, value)| (Some(name.to_owned()), value)).collect());
            }
            Self::Plain(Value::Array(list)) => {
                let items = list.iter().map(|item| (None, Self::Plain(item.clone())));
                block(out, depth, ['[', ']'], items.collect());
            }
            Self::Plain(value) => escape(out, &value.to_string()),
            Self::List(list) => {
                block(out, depth, ['[', ']'], list.iter().map(|item| (None, item.clone())).collect());
            }
            Self::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| (Some(name.clone()), value.clone()));
                block(out, depth, ['{', '}'], fields.collect());
            }
        }
    }
}

fn block(out: &mut String, depth: Option<usize>, [open, close]: [char; 2], parts: Vec<(Option<String>, Tree)>) {
    out.push(open);
    let inner = depth.map(|depth| depth + 1);
    let empty = parts.is_empty();
    for (at, (name, value)) in parts.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        line(out, inner);
        if let Some(name) = name {
            escape(out, &Value::String(name).to_string());
            out.push_str(if depth.is_some() { ": " } else { ":" });
        }
        value.write(out, inner);
    }
    if !empty {
        line(out, depth);
    }
    out.push(close);
}

fn line(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    }
}

/// Go's encoder escapes what would mean something in HTML or JavaScript.
fn escape(out: &mut String, json: &str) {
    for letter in json.chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            _ => out.push(letter),
        }
    }
}

/// The steps of a path: names of fields, and `None` for an index or a key, which may have dots in it.
fn steps(path: &str) -> Vec<Option<&str>> {
    let (mut steps, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        if let Some(key) = rest.strip_prefix('[') {
            steps.push(None);
            rest = key.split_once(']').map_or("", |(_, rest)| rest);
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            steps.push(Some(&name[..end]));
            rest = &name[end..];
        }
    }
    steps
}

/// The object around, for fields that stand there on the wire.
type Around<'a> = Option<(&'a Type, &'a Value)>;

fn object(kind: &Type, value: &Value, around: Around<'_>) -> Vec<(String, Tree)> {
    if kind.package == "meta/v1" {
        return on_the_wire(kind, value);
    }
    let mut fields = Vec::new();
    let Some(listed) = file().get(&(kind.package, kind.name)) else {
        for field in &kind.fields {
            add(&mut fields, &large(field.name), field, field.pointer, kind, value);
        }
        return fields;
    };
    for listed in listed {
        match &listed.source {
            Source::Field(name) => {
                let field = match *name {
                    "" => kind.fields.iter().find(|field| large(field.name) == listed.name),
                    name => kind.fields.iter().find(|field| field.name == name),
                };
                if let Some(field) = field {
                    add(&mut fields, listed.name, field, listed.pointer.unwrap_or(field.pointer), kind, value);
                }
            }
            Source::Embedded("metadata") => {
                if let Some(field) = kind.field("metadata") {
                    add(&mut fields, "", field, false, kind, value);
                }
            }
            Source::Embedded(name) | Source::Whole(name) => {
                let inner = kind.fields.iter().filter_map(Field::embedded).find(|inner| inner.name == *name);
                let inner = inner.map(|inner| object(inner, value, Some((kind, value)))).unwrap_or_default();
                match listed.source {
                    Source::Whole(_) => fields.push((listed.name.to_owned(), Tree::Object(inner))),
                    _ => fields.extend(inner),
                }
            }
            Source::Around(name) => {
                let field = around.and_then(|(kind, value)| Some((kind.field(name)?, value)));
                let tree = field.map(|(field, value)| whole(field, field.pointer, &value[*name], None));
                fields.push((listed.name.to_owned(), tree.unwrap_or(Tree::Plain(Value::Null))));
            }
            Source::Always(value) => {
                let value = serde_json::from_str(value).unwrap_or_default();
                fields.push((listed.name.to_owned(), Tree::Plain(value)));
            }
        }
    }
    fields
}

fn add(fields: &mut Vec<(String, Tree)>, name: &str, field: &Field, pointer: bool, kind: &Type, value: &Value) {
    let around = Some((kind, value));
    match (field.embedded(), field.message()) {
        (Some(inner), _) => fields.extend(object(inner, value, around)),
        // Embedded there, though a field on the wire.
        (None, Some(meta)) if field.name == "metadata" && matches!(meta.name, "ObjectMeta" | "ListMeta") => {
            fields.extend(on_the_wire(meta, &value["metadata"]));
        }
        _ => fields.push((name.to_owned(), whole(field, pointer, &value[field.name], around))),
    }
}

/// The name with its first letter large.
fn large(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn whole(field: &Field, pointer: bool, value: &Value, around: Around<'_>) -> Tree {
    match (field.shape, value) {
        (Shape::List, Value::Array(list)) => Tree::List(list.iter().map(|item| element(field, item, None)).collect()),
        (Shape::Map, Value::Object(map)) => {
            Tree::Object(map.iter().map(|(key, item)| (key.clone(), element(field, item, None))).collect())
        }
        (Shape::One, Value::Null) if pointer => Tree::Plain(Value::Null),
        (Shape::One, value) => element(field, value, around),
        _ => Tree::Plain(Value::Null),
    }
}

fn element(field: &Field, value: &Value, around: Around<'_>) -> Tree {
    match field.element {
        Element::Message(reference) => Tree::Object(object(reference.get(), value, around)),
        Element::Scalar(scalar) if value.is_null() => Tree::Plain(zero(scalar)),
        Element::Scalar(_) => Tree::Plain(value.clone()),
    }
}

/// What Go has where nothing was said.
fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Bool => false.into(),
        Scalar::I32 | Scalar::I64 | Scalar::U8 | Scalar::U64 | Scalar::F64 | Scalar::IntOrString => 0.into(),
        Scalar::String => "".into(),
        Scalar::Quantity => "0".into(),
        Scalar::Duration => "0s".into(),
        _ => Value::Null,
    }
}

/// A type that is the same there as on the wire: with the names of JSON, and what is empty left out where Go says so.
fn on_the_wire(kind: &Type, value: &Value) -> Vec<(String, Tree)> {
    let mut fields = Vec::new();
    for field in kind.json_fields() {
        let own = &value[field.name];
        let empty = match own {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => field.shape == Shape::Map && map.is_empty(),
            own => !field.pointer && matches!(field.element, Element::Scalar(scalar) if zero(scalar) == *own),
        };
        let structure = field.shape == Shape::One && !field.pointer && field.message().is_some() && !field.omit_zero;
        if !(field.omit_empty && empty) || structure {
            fields.push((field.name.to_owned(), whole(field, field.pointer, own, None)));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::named;

    #[test]
    fn every_line_of_the_file_names_what_there_is() {
        for ((package, name), listed) in file() {
            let kind = named(package, name).unwrap_or_else(|| panic!("{package}.{name}"));
            for one in listed {
                let known = match &one.source {
                    Source::Field("") => kind.fields.iter().any(|field| large(field.name) == one.name),
                    Source::Field(field) => kind.fields.iter().any(|own| own.name == *field),
                    Source::Embedded("metadata") => kind.field("metadata").is_some(),
                    Source::Embedded(inner) | Source::Whole(inner) => {
                        kind.fields.iter().filter_map(Field::embedded).any(|own| own.name == *inner)
                    }
                    Source::Around(field) => named("core/v1", "PodSpec").unwrap().field(field).is_some(),
                    Source::Always(value) => serde_json::from_str::<Value>(value).is_ok(),
                };
                assert!(known, "{package}.{name} {one:?}");
            }
        }
        assert!(file().len() > 100, "{}", file().len());
    }

    fn compact(package: &str, name: &str, value: &Value) -> String {
        Tree::of(named(package, name).unwrap(), value).compact()
    }

    #[test]
    fn fields_have_the_names_and_the_order_of_the_type_in_go() {
        let cases = [
            (
                ("policy/v1", "PodDisruptionBudgetSpec"),
                json!({"maxUnavailable": 1, "minAvailable": "5%"}),
                r#"{"MinAvailable":"5%","Selector":null,"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}"#,
            ),
            (
                ("rbac/v1", "RoleRef"),
                json!({"apiGroup": "a", "kind": "Role", "name": "<s>"}),
                r#"{"APIGroup":"a","Kind":"Role","Name":"\u003cs\u003e"}"#,
            ),
            (
                ("core/v1", "SecretKeySelector"),
                json!({"name": "a", "key": "b"}),
                r#"{"Name":"a","Key":"b","Optional":null}"#,
            ),
            (
                ("core/v1", "ServiceAccountTokenProjection"),
                json!({"path": "a"}),
                r#"{"Audience":"","ExpirationSeconds":0,"Path":"a"}"#,
            ),
            (
                ("admissionregistration/v1", "NamedRuleWithOperations"),
                json!({"operations": ["*"], "resources": ["pods"]}),
                r#"{"ResourceNames":null,"RuleWithOperations":{"Operations":["*"],"APIGroups":null,"APIVersions":null,"Resources":["pods"],"Scope":null}}"#,
            ),
            (
                ("meta/v1", "LabelSelector"),
                json!({"matchExpressions": [{"operator": "Exists", "key": "a"}], "matchLabels": {}}),
                r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#,
            ),
            (
                ("core/v1", "ResourceQuotaSpec"),
                json!({"hard": {"b": "1", "a": "2"}, "scopes": []}),
                r#"{"Hard":{"a":"2","b":"1"},"Scopes":[],"ScopeSelector":null}"#,
            ),
            (
                ("core/v1", "PodTemplateSpec"),
                json!({"metadata": {"labels": {"a": "b"}, "name": "n"}}),
                r#"{"name":"n","labels":{"a":"b"},"Spec":{"Volumes":null,"InitContainers":null,"#,
            ),
        ];
        for ((package, name), value, expected) in cases {
            let text = compact(package, name, &value);
            assert!(text.starts_with(expected) && (text == expected || name == "PodTemplateSpec"), "{text}");
        }
    }

    #[test]
    fn what_stands_around_on_the_wire_is_inside() {
        let spec = json!({"hostNetwork": true, "securityContext": {"runAsUser": 7}});
        let text = compact("core/v1", "PodSpec", &spec);
        let expected = r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null,"WindowsOptions":null,"RunAsUser":7,"#;
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn trees_are_indented_as_go_does() {
        let tree = Tree::of(named("core/v1", "HostAlias").unwrap(), &json!({"ip": "::1", "hostnames": ["a"]}));
        assert_eq!(tree.indented(), "{\n \"IP\": \"::1\",\n \"Hostnames\": [\n  \"a\"\n ]\n}");
        assert_eq!(Tree::Plain(json!({"a": {}, "b": []})).indented(), "{\n \"a\": {},\n \"b\": []\n}");
    }

    #[test]
    fn values_look_as_the_type_of_their_place_does() {
        let node = json!({"name": "d", "nodeID": "m"});
        let expected = r#"{"Name":"d","NodeID":"m","TopologyKeys":null,"Allocatable":null}"#;
        let rule =
            r#"{"Rule":"a","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}"#;
        let schema = "spec.versions[0].schema.openAPIV3Schema.properties[a.b].x-kubernetes-validations[1].rule";
        let cases = [
            (("storage.k8s.io", "CSINode"), "spec.drivers", node.clone(), expected.to_owned()),
            (("storage.k8s.io", "CSINode"), "spec.drivers[3]", node.clone(), expected.to_owned()),
            (("storage.k8s.io", "CSINode"), "spec.drivers", json!([node]), format!("[{expected}]")),
            (("", "Pod"), "spec.nodeSelector", json!({"B": "c", "a": "d"}), r#"{"B":"c","a":"d"}"#.to_owned()),
            (("", "Pod"), "spec.imagePullSecrets[x.y]", json!({"name": "d"}), r#"{"Name":"d"}"#.to_owned()),
            (("", "Pod"), "spec.unknown", json!({"name": "d"}), r#"{"name":"d"}"#.to_owned()),
            (("", "Service"), "spec.clusterIPs[0]", json!(["a", "b"]), r#"["a","b"]"#.to_owned()),
            (("apps", "Deployment"), "spec.selector", json!({}), "{}".to_owned()),
            (("apiextensions.k8s.io", "CustomResourceDefinition"), schema, json!({"rule": "a"}), rule.to_owned()),
        ];
        for ((group, kind), path, value, expected) in cases {
            let root = crate::newest(group, kind).unwrap();
            assert_eq!(Tree::at(root, path, &value).compact(), expected, "{path}");
        }
    }
}
