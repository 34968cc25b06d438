//! Errors about fields: where, what kind of wrong, and the text that clients are shown.

use std::fmt::Display;

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
    text: String,
}

/// All that is wrong with an object.
pub type Errors = Vec<Error>;

impl Error {
    fn new(reason: &'static str, path: &Path, text: String) -> Self {
        let field = if path.0.is_empty() { "<nil>".to_owned() } else { path.0.clone() };
        Self { reason, field, text }
    }

    pub fn required(path: &Path, detail: &str) -> Self {
        Self::new("FieldValueRequired", path, detailed("Required value", detail))
    }

    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Display) -> Self {
        let text = format!("Invalid value: {}", shown(&value.into()));
        Self::new("FieldValueInvalid", path, detailed(&text, &detail.to_string()))
    }

    /// As [`Self::invalid`], of a value that is too large to show.
    pub fn invalid_whole(path: &Path, detail: impl Display) -> Self {
        Self::new("FieldValueInvalid", path, detailed("Invalid value", &detail.to_string()))
    }

    /// A value of another type than its field's.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Display) -> Self {
        let text = format!("Invalid value: {}", shown(&value.into()));
        Self::new("FieldValueTypeInvalid", path, detailed(&text, &detail.to_string()))
    }

    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let text = format!("Unsupported value: {}", shown(&value.into()));
        Self::new(
            "FieldValueNotSupported",
            path,
            detailed(&text, &format!("supported values: {}", supported.join(", "))),
        )
    }

    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::new("FieldValueDuplicate", path, format!("Duplicate value: {}", shown(&value.into())))
    }

    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::new("FieldValueNotFound", path, format!("Not found: {}", shown(&value.into())))
    }

    pub fn not_found_detailed(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::new("FieldValueNotFound", path, detailed(&format!("Not found: {}", shown(&value.into())), detail))
    }

    pub fn duplicate_detailed(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::new("FieldValueDuplicate", path, detailed(&format!("Duplicate value: {}", shown(&value.into())), detail))
    }

    pub fn forbidden(path: &Path, detail: impl Display) -> Self {
        Self::new("FieldValueForbidden", path, detailed("Forbidden", &detail.to_string()))
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

    /// Whether this says that something of that name is not found.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.reason == "FieldValueNotFound" && self.text == format!("Not found: {name:?}")
    }

    pub fn too_many(path: &Path, count: usize, most: usize) -> Self {
        Self::new("FieldValueTooMany", path, format!("Too many: {count}: must have at most {most} items"))
    }

    pub fn too_long(path: &Path, most: usize) -> Self {
        Self::new("FieldValueTooLong", path, format!("Too long: may not be more than {most} bytes"))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

fn detailed(text: &str, detail: &str) -> String {
    if detail.is_empty() { text.to_owned() } else { format!("{text}: {detail}") }
}

/// A value as texts show it: strings in quotes, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// The answer to a write of an object that has these errors.
pub fn status(group: &str, kind: &str, name: &str, errors: &[Error]) -> Status {
    let causes: Vec<_> = errors.iter().map(|error| (error.reason, error.field.clone(), error.text.clone())).collect();
    Status::invalid(group, kind, name, &causes)
}
