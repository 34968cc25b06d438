//! Decoding as the API's Go types do it: fields that a type lacks are dropped and told, fields given twice are told, and a
//! value of another type is refused in the words of Go's decoder.

mod parse;
mod scalar;

use kinit_schema::{Element, Field, Scalar, Shape, Type};
use serde_json::{Map, Value};

pub use parse::{Parsed, go_syntax, go_yaml, parse, parse_yaml};

/// A value that its field cannot hold; the text is that of Go's decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{decoded}")]
pub struct TypeError {
    decoded: String,
    converted: String,
}

impl TypeError {
    /// An error whose text is the same wherever the value was.
    pub fn new(text: String) -> Self {
        Self { converted: text.clone(), decoded: text }
    }

    /// What is told where the value was in a tree already, as it is after a strategic merge patch or an apply.
    pub fn converted(&self) -> &str {
        &self.converted
    }
}

/// Where a value is: a list that grows towards the leaves, so that nothing is built until there is something to tell.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    /// A field of a type, with the type.
    Field(&'a str, &'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    fn then(&'a self, step: Step<'a>) -> Path<'a> {
        Path { parent: Some(self), step }
    }

    /// `spec.containers[0].image`, as messages about fields have it.
    fn text(&self) -> String {
        let before = self.parent.map(Path::text).unwrap_or_default();
        match self.step {
            Step::Root => String::new(),
            Step::Field(_, name) | Step::Key(name) if before.is_empty() => name.to_owned(),
            Step::Field(_, name) | Step::Key(name) => format!("{before}.{name}"),
            Step::Index(index) => format!("{before}[{index}]"),
        }
    }

    /// `Container.spec.containers.image`: the innermost type, then the fields, as Go's decoder names a place.
    fn go_text(&self) -> String {
        let mut fields = Vec::new();
        let mut owner = "";
        let mut at = Some(self);
        while let Some(path) = at {
            if let Step::Field(of, name) = path.step {
                if fields.is_empty() {
                    owner = of;
                }
                fields.push(name);
            }
            at = path.parent;
        }
        fields.push(owner);
        fields.reverse();
        fields.join(".")
    }

    fn mismatch(&self, value: &Value, wanted: &str) -> TypeError {
        let found = match value {
            Value::Number(number) if is_integer(wanted) => format!("number {number}"),
            other => go_kind(other).to_owned(),
        };
        let place = self.go_text();
        TypeError {
            decoded: format!("json: cannot unmarshal {found} into Go struct field {place} of type {wanted}"),
            converted: unconvertible(value, wanted),
        }
    }
}

fn is_integer(wanted: &str) -> bool {
    matches!(wanted, "int32" | "int64" | "uint8" | "uint64")
}

/// What Go's conversion of trees says of a value of another type than `wanted`: it knows which types the language converts.
fn unconvertible(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "interface",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    };
    if wanted.starts_with("[]") {
        return format!("cannot restore slice from {found}");
    }
    if wanted.starts_with("map[") {
        return format!("cannot restore map from {found}");
    }
    let convertible = match found {
        "int64" => wanted == "string",
        "float64" => is_integer(wanted),
        _ => false,
    };
    match wanted {
        _ if convertible => format!("cannot convert {found} to {wanted}"),
        "string" | "bool" | "float64" => format!("unrecognized type: {wanted}"),
        _ if is_integer(wanted) => format!("unrecognized type: {wanted}"),
        _ => format!("cannot restore struct from: {found}"),
    }
}

/// Makes an object hold what its type can: unknown fields go, and are returned as paths; nulls go, as absence means the
/// same.
pub fn conform(object: &mut Map<String, Value>, schema: &'static Type) -> Result<Vec<String>, TypeError> {
    let mut unknown = Vec::new();
    message(object, schema, &Path::ROOT, &mut unknown)?;
    Ok(unknown)
}

fn message(
    object: &mut Map<String, Value>,
    schema: &'static Type,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    let mut failed = None;
    object.retain(|name, value| {
        if failed.is_some() {
            return true;
        }
        let here = path.then(Step::Field(schema.name, name));
        let Some(field) = schema.field(name) else {
            let own = schema.kind && matches!(name.as_str(), "apiVersion" | "kind");
            if !own {
                unknown.push(here.text());
            } else if !value.is_string() && !value.is_null() {
                failed = Some(here.mismatch(value, "string"));
            }
            return own && !value.is_null();
        };
        if value.is_null() {
            return false;
        }
        failed = of_field(value, field, &here, unknown).err();
        true
    });
    failed.map_or(Ok(()), Err)
}

fn of_field(
    value: &mut Value,
    field: &'static Field,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    match (field.shape, value) {
        (Shape::One, value) => element(value, field, path, unknown),
        (Shape::List, Value::Array(list)) => list
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, value)| element(value, field, &path.then(Step::Index(index)), unknown)),
        (Shape::Map, Value::Object(map)) => {
            map.iter_mut().try_for_each(|(key, value)| element(value, field, &path.then(Step::Key(key)), unknown))
        }
        (Shape::List, other) => Err(path.mismatch(other, &format!("[]{}", go_type(field)))),
        (Shape::Map, other) => Err(path.mismatch(other, &format!("map[string]{}", go_type(field)))),
    }
}

fn element(
    value: &mut Value,
    field: &'static Field,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    match field.element {
        Element::Scalar(scalar) => scalar::check(value, scalar, path, unknown),
        Element::Message(schema) => props(value, schema.get(), path, unknown),
    }
}

/// An object of a type; null is an empty one.
fn props(
    value: &mut Value,
    schema: &'static Type,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), TypeError> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => message(map, schema, path, unknown),
        other => Err(path.mismatch(other, &go_name(schema))),
    }
}

/// What Go calls a value's type.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `v1.Container`.
fn go_name(schema: &Type) -> String {
    format!("{}.{}", schema.package.rsplit('/').next().unwrap_or_default(), schema.name)
}

fn go_type(field: &Field) -> String {
    match field.element {
        Element::Message(schema) => go_name(schema.get()),
        Element::Scalar(Scalar::Strings) => "[]string".into(),
        Element::Scalar(scalar) => scalar::go_type(scalar).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conformed(kind: &str, mut value: Value) -> Result<(Value, Vec<String>), String> {
        let (group, version) = match kind {
            "Deployment" => ("apps", "v1"),
            "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1"),
            _ => ("", "v1"),
        };
        let schema = kinit_schema::kind(group, version, kind).unwrap();
        let unknown = conform(value.as_object_mut().unwrap(), schema).map_err(|error| error.to_string())?;
        Ok((value, unknown))
    }

    #[test]
    fn unknown_fields_and_nulls_go() {
        let pod = json!({"kind": "Pod", "metadata": {"creationTimestamp": null, "labels": {"a": null}}, "spec": {
            "containers": [{"name": "a", "imagee": "x", "volumeMounts": null}], "nodeSelector": {"any": "1"},
            "hostPath": {}, "volumes": [{"name": "v", "hostPath": {"path": "/", "typ": ""}}],
        }});
        let (pod, unknown) = conformed("Pod", pod).unwrap();
        assert_eq!(unknown, ["spec.containers[0].imagee", "spec.hostPath", "spec.volumes[0].hostPath.typ"]);
        let expected = json!({"kind": "Pod", "metadata": {"labels": {"a": ""}}, "spec": {
            "containers": [{"name": "a"}], "nodeSelector": {"any": "1"},
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        }});
        assert_eq!(pod, expected);
    }

    #[test]
    fn free_form_values_stay() {
        let crd = json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
            "type": "object", "default": {"any": [null]}, "x": 1,
            "additionalProperties": {"type": "string", "y": 1}, "items": {"type": "string"},
            "properties": {"a": {"type": "string", "z": 1}},
        }}}]}});
        let (crd, unknown) = conformed("CustomResourceDefinition", crd).unwrap();
        let base = "spec.versions[0].schema.openAPIV3Schema";
        let expected = [".additionalProperties.y", ".properties.a.z", ".x"].map(|end| format!("{base}{end}"));
        assert_eq!(unknown, expected);
        assert_eq!(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["default"], json!({"any": [null]}));
    }

    #[test]
    fn what_was_a_tree_already_is_refused_in_other_words() {
        let cases = [
            (json!({"metadata": {"labels": {"a": 1}}}), "cannot convert int64 to string"),
            (json!({"metadata": {"labels": []}}), "cannot restore map from slice"),
            (json!({"spec": {"replicas": "1"}}), "unrecognized type: int32"),
            (json!({"spec": {"replicas": 1.5}}), "cannot convert float64 to int32"),
            (json!({"spec": {"paused": "x"}}), "unrecognized type: bool"),
            (json!({"spec": "x"}), "cannot restore struct from: string"),
            (json!({"spec": {"template": {"spec": {"containers": {}}}}}), "cannot restore slice from map"),
        ];
        let schema = kinit_schema::kind("apps", "v1", "Deployment").unwrap();
        for (mut value, wanted) in cases {
            let error = conform(value.as_object_mut().unwrap(), schema).unwrap_err();
            assert_eq!(error.converted(), wanted, "{value}");
        }
    }

    #[test]
    fn other_types_are_refused_as_go_does() {
        let field = |path: &str, wanted: &str| format!("Go struct field {path} of type {wanted}");
        let cases = [
            (json!({"spec": {"replicas": "1"}}), "string", field("DeploymentSpec.spec.replicas", "int32")),
            (json!({"spec": {"replicas": 1.5}}), "number 1.5", field("DeploymentSpec.spec.replicas", "int32")),
            (
                json!({"spec": {"replicas": 3_000_000_000_u32}}),
                "number 3000000000",
                field("DeploymentSpec.spec.replicas", "int32"),
            ),
            (json!({"spec": "x"}), "string", field("Deployment.spec", "v1.DeploymentSpec")),
            (json!({"spec": {"paused": 1}}), "number", field("DeploymentSpec.spec.paused", "bool")),
            (json!({"metadata": {"labels": {"a": 1}}}), "number", field("ObjectMeta.metadata.labels", "string")),
            (
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                "object",
                field("PodSpec.spec.template.spec.containers", "[]v1.Container"),
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": true}]}]}}}}),
                "bool",
                field("EnvVar.spec.template.spec.containers.env.name", "string"),
            ),
        ];
        for (value, found, place) in cases {
            let expected = format!("json: cannot unmarshal {found} into {place}");
            assert_eq!(conformed("Deployment", value.clone()).unwrap_err(), expected, "{value}");
        }
        let limits = |cpu: Value| json!({"spec": {"containers": [{"resources": {"limits": {"cpu": cpu}}}]}});
        assert!(conformed("Pod", limits(json!("1x"))).unwrap_err().starts_with("quantities must match"));
        assert_eq!(conformed("Pod", limits(json!(2))).unwrap().0, limits(json!("2")));
        let secret = conformed("Secret", json!({"data": {"a": "AA==", "b": "*"}}));
        assert_eq!(secret.unwrap_err(), "illegal base64 data at input byte 0");
        let time = conformed("Pod", json!({"metadata": {"creationTimestamp": "yesterday"}}));
        assert!(time.unwrap_err().starts_with("parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\""));
    }
}
