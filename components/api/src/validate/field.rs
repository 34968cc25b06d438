//! Errors about fields: where, what kind of wrong, and the text that clients are shown.

use std::fmt::Display;

use kinit_schema::Type;
use kinit_schema::internal::Tree;
use serde_json::Value;

use crate::status::Status;

/// Where a value is: `spec.containers[0].name`, `data[key]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    pub fn new(root: &str) -> Self {
        Self(root.to_owned())
    }

    /// A field of the value; several at once are separated by dots.
    #[must_use]
    pub fn child(&self, field: &str) -> Self {
        if self.0.is_empty() { Self::new(field) } else { Self(format!("{}.{field}", self.0)) }
    }

    #[must_use]
    pub fn index(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }

    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The cause's reason in a `Status`.
    reason: &'static str,
    field: String,
    /// What kind of wrong: `Invalid value`.
    what: &'static str,
    shown: Shown,
    detail: String,
}

/// The value that a text shows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    /// As the text has it.
    Text(String),
    /// Objects, or a list that may have some: how they look depends on their type, which is that of their field unless it is said.
    Value(Value, Option<&'static Type>),
}

/// All that is wrong with an object.
pub type Errors = Vec<Error>;

impl Error {
    fn new(reason: &'static str, what: &'static str, path: &Path, shown: Shown, detail: &str) -> Self {
        let field = if path.0.is_empty() { "<nil>".to_owned() } else { path.0.clone() };
        Self { reason, field, what, shown, detail: detail.to_owned() }
    }

    pub fn required(path: &Path, detail: &str) -> Self {
        Self::new("FieldValueRequired", "Required value", path, Shown::Nothing, detail)
    }

    /// As [`Error::invalid`], of a value that is shown as `text` has it.
    pub(super) fn invalid_text(path: &Path, text: &str, detail: &str) -> Self {
        Self::new("FieldValueInvalid", "Invalid value", path, Shown::Text(text.to_owned()), detail)
    }

    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Display) -> Self {
        Self::new("FieldValueInvalid", "Invalid value", path, shown(value), &detail.to_string())
    }

    /// As [`Self::invalid`], of a value that is too large to show.
    pub fn invalid_whole(path: &Path, detail: impl Display) -> Self {
        Self::new("FieldValueInvalid", "Invalid value", path, Shown::Nothing, &detail.to_string())
    }

    /// A value of another type than its field's.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Display) -> Self {
        Self::new("FieldValueTypeInvalid", "Invalid value", path, shown(value), &detail.to_string())
    }

    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        Self::new("FieldValueNotSupported", "Unsupported value", path, shown(value), &detail)
    }

    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::duplicate_detailed(path, value, "")
    }

    /// [`Error::duplicate`] of an object or a list that is not shown.
    pub fn duplicate_whole(path: &Path) -> Self {
        Self::new("FieldValueDuplicate", "Duplicate value", path, Shown::Nothing, "")
    }

    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::not_found_detailed(path, value, "")
    }

    pub fn not_found_detailed(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::new("FieldValueNotFound", "Not found", path, shown(value), detail)
    }

    pub fn duplicate_detailed(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::new("FieldValueDuplicate", "Duplicate value", path, shown(value), detail)
    }

    /// Something that should not happen, whatever is wrong with the object.
    pub fn internal(path: &Path, detail: impl Display) -> Self {
        Self::new("InternalError", "Internal error", path, Shown::Nothing, &detail.to_string())
    }

    pub fn forbidden(path: &Path, detail: impl Display) -> Self {
        Self::new("FieldValueForbidden", "Forbidden", path, Shown::Nothing, &detail.to_string())
    }

    /// The same error of a value of a type that is not its field's, because upstream's path is another than the value's.
    #[must_use]
    pub fn of_type(mut self, package: &str, name: &str) -> Self {
        if let Shown::Value(_, kind) = &mut self.shown {
            *kind = kinit_schema::named(package, name);
        }
        self
    }

    /// The same error of a value that lies at `root`.
    #[must_use]
    pub fn under(self, root: &Path) -> Self {
        let field = if self.field == "<nil>" { root.0.clone() } else { format!("{root}.{}", self.field) };
        Self { field, ..self }
    }

    /// Whether rules about the object can't be evaluated before this is mended.
    pub fn blocks_rules(&self) -> bool {
        let blocking = ["FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];
        blocking.contains(&self.reason)
    }

    /// Whether this is about a field, or something within it.
    pub(super) fn is_within(&self, path: &str) -> bool {
        self.field.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }

    pub fn too_many(path: &Path, count: usize, most: usize) -> Self {
        let items = if most == 1 { "item" } else { "items" };
        let detail = format!("must have at most {most} {items}");
        Self::new("FieldValueTooMany", "Too many", path, Shown::Text(count.to_string()), &detail)
    }

    pub fn too_long(path: &Path, most: usize) -> Self {
        let bytes = if most == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {most} {bytes}");
        Self::new("FieldValueTooLong", "Too long", path, Shown::Nothing, &detail)
    }

    /// What is wrong, in an object of type `root` where that is known.
    fn text(&self, root: Option<&'static Type>) -> String {
        let mut text = self.what.to_owned();
        let value = match &self.shown {
            Shown::Nothing => None,
            Shown::Text(value) => Some(value.clone()),
            Shown::Value(value, Some(kind)) => Some(Tree::of(kind, value).compact()),
            Shown::Value(value, None) => Some(match root {
                Some(root) => Tree::at(root, &self.field, value).compact(),
                None => Tree::Plain(value.clone()).compact(),
            }),
        };
        for part in value.iter().chain((!self.detail.is_empty()).then_some(&self.detail)) {
            text.push_str(": ");
            text.push_str(part);
        }
        text
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.text(None))
    }
}

/// A value as texts show it: strings in quotes, the rest as JSON.
fn shown(value: impl Into<Value>) -> Shown {
    match value.into() {
        Value::String(text) => Shown::Text(format!("{text:?}")),
        value @ (Value::Object(_) | Value::Array(_)) => Shown::Value(value, None),
        other => Shown::Text(other.to_string()),
    }
}

/// The answer to a write of an object that has these errors. Values in it look as the type of their field does.
pub fn status(group: &str, kind: &str, name: &str, errors: &[Error]) -> Status {
    let root = kinit_schema::newest(group, kind);
    let causes: Vec<_> = errors.iter().map(|error| (error.reason, error.field.clone(), error.text(root))).collect();
    Status::invalid(group, kind, name, &causes)
}
