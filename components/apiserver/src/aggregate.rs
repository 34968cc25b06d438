//! Aggregation: groups and versions that other servers serve, as APIService objects say.
//!
//! - [`register`]: each group and version that this server has itself gets an APIService that says so.
//! - [`probe`]: the others are looked at now and then; whether they answer stands in their status, and what they serve is
//!   kept for discovery and the index of OpenAPI documents.
//! - [`swagger`]: what such a server's document of OpenAPI version 2 says of a group and version.
//! - [`proxy`]: requests for them, with the user's name in headers that only a front proxy's certificate makes believable.
//! - [`path`]: what such a request asks for, as authorization wants to know it.

mod check;
pub mod path;
pub mod probe;
pub mod proxy;
pub mod register;
pub mod swagger;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use kinit_api::object::Object;
use parking_lot::RwLock;
use serde_json::Value;

use crate::cache::Cache;
use crate::options::AuthenticationOptions;
use crate::webhook::client::{Client, Target, Trust};
use crate::webhook::target;
use swagger::Swagger;

pub const GROUP: &str = "apiregistration.k8s.io";
pub const RESOURCE: &str = "apiservices";

/// A group and version that another server serves, and what it serves of it, as the aggregated document has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    pub group: String,
    pub version: String,
    pub priority: i64,
    pub resources: Vec<Value>,
    /// Where its OpenAPI document is, with the hash of it.
    pub openapi: Option<String>,
    /// Its part of the document of OpenAPI version 2.
    pub swagger: Option<Arc<Swagger>>,
    /// Whether the server answered when it was last asked.
    pub current: bool,
}

/// What other servers serve, by the names of their APIServices.
pub type Known = BTreeMap<String, Served>;

/// What all parts share. Cheap to clone.
#[derive(Clone)]
pub struct Aggregator {
    cache: Cache,
    client: Client,
    known: Arc<RwLock<Arc<Known>>>,
    lost: Arc<RwLock<Lost>>,
}

/// How often servers were there and then not any more, by the names of their APIServices and why.
pub type Lost = BTreeMap<(String, &'static str), u64>;

impl Aggregator {
    pub fn new(cache: Cache, options: &AuthenticationOptions) -> Self {
        let client = match (&options.proxy_client_cert_file, &options.proxy_client_key_file) {
            (Some(certificate), Some(key)) => Client::with_identity(certificate.clone(), key.clone()),
            _ => Client::default(),
        };
        Self { cache, client, known: Arc::default(), lost: Arc::default() }
    }

    /// What other servers serve, as far as is known.
    pub fn known(&self) -> Arc<Known> {
        self.known.read().clone()
    }

    /// The names of all APIServices, and whether their servers answered when they were last looked at.
    pub fn availability(&self) -> Vec<(String, bool)> {
        let services = self.cache.all(GROUP, RESOURCE);
        let read = services.values().filter_map(|entry| entry.object());
        read.map(|service| (service.name().to_owned(), is_available(&service))).collect()
    }

    /// How often servers were lost.
    pub fn lost(&self) -> Lost {
        self.lost.read().clone()
    }

    /// The APIService of another server that a path belongs to.
    pub fn takes(&self, path: &str) -> Option<Object> {
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut segments = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (segments.next()?, segments.next()?);
        let entry = self.cache.find(GROUP, RESOURCE, "", &format!("{version}.{group}"))?;
        entry.object().filter(is_remote)
    }
}

/// Whether the APIService names a Service, and so another server.
fn is_remote(service: &Object) -> bool {
    service.get(&["spec", "service"]).is_some_and(Value::is_object)
}

/// Whether its last look at it found that it answers.
fn is_available(service: &Object) -> bool {
    let conditions = service.get(&["status", "conditions"]).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "Available" && one["status"] == "True")
}

/// Where the server of an APIService is reached now.
fn target_of(cache: &Cache, service: &Object) -> Target {
    let text = |field| service.str(&["spec", "service", field]);
    let port = service.get(&["spec", "service", "port"]).and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
    let trust = if service.get(&["spec", "insecureSkipTLSVerify"]) == Some(&Value::Bool(true)) {
        Trust::Anyone
    } else {
        let bundle = service.str(&["spec", "caBundle"]);
        Trust::Authorities(base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default().into())
    };
    target::of_service(cache, text("namespace"), text("name"), port, trust)
}

/// How long a server has to answer a look.
const PATIENCE: Duration = Duration::from_secs(5);
