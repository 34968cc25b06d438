//! A cluster's API that is a map: for tests of what is built on [`Api`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Api, Error, Verb};

/// Objects by path. It keeps resource versions and knows JSON merge patches, no more.
#[derive(Debug, Default)]
pub struct MemoryApi {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
}

impl MemoryApi {
    /// Puts an object there.
    pub fn put(&self, path: &str, object: Value) {
        self.state.lock().store(path, object);
    }

    /// The object at `path`.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.state.lock().objects.get(path).cloned()
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().objects.keys().cloned().collect()
    }

    /// How often anything was changed.
    pub fn changes(&self) -> u64 {
        self.state.lock().version
    }
}

impl State {
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), object.clone());
        object
    }
}

fn refused(path: &str, code: u16, reason: &str) -> Error {
    Error::Refused { method: "TEST", path: path.to_owned(), code, reason: reason.into(), message: reason.into() }
}

#[async_trait]
impl Api for MemoryApi {
    async fn call(&self, verb: Verb, path: &str, body: Option<&Value>) -> Result<Value, Error> {
        let mut state = self.state.lock();
        let body = body.cloned().unwrap_or_default();
        let present = state.objects.get(path).cloned().ok_or_else(|| refused(path, 404, "NotFound"));
        match verb {
            Verb::Get => present,
            Verb::Post => {
                let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                let path = format!("{path}/{name}");
                if state.objects.contains_key(&path) {
                    // Its address is taken, which a real API server sees first.
                    if body.pointer("/spec/clusterIP").is_some() {
                        return Err(refused(&path, 422, "Invalid"));
                    }
                    return Err(refused(&path, 409, "AlreadyExists"));
                }
                Ok(state.store(&path, body))
            }
            Verb::Put => {
                let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
                if version(&present?) != version(&body) {
                    return Err(refused(path, 409, "Conflict"));
                }
                Ok(state.store(path, body))
            }
            Verb::MergePatch | Verb::StrategicPatch => {
                let mut object = present?;
                crate::templates::merge(&mut object, &body);
                Ok(state.store(path, object))
            }
            Verb::Delete => present.inspect(|_| {
                state.objects.remove(path);
            }),
        }
    }
}
