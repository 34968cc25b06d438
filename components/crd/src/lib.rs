//! CustomResourceDefinitions with no IO: what a definition says, and what that makes of the objects it defines.
//!
//! - [`definition`]: a definition read from its object: names, versions, subresources, columns.
//! - [`schema`]: what a version says of its objects.
//! - [`convert`]: what a webhook is asked that brings objects into another version.
//! - [`prune`], [`defaults`], [`check`]: fields that a schema lacks go, absent ones are filled in, wrong ones are told.

pub(crate) mod approval;
pub mod check;
pub mod columns;
pub mod convert;
pub mod defaults;
pub mod definition;
pub mod object;
pub mod openapi;
pub mod prune;
pub mod schema;
pub mod status;
pub mod structure;
pub mod validate;
