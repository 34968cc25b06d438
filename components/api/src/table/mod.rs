//! Tables: what `kubectl get` prints. The server picks the columns and fills the cells, kind by kind, so that any client
//! shows an object alike.
//!
//! Columns are data: a name, a type, a priority, and where the cell comes from, which is a path or a function of the object.
//! A kind without a table of its own, such as a role or a custom resource, has its name and the time of its creation.

mod access;
mod cells;
mod cluster;
mod core;
mod devices;
mod human;
mod network;
mod node;
mod pod;
mod storage;
#[cfg(test)]
mod tests;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use cells::{Cell, Row, created, name};
pub use human::{age, human_duration};

/// One column.
#[derive(Debug)]
pub struct Column {
    name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    kind: &'static str,
    /// `name` marks the column that names the object.
    format: &'static str,
    /// Columns of a priority over 0 are shown when more is asked for.
    priority: u8,
    cell: Cell,
}

const DEFAULT: &[Column] = &[name(), created()];

/// The columns of a kind.
pub fn columns(group: &str, kind: &str) -> &'static [Column] {
    let own = match group {
        "" => core::columns(kind),
        "apps" | "batch" | "autoscaling" | "policy" => workloads::columns(kind),
        "discovery.k8s.io" | "networking.k8s.io" => network::columns(kind),
        "storage.k8s.io" => storage::columns(kind),
        "resource.k8s.io" => devices::columns(kind),
        "rbac.authorization.k8s.io" | "certificates.k8s.io" | "admissionregistration.k8s.io" => access::columns(kind),
        "coordination.k8s.io"
        | "events.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "node.k8s.io"
        | "scheduling.k8s.io"
        | "apiregistration.k8s.io" => cluster::columns(kind),
        _ => None,
    };
    own.unwrap_or(DEFAULT)
}

/// The `columnDefinitions` of a Table.
pub fn definitions(columns: &[Column]) -> Value {
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": "",
            "priority": column.priority,
        })
    };
    columns.iter().map(definition).collect()
}

/// How much of the object a row carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    Nothing,
    #[default]
    Metadata,
    Object,
}

impl Include {
    /// The query parameter `includeObject`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::Nothing),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// One object's row. `now` is what ages are counted to.
pub fn row(columns: &[Column], object: Value, include: Include, now: Timestamp) -> Value {
    let view = Row { object: &object, now };
    let cells: Value = columns.iter().map(|column| column.cell.value(view)).collect();
    row_of(cells, object, include)
}

/// The row of an object whose cells are known.
pub fn row_of(cells: Value, object: Value, include: Include) -> Value {
    let conditions = match object["kind"].as_str() {
        Some("Pod") => pod::conditions(&object),
        _ => None,
    };
    let carried = match include {
        Include::Nothing => Value::Null,
        Include::Metadata => partial(object),
        Include::Object => object,
    };
    match conditions {
        Some(conditions) => json!({"cells": cells, "conditions": conditions, "object": carried}),
        None => json!({"cells": cells, "object": carried}),
    }
}

/// An object reduced to its metadata.
pub fn partial(mut object: Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"].take()})
}
