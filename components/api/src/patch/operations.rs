//! JSON patches: operations on a tree that whoever asks for them throws away when they fail.

use json_patch::{PatchError, PatchOperation, patch_unsafe};
use serde_json::Value;

/// How many bytes all copies of one patch may add; as many as the largest body has.
const MOST_COPIED: usize = 3 * 1024 * 1024;

/// Why a patch does not fit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Patch(#[from] PatchError),
    #[error(
        "Unable to complete the copy, the accumulated size increase of copy is {0}, exceeding the limit {MOST_COPIED}"
    )]
    Copied(usize),
}

impl Error {
    /// Whether the tree is not what a `test` asks for.
    pub fn is_test(&self) -> bool {
        matches!(self, Self::Patch(error) if matches!(error.kind, json_patch::PatchErrorKind::TestFailed))
    }
}

/// Changes a tree. On an error some of it may have been changed: taking changes back is not always possible, and needless
/// here.
pub fn apply(tree: &mut Value, operations: &[PatchOperation]) -> Result<(), Error> {
    let copies = |operation: &PatchOperation| matches!(operation, PatchOperation::Copy(_));
    if !operations.iter().any(copies) {
        return Ok(patch_unsafe(tree, operations)?);
    }
    // A few copies of everything into itself would be more than any memory holds.
    let mut copied = 0;
    for operation in operations {
        if let PatchOperation::Copy(copy) = operation
            && let Some(value) = tree.pointer(copy.from.as_str())
        {
            copied += value.to_string().len();
            if copied > MOST_COPIED {
                return Err(Error::Copied(copied));
            }
        }
        patch_unsafe(tree, std::slice::from_ref(operation))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(mut tree: Value, patch: Value) -> Result<Value, Error> {
        let operations: json_patch::Patch = serde_json::from_value(patch).unwrap();
        apply(&mut tree, &operations).map(|()| tree)
    }

    #[test]
    fn operations_change_a_tree() {
        let tree = || json!({"a": [1, 2], "b": {"c": "d"}});
        let cases = [
            (json!([{"op": "add", "path": "/a/-", "value": 3}]), json!({"a": [1, 2, 3], "b": {"c": "d"}})),
            (
                json!([{"op": "copy", "from": "/b", "path": "/e"}]),
                json!({"a": [1, 2], "b": {"c": "d"}, "e": {"c": "d"}}),
            ),
            (json!([{"op": "move", "from": "/b/c", "path": "/b/f"}]), json!({"a": [1, 2], "b": {"f": "d"}})),
        ];
        for (patch, wanted) in cases {
            assert_eq!(patched(tree(), patch).unwrap(), wanted);
        }
        assert!(patched(tree(), json!([{"op": "test", "path": "/a/0", "value": 2}])).unwrap_err().is_test());
        assert!(!patched(tree(), json!([{"op": "remove", "path": "/x"}])).unwrap_err().is_test());
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
        let doubling: Vec<Value> =
            (0..64).map(|at| json!({"op": "copy", "from": "", "path": format!("/x{at}")})).collect();
        assert!(matches!(patched(json!({"a": "b"}), doubling.into()), Err(Error::Copied(_))));
    }
}
