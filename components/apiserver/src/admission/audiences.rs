//! For whom a kubelet may ask for tokens of a Pod's account: for those that the Pod's volumes name, and whom it is let to.

use kinit_api::object::Object;
use serde_json::Value;

use super::{Attributes, Context};
use crate::authz::rbac::Ask;

/// The verb that lets a node ask for tokens of any audience; the audience takes the place of the resource.
const VERB: &str = "request-serviceaccounts-token-audience";

/// Why a token is refused that a Pod has no use for.
pub fn refused(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object, request: &Object) -> Option<String> {
    let asked = request.get(&["spec", "audiences"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let audience = match asked {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Some("node may only request 0 or 1 audiences".to_owned()),
    };
    if named(context, pod, audience) {
        return None;
    }
    let (user, namespace) = (&attributes.request.user, attributes.request.namespace.as_str());
    let ask = Ask::Resource {
        verb: VERB,
        group: "",
        resource: audience,
        subresource: "",
        name: &attributes.request.name,
        namespace,
    };
    (!context.authorizer.allows(user, &ask, "")).then(|| {
        format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            user.name
        )
    })
}

/// Whether one of the Pod's volumes has tokens for the audience: itself, or by its driver.
fn named(context: &Context<'_>, pod: &Object, audience: &str) -> bool {
    let volumes = pod.get(&["spec", "volumes"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    volumes.iter().any(|volume| {
        let sources = volume["projected"]["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tokens = sources.iter().map(|source| &source["serviceAccountToken"]).filter(|token| token.is_object());
        tokens.into_iter().any(|token| token["audience"].as_str().unwrap_or_default() == audience)
            || driver(context, pod, volume).is_some_and(|driver| asks(context, &driver, audience))
    })
}

/// The driver of a volume.
fn driver(context: &Context<'_>, pod: &Object, volume: &Value) -> Option<String> {
    if let Some(driver) = volume["csi"]["driver"].as_str() {
        return Some(driver.to_owned());
    }
    let claim = match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(claim) => claim.to_owned(),
        None if volume["ephemeral"].is_object() => format!("{}-{}", pod.name(), volume["name"].as_str()?),
        None => return None,
    };
    let claim = context.cache.find("", "persistentvolumeclaims", pod.namespace(), &claim)?.object()?;
    let volume = context.cache.find("", "persistentvolumes", "", claim.str(&["spec", "volumeName"]))?.object()?;
    Some(volume.str(&["spec", "csi", "driver"]).to_owned()).filter(|driver| !driver.is_empty())
}

fn asks(context: &Context<'_>, driver: &str, audience: &str) -> bool {
    let driver = context.cache.find("storage.k8s.io", "csidrivers", "", driver).and_then(|entry| entry.object());
    let Some(driver) = driver else { return false };
    let tokens = driver.get(&["spec", "tokenRequests"]).and_then(Value::as_array);
    tokens.into_iter().flatten().any(|token| token["audience"].as_str().unwrap_or_default() == audience)
}
