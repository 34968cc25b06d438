//! kube-apiserver: the Kubernetes API over etcd.
//!
//! The road of a request: [`server`] (TLS, HTTP) -> [`request`] (what is asked for) -> [`authn`] and [`authz`] (by whom,
//! and may they) -> [`handlers`] (one set of verbs for every kind) -> [`storage`] (compare-and-swap in etcd). The road
//! back to watchers: one etcd watch over the whole registry -> [`cache`] -> each watcher's filter. An object is encoded
//! once, when it enters the cache, and its bytes are shared by every list and every watcher.
//!
//! What kinds there are is one table, [`registry`]; no handler knows a kind by name except where [`strategy`] says how a
//! kind's life differs (namespaces, pods). [`discovery`] describes the table to clients.
//!
//! What a client gets is decided in one place: [`negotiate`] reads what it accepts, [`render`] writes answers and events in
//! that form (the object, a table, metadata alone) and encoding (JSON, YAML, protobuf). What a write goes through on its way
//! is in the `kinit-api` crate, as functions of trees: decoding, defaults, the one form in which objects are kept, merging,
//! validation. [`admission`] stands between defaults and validation, and asks [`webhook`]s. [`aggregate`] passes on what other
//! servers serve, and [`flow`] gives every request a seat.
//! Whom the server connects to itself, for [`webhook`]s and proxies, it reaches by one way of dialling.
//! [`audit`] notes what was done, and [`encryption`] stands between objects and their bytes in etcd.

pub mod admission;
pub mod aggregate;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod bootstrap;
mod bucket;
pub mod cache;
pub mod compaction;
pub mod convert;
#[cfg(test)]
mod corpus;
pub mod custom;
pub mod definitions;
mod dial;
pub mod discovery;
pub mod encryption;
pub mod endpoints;
pub mod fields;
pub mod flow;
pub mod fuzzing;
pub mod handlers;
mod identity;
pub mod names;
pub mod negotiate;
pub mod openapi;
pub mod options;
pub mod policy;
mod recent;
pub mod registry;
mod relay;
mod reload;
mod remote;
pub mod render;
pub mod request;
mod routes;
pub mod server;
pub mod services;
pub mod storage;
pub mod storage_link;
pub mod strategy;
mod tally;
mod versions;
pub mod view;
pub mod webhook;
