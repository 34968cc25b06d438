//! Configuration: the documents of a file, and the settings that phases work with.
//!
//! [`document`] reads files into [`v1beta4`] documents, with line and path in each error. [`settings`] fills in
//! defaults, lays flags over the file and checks everything once: a phase never sees an unchecked value.

pub mod components;
pub mod defaults;
pub mod document;
pub mod migrate;
pub mod net;
pub mod node;
pub mod settings;
pub mod timeouts;
pub mod tokens;
pub mod v1beta4;

pub use document::Documents;
pub use node::NodeSettings;
pub use settings::{ComponentSettings, InitSettings, Settings};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("config file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not valid.
    #[error("config file {path}: {reason}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong, with path and line.
        reason: String,
    },
    /// A user's patches are not valid.
    #[error(transparent)]
    Patches(#[from] crate::patches::Error),
    /// One value is not valid.
    #[error("{} {reason}\nhint: {hint}", subject(field, value))]
    Value {
        /// Flag or path of the field.
        field: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        reason: String,
        /// What would be right.
        hint: String,
    },
}

/// What is wrong: the field with its value, or the field that has none.
fn subject(field: &str, value: &str) -> String {
    if value.is_empty() { field.to_owned() } else { format!("{field}: {value:?}") }
}

impl Error {
    /// A bad value.
    pub fn value(
        field: impl Into<String>,
        value: impl ToString,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Value { field: field.into(), value: value.to_string(), reason: reason.into(), hint: hint.into() }
    }
}
