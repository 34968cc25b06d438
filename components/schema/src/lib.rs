//! The types of every built-in API of Kubernetes v1.36, as data: what each field is called in JSON and numbered in
//! protobuf, what it holds, and how it merges. Decoders, patches, server-side apply and OpenAPI all read this one table.
//!
//! # The files
//!
//! `types/*.txt` hold one group and version each (core/v1 is in three). The first line says the package that other files
//! refer to, and the API group it belongs to (`core` for the empty group):
//!
//! ```text
//! package apps/v1 apps
//!
//! DeploymentStrategy
//!   1 type string ?
//!   2 rollingUpdate *RollingUpdateDeployment ?
//! ```
//!
//! An unindented line opens a type. `kind` after its name says that it is an object with `apiVersion` and `kind` (which
//! are not listed among its fields, and are no part of its protobuf message); `atomic` says that server-side apply owns
//! it as a whole; `union=d:a,b` that of the fields `a` and `b` the one is set that the field `d` (or nothing) names.
//!
//! An indented line is a field: its protobuf number (0 where it is in no protobuf message), its JSON name, its shape and
//! its marks. The name `.` marks a type embedded into its parent: inline in JSON, a message of that number in protobuf.
//!
//! Shapes: `T`, `[]T` (a list), `{}T` (a map with string keys); `*` before it is a pointer in Go, so that absence and
//! the zero value differ. `T` is a type of the same file, of another package (`core/v1.PodSpec`), or a [`Scalar`].
//!
//! Marks:
//! - `?` is left out of JSON when empty (`omitempty`), `??` also when a struct is zero (`omitzero`); `!` is required.
//! - `map=a,b`, `set`, `atomic`, `granular`: how server-side apply owns a list's elements, or a map or object. Lists
//!   without one are atomic; `granular` overrides a type that is atomic elsewhere.
//! - `merge=key`, `merge`, `replace`, `retainKeys`: how strategic merge patches treat it.
//! - `=value` is the default that the OpenAPI document states.

pub mod internal;
pub mod openapi;
mod parse;
mod table;
mod types;

pub use table::{kind, kinds, named, newest};
pub use types::{Element, Field, ListType, Scalar, Shape, Type, TypeRef};
