//! Custom resources in the versions that their managers have written in, for server-side apply.
//!
//! What is done about managers is a pure function that cannot wait, and a webhook has to be waited for. So the function runs over
//! what is known, what it asked for in vain is converted, and it runs again.

use kinit_api::apply::{self, Schema};
use kinit_api::object::Object;
use kinit_api::status::Status;
use parking_lot::Mutex;
use serde_json::Value;

use crate::convert::{self, Converter};
use crate::registry::ResourceSpec;

/// A state of an object and the version it is wanted in.
type Question = (Value, String);

/// What is known of one request's objects in other versions.
pub struct Versions<'a> {
    spec: &'a ResourceSpec,
    known: Mutex<Vec<(Question, Value)>>,
    wanted: Mutex<Vec<Question>>,
}

impl<'a> Versions<'a> {
    /// None where the kind has no other version.
    pub fn of(spec: &'a ResourceSpec) -> Option<Self> {
        let custom = spec.custom.as_ref()?;
        let several = custom.definition.versions.len() > 1;
        several.then(|| Self { spec, known: Mutex::default(), wanted: Mutex::default() })
    }

    /// Whether something was asked for in vain.
    pub fn lacks(&self) -> bool {
        !self.wanted.lock().is_empty()
    }

    /// Finds out what was asked for in vain; gives whether anything was, so that what asked is to run again.
    pub async fn learn(&self, converter: &Converter) -> Result<bool, Status> {
        let wanted = std::mem::take(&mut *self.wanted.lock());
        let Some(custom) = self.spec.custom.as_ref().filter(|_| !wanted.is_empty()) else { return Ok(false) };
        for (tree, version) in wanted {
            let name = version.rsplit('/').next().unwrap_or_default();
            let version_of = custom.definition.version(name);
            let (Some(wanted), Some(object)) = (version_of, Object::from_value(tree.clone())) else {
                return Err(Status::internal(format!("an object cannot be converted to {version}")));
            };
            let converted = converter.objects(&custom.definition, wanted, vec![object]).await?;
            let converted = converted.into_iter().next().unwrap_or_default().into_value();
            self.known.lock().push(((tree, version), converted));
        }
        Ok(true)
    }
}

impl apply::Versions for Versions<'_> {
    fn schema(&self, version: &str) -> Option<Schema<'_>> {
        let definition = &self.spec.custom.as_ref()?.definition;
        let (group, name) = version.rsplit_once('/')?;
        let version = definition.version(name).filter(|_| group == definition.group)?;
        Some(Schema::Own(&version.structure.0))
    }

    fn view(&self, object: &Value, version: &str) -> Option<Value> {
        let definition = &self.spec.custom.as_ref()?.definition;
        if object["apiVersion"] == version {
            return Some(object.clone());
        }
        if !convert::asks(self.spec) {
            let mut object = Object::from_value(object.clone())?;
            definition.relabel(&mut object, definition.version(version.rsplit('/').next()?)?);
            return Some(object.into_value());
        }
        let known = self.known.lock();
        let found = known.iter().find(|((tree, name), _)| name == version && tree == object);
        if found.is_none() {
            self.wanted.lock().push((object.clone(), version.to_owned()));
        }
        found.map(|(_, converted)| converted.clone())
    }
}
