//! Where the cells of a column come from, and the columns that many kinds share.

use jiff::Timestamp;
use serde_json::Value;

use super::Column;
use super::human::{age, text};

/// What a cell is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub object: &'a Value,
    pub now: Timestamp,
}

/// Where a cell comes from. Paths are JSON pointers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    /// The string at a path, or another one where it is absent or empty.
    Text(&'static str, &'static str),
    /// The integer at a path, or 0.
    Int(&'static str),
    /// The boolean at a path, or another one where it is absent.
    Bool(&'static str, bool),
    /// How many elements the lists or maps at two paths have together; the second may be empty.
    Count(&'static str, &'static str),
    /// The time since the time at a path, or another text where there is none.
    Since(&'static str, &'static str),
    /// Whatever a function says.
    Made(fn(Row<'_>) -> Value),
}

impl Cell {
    pub(super) fn value(self, row: Row<'_>) -> Value {
        let at = |path: &str| row.object.pointer(path);
        match self {
            Self::Text(path, otherwise) => match at(path).and_then(Value::as_str) {
                None | Some("") => otherwise.into(),
                Some(text) => text.into(),
            },
            Self::Int(path) => at(path).and_then(Value::as_i64).unwrap_or_default().into(),
            Self::Bool(path, otherwise) => at(path).and_then(Value::as_bool).unwrap_or(otherwise).into(),
            Self::Count(first, second) => {
                let length = |path: &str| match (path, at(path)) {
                    (_, Some(Value::Array(list))) => list.len(),
                    ("", _) => 0,
                    (_, Some(Value::Object(map))) => map.len(),
                    _ => 0,
                };
                (length(first) + length(second)).into()
            }
            Self::Since(path, otherwise) => match text(row.object, path) {
                "" => otherwise.into(),
                time => age(time, row.now).into(),
            },
            Self::Made(make) => make(row),
        }
    }
}

const fn column(name: &'static str, kind: &'static str, cell: Cell) -> Column {
    Column { name, kind, format: "", priority: 0, cell }
}

/// The column that names the object.
pub(super) const fn name() -> Column {
    Column { format: "name", ..string("Name", "/metadata/name") }
}

/// The time since the object was made.
pub(super) const fn since_creation() -> Column {
    column("Age", "string", Cell::Since("/metadata/creationTimestamp", "<unknown>"))
}

/// The time at which the object was made.
pub(super) const fn created() -> Column {
    column("Created At", "date", Cell::Text("/metadata/creationTimestamp", ""))
}

/// The string at a path.
pub(super) const fn string(name: &'static str, path: &'static str) -> Column {
    column(name, "string", Cell::Text(path, ""))
}

/// The string at a path, or another.
pub(super) const fn string_or(name: &'static str, path: &'static str, otherwise: &'static str) -> Column {
    column(name, "string", Cell::Text(path, otherwise))
}

/// A string that a function makes.
pub(super) const fn made(name: &'static str, make: fn(Row<'_>) -> Value) -> Column {
    column(name, "string", Cell::Made(make))
}

/// The integer at a path.
pub(super) const fn int(name: &'static str, path: &'static str) -> Column {
    column(name, "integer", Cell::Int(path))
}

/// The boolean at a path, or another.
pub(super) const fn boolean(name: &'static str, path: &'static str, otherwise: bool) -> Column {
    column(name, "boolean", Cell::Bool(path, otherwise))
}

/// The number of elements at two paths, the second of which may be empty.
pub(super) const fn count(name: &'static str, first: &'static str, second: &'static str) -> Column {
    column(name, "integer", Cell::Count(first, second))
}

/// The time since a time.
pub(super) const fn since(name: &'static str, path: &'static str, otherwise: &'static str) -> Column {
    column(name, "string", Cell::Since(path, otherwise))
}

/// The same column, shown only when more is asked for.
pub(super) const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

/// The same column, declared as another type than its cells are.
pub(super) const fn declared(column: Column, kind: &'static str) -> Column {
    Column { kind, ..column }
}
