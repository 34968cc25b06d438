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
//! Not here yet: defaulting, validation beyond names, admission, server-side apply, Tables, OpenAPI, protobuf, custom
//! resources, ServiceAccount tokens and RBAC. Until RBAC is, only `system:masters` may do more than ask for health,
//! version and discovery: what is missing refuses, it does not allow.

pub mod admission;
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod cache;
pub mod discovery;
pub mod fields;
pub mod handlers;
pub mod names;
pub mod negotiate;
pub mod openapi;
pub mod options;
pub mod registry;
pub mod relay;
pub mod render;
pub mod request;
pub mod server;
pub mod services;
pub mod storage;
pub mod strategy;
pub mod view;
