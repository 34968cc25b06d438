//! Changes by `update`, which is the verb that Kubernetes' roles give its controllers.
//!
//! The object of the cache is sent with its resource version, so that a change which the cache has not seen yet is a
//! conflict, and the work is done again from the newer state.

use kube::api::PostParams;
use kube::{Api, Error, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Changes fields of the object itself; `fields` is a JSON merge patch.
pub async fn object<K>(api: &Api<K>, object: &K, fields: &Value) -> Result<K, Error>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    api.replace(&object.name_any(), &PostParams::default(), &merged(object, fields)?).await
}

/// Changes fields of the object's status; `fields` is a JSON merge patch of the whole object.
pub async fn status<K>(api: &Api<K>, object: &K, fields: &Value) -> Result<K, Error>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    api.replace_status(&object.name_any(), &PostParams::default(), &merged(object, fields)?).await
}

/// Changes the object through another of its subresources.
pub async fn subresource<K>(api: &Api<K>, name: &str, object: &K, fields: &Value) -> Result<K, Error>
where
    K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    api.replace_subresource(name, &object.name_any(), &PostParams::default(), &merged(object, fields)?).await
}

fn merged<K: Serialize + DeserializeOwned>(object: &K, fields: &Value) -> Result<K, Error> {
    let mut tree = serde_json::to_value(object).map_err(Error::SerdeError)?;
    json_patch::merge(&mut tree, fields);
    serde_json::from_value(tree).map_err(Error::SerdeError)
}
