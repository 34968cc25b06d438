//! JSON patches: operations on a tree that whoever asks for them throws away when they fail.
//!
//! They do what upstream's library does, which is more than RFC 6902 allows: what stands before a pointer's first `/` is not
//! looked at, an index may count from the end, a field may be replaced or copied from that is not there, and a missing value
//! is null.

use serde_json::{Map, Value};

/// How many bytes all copies of one patch may add; as many as the largest body has.
const MOST_COPIED: usize = 3 * 1024 * 1024;
const NUL: &Value = &Value::Null;

/// Why a patch does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{0}: missing value")]
    Missing(String),
    #[error("error in {0} for path: '{1}': {2}")]
    Place(&'static str, String, String),
    #[error("testing value {0} failed: test failed")]
    Test(String),
    #[error("Unexpected kind: {0}")]
    Kind(String),
    #[error("replace operation value must be object or array")]
    Root,
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {0}, exceeding the limit {MOST_COPIED}"
    )]
    Copied(usize),
}

impl Error {
    /// Whether the tree is not what a `test` asks for.
    pub fn is_test(&self) -> bool {
        matches!(self, Self::Test(_))
    }
}

/// One step of a patch.
#[derive(Clone, Debug, Default, PartialEq)]
struct Operation {
    /// `add`, or what else was given.
    kind: String,
    path: Option<String>,
    from: Option<String>,
    value: Option<Value>,
}

/// A whole patch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(Vec<Operation>);

impl Patch {
    /// Reads a patch; null is an empty one. The error is that of Go's decoder.
    pub fn read(patch: &Value) -> Result<Self, String> {
        let of = |value: &Value, into: &str| {
            format!("json: cannot unmarshal {} into Go {into}", crate::strict::go_kind(value))
        };
        let list = match patch {
            Value::Null => return Ok(Self::default()),
            Value::Array(list) => list,
            other => return Err(of(other, "value of type []handlers.jsonPatchOp")),
        };
        let nothing = Map::new();
        let mut operations = Vec::with_capacity(list.len());
        for item in list {
            let fields = match item {
                Value::Object(fields) => fields,
                Value::Null => &nothing,
                other => return Err(of(other, "value of type handlers.jsonPatchOp")),
            };
            let text = |name: &str| match fields.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(other) => Err(of(other, &format!("struct field jsonPatchOp.{name} of type string"))),
            };
            let kind = text("op")?.unwrap_or_else(|| "unknown".to_owned());
            let (path, from) = (text("path")?, text("from")?);
            operations.push(Operation { kind, path, from, value: fields.get("value").cloned() });
        }
        Ok(Self(operations))
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the patch does nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Changes a tree. On an error some of it may have been changed.
pub fn apply(tree: &mut Value, patch: &Patch) -> Result<(), Error> {
    let mut copied = 0;
    patch.0.iter().try_for_each(|operation| one(tree, operation, &mut copied))
}

fn one(tree: &mut Value, operation: &Operation, copied: &mut usize) -> Result<(), Error> {
    let kind = operation.kind.as_str();
    let wanted = |pointer: &Option<String>, name: &str| {
        pointer.clone().ok_or_else(|| Error::Missing(format!("{kind} operation failed to decode {name}")))
    };
    let value = || operation.value.clone().unwrap_or_default();
    match kind {
        "add" => put("add", tree, &wanted(&operation.path, "path")?, value()),
        "remove" => {
            let path = wanted(&operation.path, "path")?;
            let (place, key) = container(tree, &path).ok_or_else(|| lacks(kind, "path", &path))?;
            take(place, &key).map_err(|why| Error::Place("remove", path, why)).map(drop)
        }
        "replace" => {
            let path = wanted(&operation.path, "path")?;
            if path.is_empty() {
                *tree = operation.value.clone().filter(|it| it.is_object() || it.is_array()).ok_or(Error::Root)?;
                return Ok(());
            }
            let (place, key) = container(tree, &path).ok_or_else(|| lacks(kind, "path", &path))?;
            match place {
                Value::Array(list) => {
                    let at = index(&key, list.len()).map_err(|_| lacks(kind, "key", &path))?;
                    list[at] = value();
                }
                other => put_field(other, key, value()),
            }
            Ok(())
        }
        "move" => {
            let from = wanted(&operation.from, "from")?;
            let (place, key) = container(tree, &from).ok_or_else(|| lacks(kind, "from path", &from))?;
            let moved = take(place, &key).map_err(|why| Error::Place("move", key, why))?;
            put("move", tree, &wanted(&operation.path, "path")?, moved)
        }
        "copy" => {
            let from = wanted(&operation.from, "from")?;
            let (place, key) = container(tree, &from).ok_or_else(|| lacks(kind, "from path", &from))?;
            let found = get(place, &key).map_err(|why| Error::Place("copy", from, why))?.clone();
            // A few copies of everything into itself would be more than any memory holds.
            *copied += found.to_string().len();
            if *copied > MOST_COPIED {
                return Err(Error::Copied(*copied));
            }
            put("copy", tree, &wanted(&operation.path, "path")?, found)
        }
        "test" => {
            let path = wanted(&operation.path, "path")?;
            let found = if path.is_empty() {
                &*tree
            } else {
                let (place, key) = container(tree, &path).ok_or_else(|| lacks(kind, "path", &path))?;
                get(place, &key).map_err(|why| Error::Place("test", path.clone(), why))?
            };
            if found == operation.value.as_ref().unwrap_or(NUL) { Ok(()) } else { Err(Error::Test(path)) }
        }
        other => Err(Error::Kind(other.to_owned())),
    }
}

fn lacks(kind: &str, what: &str, path: &str) -> Error {
    // Upstream's library quotes what two of its operations are told.
    let quoted = matches!(kind, "add" | "remove") && what == "path";
    let path = if quoted { format!("\"{path}\"") } else { path.to_owned() };
    let doc = if kind == "test" { "" } else { "doc " };
    Error::Missing(format!("{kind} operation does not apply: {doc}is missing {what}: {path}"))
}

/// The object or list that a pointer leads to, and the name within it.
fn container<'t>(tree: &'t mut Value, path: &str) -> Option<(&'t mut Value, String)> {
    let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
    let (_, steps) = path.split_once('/')?;
    let (before, last) = steps.rsplit_once('/').map_or((None, steps), |(before, last)| (Some(before), last));
    let mut at = tree;
    for step in before.into_iter().flat_map(|before| before.split('/')) {
        at = match at {
            Value::Object(map) => map.get_mut(&unescaped(step))?,
            Value::Array(list) => {
                let place = index(&unescaped(step), list.len()).ok()?;
                list.get_mut(place)?
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then(|| (at, unescaped(last)))
}

/// An element's place; below zero it counts from the end.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let number: isize = key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))?;
    let place = if number < 0 { length.checked_add_signed(number) } else { usize::try_from(number).ok() };
    place
        .filter(|place| *place < length)
        .ok_or_else(|| format!("Unable to access invalid index: {number}: invalid index referenced"))
}

fn get<'t>(place: &'t Value, key: &str) -> Result<&'t Value, String> {
    match place {
        Value::Array(list) => index(key, list.len()).map(|at| &list[at]),
        other => Ok(other.get(key).unwrap_or(NUL)),
    }
}

fn take(place: &mut Value, key: &str) -> Result<Value, String> {
    match place {
        Value::Array(list) => index(key, list.len()).map(|at| list.remove(at)),
        other => {
            let taken = other.as_object_mut().and_then(|map| map.remove(key));
            taken.ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
    }
}

fn put(kind: &'static str, tree: &mut Value, path: &str, value: Value) -> Result<(), Error> {
    let what = if kind == "add" { "path" } else { "destination path" };
    let (place, key) = container(tree, path).ok_or_else(|| lacks(kind, what, path))?;
    match place {
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(&key, list.len() + 1).map_err(|why| Error::Place(kind, path.to_owned(), why))?;
            list.insert(at, value);
        }
        other => put_field(other, key, value),
    }
    Ok(())
}

fn put_field(place: &mut Value, key: String, value: Value) {
    if let Some(map) = place.as_object_mut() {
        map.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(mut tree: Value, patch: Value) -> Result<Value, Error> {
        apply(&mut tree, &Patch::read(&patch).unwrap()).map(|()| tree)
    }

    #[test]
    fn operations_change_a_tree() {
        let tree = || json!({"a": [1, 2], "b": {"c": "d"}});
        let of = |a: Value, b: Value| json!({"a": a, "b": b});
        let (a, b) = (|| json!([1, 2]), || json!({"c": "d"}));
        let cases = [
            (json!([{"op": "add", "path": "/a/-", "value": 3}]), of(json!([1, 2, 3]), b())),
            (json!([{"op": "add", "path": "/a/0", "value": 3}]), of(json!([3, 1, 2]), b())),
            (json!([{"op": "add", "path": "/a/2", "value": 3}]), of(json!([1, 2, 3]), b())),
            (json!([{"op": "add", "path": "/a/-1", "value": 3}]), of(json!([1, 2, 3]), b())),
            (json!([{"op": "remove", "path": "/a/-1"}]), of(json!([1]), b())),
            (json!([{"op": "copy", "from": "/b", "path": "/e"}]), json!({"a": [1, 2], "b": b(), "e": b()})),
            (json!([{"op": "copy", "from": "/b/x", "path": "/b/y"}]), of(a(), json!({"c": "d", "y": null}))),
            (json!([{"op": "move", "from": "/b/c", "path": "/b/f"}]), of(a(), json!({"f": "d"}))),
            (json!([{"op": "replace", "path": "/b/new", "value": 1}]), of(a(), json!({"c": "d", "new": 1}))),
            (json!([{"op": "add", "path": "/b/x~1y~0", "value": 1}]), of(a(), json!({"c": "d", "x/y~": 1}))),
            (json!([{"op": "add", "path": "/b/x~2", "value": 1}]), of(a(), json!({"c": "d", "x~2": 1}))),
            (json!([{"op": "add", "path": "b/c", "value": 1}]), json!({"a": a(), "b": b(), "c": 1})),
            (json!([{"op": "add", "path": "/b/c"}]), of(a(), json!({"c": null}))),
            (json!([{"op": "test", "path": "/b/none", "value": null}]), tree()),
            (json!([{"op": "test", "path": "/b/none"}]), tree()),
            (json!([{"op": "replace", "path": "", "value": {"x": 1}}]), json!({"x": 1})),
            (json!(null), tree()),
        ];
        for (patch, wanted) in cases {
            assert_eq!(patched(tree(), patch.clone()), Ok(wanted), "{patch}");
        }
        let refused = [
            json!({"op": "add", "path": "", "value": {}}),
            json!({"op": "add", "path": "/a/4", "value": 1}),
            json!({"op": "add", "path": "/x/y", "value": 1}),
            json!({"op": "add", "path": "/b/c/x", "value": 1}),
            json!({"op": "add"}),
            json!({"op": "remove", "path": "/x"}),
            json!({"op": "remove", "path": "/a/-"}),
            json!({"op": "remove", "path": "/a/2"}),
            json!({"op": "replace", "path": "/a/2", "value": 1}),
            json!({"op": "replace", "path": "", "value": "x"}),
            json!({"op": "move", "from": "/b/x", "path": "/y"}),
            json!({"op": "move", "path": "/y"}),
            json!({"op": "ADD", "path": "/y"}),
            json!({"path": "/y"}),
            json!(null),
        ];
        for operation in refused {
            let error = patched(tree(), json!([operation])).unwrap_err();
            assert!(!error.is_test(), "{operation}: {error}");
        }
        for test in
            [json!({"op": "test", "path": "/a/0", "value": 2}), json!({"op": "test", "path": "/b/x", "value": 2})]
        {
            assert!(patched(tree(), json!([test])).unwrap_err().is_test());
        }
    }

    #[test]
    fn what_is_no_patch_is_told_as_go_does() {
        let cases = [
            (json!({}), "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
            (json!([1]), "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
            (json!([{"op": 1}]), "json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"),
        ];
        for (patch, wanted) in cases {
            assert_eq!(Patch::read(&patch).unwrap_err(), wanted);
        }
    }

    #[test]
    fn a_patch_that_cannot_be_taken_back_fails_all_the_same() {
        let patch = json!([
            {"op": "move", "from": "/a/0", "path": "/a"},
            {"op": "remove", "path": "/nothing"},
        ]);
        assert!(patched(json!({"a": [{"b": 1}]}), patch).is_err());
    }

    #[test]
    fn copies_do_not_grow_without_end() {
        let doubling: Vec<Value> = (0..64).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
        assert!(matches!(patched(json!({"a": ["b"]}), doubling.into()), Err(Error::Copied(_))));
    }
}
