//! API machinery with no IO: what an API server and its clients must agree on, as values and pure functions.
//!
//! - [`object::Object`]: any API object as a JSON tree, with accessors for the metadata that all kinds share.
//! - [`status::Status`]: the error that clients see, with a constructor for each of Kubernetes' reasons.
//! - [`selector`]: label and field selectors in their string forms.
//! - [`apply`]: server-side apply, and who manages which field.
//! - [`canonical`]: the one form in which objects are kept.
//! - [`defaults`]: what an object holds in fields that its writer left out.
//! - [`protobuf`]: the binary form of objects, to and from trees.
//! - [`quantity`]: the numbers with suffixes that resources are counted in.
//! - [`validate`]: whether an object may be stored.
//! - [`table`]: the rows and columns that `kubectl get` prints.
//! - [`strict`]: decoding as Go does it: unknown and duplicate fields, and values of other types.
//! - [`patch`]: JSON merge patches, JSON patches and strategic merge patches over JSON trees.
//!
//! There is deliberately no typed kind here and no async: the API server works on trees, so that one store serves every
//! kind, and everything in this crate is tested by tables.

pub mod apply;
pub mod canonical;
pub mod defaults;
mod difference;
pub mod object;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod selector;
pub mod status;
pub mod strict;
pub mod table;
pub mod validate;
pub mod warnings;
pub mod yaml;
