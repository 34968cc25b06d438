//! The query and path parameters of operations.

use serde_json::{Value, json};

use super::Dialect;

type Row = (&'static str, &'static str, &'static str);

const DRY_RUN: Row = ("dryRun", "string", "All runs every stage and stores nothing.");
const FIELD_MANAGER: Row = ("fieldManager", "string", "Who makes the change, for managedFields.");
const FIELD_VALIDATION: Row = (
    "fieldValidation",
    "string",
    "What happens to unknown and duplicate fields: Ignore drops them, Warn drops them with a warning, Strict refuses.",
);
const PRETTY: Row = ("pretty", "string", "Whether the answer is indented.");
const RESOURCE_VERSION: Row = ("resourceVersion", "string", "How recent the answer must be.");

const LIST: &[Row] = &[
    ("allowWatchBookmarks", "boolean", "Whether a watch sends BOOKMARK events."),
    ("continue", "string", "Where the list goes on: the token of the page before."),
    ("fieldSelector", "string", "Selects objects by fields."),
    ("labelSelector", "string", "Selects objects by labels."),
    ("limit", "integer", "The largest number of objects in one answer."),
    RESOURCE_VERSION,
    ("resourceVersionMatch", "string", "How resourceVersion is to be read: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Whether a watch begins with all objects that are there."),
    ("timeoutSeconds", "integer", "How long a list or a watch may take."),
    ("watch", "boolean", "Follows changes instead of listing."),
];
const WRITE: &[Row] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCH: &[Row] = &[
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    ("force", "boolean", "Takes fields over from other managers; for apply only."),
];
const DELETE: &[Row] = &[
    DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds until the object goes; 0 is at once."),
    ("orphanDependents", "boolean", "Whether dependents stay; propagationPolicy is newer."),
    ("propagationPolicy", "string", "What happens to dependents: Orphan, Background or Foreground."),
];

/// The parameters of a verb's operation.
pub fn of_verb(verb: &str, dialect: Dialect) -> Vec<Value> {
    let rows: Vec<Row> = match verb {
        "list" => LIST.to_vec(),
        "create" | "update" => WRITE.to_vec(),
        "patch" => PATCH.to_vec(),
        "delete" => DELETE.to_vec(),
        "deletecollection" => [LIST, DELETE].concat().into_iter().filter(|row| row.0 != "watch").collect(),
        _ => Vec::new(),
    };
    rows.into_iter().map(|row| parameter(row, "query", dialect)).collect()
}

/// The parameters that all operations of a path share.
pub fn of_path(namespaced: bool, named: bool, kind: &str, dialect: Dialect) -> Vec<Value> {
    let mut all = Vec::new();
    if named {
        let mut name = parameter(("name", "string", ""), "path", dialect);
        name["description"] = format!("name of the {kind}").into();
        all.push(name);
    }
    if namespaced {
        all.push(parameter(("namespace", "string", "the namespace of the object"), "path", dialect));
    }
    all.push(parameter(PRETTY, "query", dialect));
    all
}

fn parameter((name, kind, description): Row, place: &str, dialect: Dialect) -> Value {
    let mut value = json!({"name": name, "in": place, "description": description});
    if place == "path" {
        value["required"] = true.into();
    }
    match dialect {
        Dialect::V3 => value["schema"] = json!({"type": kind, "uniqueItems": true}),
        Dialect::V2 => {
            value["type"] = kind.into();
            value["uniqueItems"] = true.into();
        }
    }
    value
}
