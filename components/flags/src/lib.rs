//! Upstream's command lines: what all components' flags have in common, so that a command line made for upstream's component
//! goes on working with ours, or is refused by the name of the flag that cannot.
//!
//! - [`common`]: the flags that all have.
//! - [`foreign`]: flags that a component knows and does nothing for, each a [`Row`] of a table: taken without effect, only with
//!   some values, or as a field of the component's configuration. The tables are the components'; [`shared`] has the rows
//!   that several have.
//! - [`gates`]: `--feature-gates`, and the table of v1.36's gates.
//! - [`version`]: `--version` with its values.
//! - [`go`]: how Go's flags are written: switches with and without a value, underscores for dashes.

pub mod common;
pub mod foreign;
pub mod gates;
pub mod go;
pub mod shared;
pub mod version;

pub use common::Common;
pub use foreign::{Fate, Foreign, Refused, Row, Shape, Table, field, idle, only};
