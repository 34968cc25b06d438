//! Who may have devices as an administrator has them, and who may say what has become of a claim for devices.

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate::field::{self, Error, Errors, Path};
use serde_json::Value;

use super::{Attributes, Context, Operation};
use crate::authn::User;
use crate::authz::rbac::Ask;

const GROUP: &str = "resource.k8s.io";
/// What a namespace is labelled with whose claims may ask for such access.
const ADMIN: &str = "resource.kubernetes.io/admin-access";
/// What the token of a Pod's account says about the Pod's node.
const OWN_NODE: &str = "authentication.kubernetes.io/node-name";

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Not a plugin either, because upstream has it where objects are validated.
pub async fn check(context: &Context<'_>, attributes: &Attributes<'_>, claim: &Object) -> Result<(), Status> {
    let request = attributes.request;
    let spec = &request.spec;
    if spec.group() != GROUP || request.internal {
        return Ok(());
    }
    let mut errors = Errors::new();
    let part = |object: &Object, path: &[&str]| object.get(path).cloned().unwrap_or(Value::Null);
    match (spec.resource(), request.subresource.as_str(), attributes.operation) {
        ("resourceclaims", "", Operation::Create) => {
            errors
                .extend(asks(&part(claim, &["spec", "devices"])).and_then(|path| refused(context, attributes, &path)));
        }
        ("resourceclaimtemplates", "", Operation::Create) => {
            let devices = part(claim, &["spec", "spec", "devices"]);
            errors.extend(asks(&devices).and_then(|path| refused(context, attributes, &path)));
        }
        ("resourceclaims", "status", Operation::Update) => {
            let old = attributes.old.map(|old| part(old, &["status"])).unwrap_or_default();
            let new = part(claim, &["status"]);
            if gives(&old).is_none() {
                errors.extend(gives(&new).and_then(|path| refused(context, attributes, &path)));
            }
            binding(context, attributes, &old, &new, &mut errors).await;
            devices(context, attributes, &old, &new, &mut errors).await;
        }
        _ => {}
    }
    if errors.is_empty() { Ok(()) } else { Err(field::status(GROUP, spec.kind(), claim.name(), &errors)) }
}

/// Where a request is that asks for an administrator's access.
fn asks(devices: &Value) -> Option<Path> {
    let at = list(devices, "requests").iter().position(|request| request["exactly"]["adminAccess"] == true)?;
    Some(Path::new("spec.devices.requests").index(at).child("adminAccess"))
}

/// Where such access is given.
fn gives(status: &Value) -> Option<Path> {
    let at = list(&status["allocation"]["devices"], "results").iter().position(|one| one["adminAccess"] == true)?;
    Some(Path::new("status.allocation.devices.results").index(at).child("adminAccess"))
}

fn refused(context: &Context<'_>, attributes: &Attributes<'_>, path: &Path) -> Option<Error> {
    let namespace = context.cache.find("", "namespaces", "", &attributes.request.namespace);
    let labelled = namespace.is_some_and(|entry| entry.labels().get(ADMIN) == Some("true"));
    let text = format!("admin access to devices requires the `{ADMIN}: true` label on the containing namespace");
    (!labelled).then(|| Error::forbidden(path, text))
}

/// Whether the asking user may do something with a part of claims that has no path of its own.
async fn may(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    verb: &str,
    part: &str,
    (name, namespace): (&str, &str),
) -> Result<(), Status> {
    let ask = Ask::Resource { verb, group: GROUP, resource: "resourceclaims", subresource: part, name, namespace };
    context.authorizer.check(&attributes.request.user, &ask, "").await
}

/// What was allocated, and for whom it is kept, is said by who binds claims.
async fn binding(context: &Context<'_>, attributes: &Attributes<'_>, old: &Value, new: &Value, errors: &mut Errors) {
    if ["allocation", "reservedFor"].iter().all(|field| old[*field] == new[*field]) {
        return;
    }
    let verb = attributes.request.verb.as_str();
    if let Err(why) = may(context, attributes, verb, "binding", ("", "")).await {
        let text = format!(
            "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", \
             verb=\"{verb}\" permission: {}",
            why.message
        );
        errors.push(Error::forbidden(&Path::new("status.allocation"), text));
    }
}

/// What a driver says of its devices is said by who may speak for the driver: on its own node, or on any.
async fn devices(context: &Context<'_>, attributes: &Attributes<'_>, old: &Value, new: &Value, errors: &mut Errors) {
    if !new["allocation"].is_object() {
        // Nothing is said of devices any more then.
        return;
    }
    let own = is_own(&attributes.request.user, node_of(&new["allocation"]));
    let verb = attributes.request.verb.as_str();
    let ways = if own { &["associated-node", "arbitrary-node"][..] } else { &["arbitrary-node"] };
    let verbs: Vec<String> = ways.iter().map(|way| format!("{way}:{verb}")).collect();
    for driver in changed_drivers(old, new) {
        let mut first = None;
        for verb in &verbs {
            match may(context, attributes, verb, "driver", (&driver, &attributes.request.namespace)).await {
                Ok(()) => {
                    first = None;
                    break;
                }
                Err(why) => first = first.or(Some(why)),
            }
        }
        if let Some(why) = first {
            let text = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {}",
                verbs.join(" "),
                why.message
            );
            errors.push(Error::forbidden(&Path::new("status.devices"), text));
        }
    }
}

/// The drivers of which something else is said than before, sorted.
fn changed_drivers(old: &Value, new: &Value) -> Vec<String> {
    let key = |device: &Value| ["driver", "pool", "device", "shareID"].map(|field| device[field].clone());
    let (old, new) = (list(old, "devices"), list(new, "devices"));
    let differs = |device: &&Value, others: &[Value]| {
        others.iter().find(|other| key(other) == key(device)).is_none_or(|other| other != *device)
    };
    let changed =
        new.iter().filter(|device| differs(device, old)).chain(old.iter().filter(|device| differs(device, new)));
    let mut drivers: Vec<String> =
        changed.map(|device| device["driver"].as_str().unwrap_or_default().to_owned()).collect();
    drivers.sort_unstable();
    drivers.dedup();
    drivers
}

/// The one node that an allocation is for; empty if it is for several.
fn node_of(allocation: &Value) -> &str {
    let [term] = list(&allocation["nodeSelector"], "nodeSelectorTerms") else { return "" };
    let [rule] = list(term, "matchFields") else { return "" };
    let [node] = list(rule, "values") else { return "" };
    let alone = list(term, "matchExpressions").is_empty() && rule["key"] == "metadata.name" && rule["operator"] == "In";
    node.as_str().filter(|_| alone).unwrap_or_default()
}

/// Whether the user is the account of a Pod on that node.
fn is_own(user: &User, node: &str) -> bool {
    let nodes = user.extra.get(OWN_NODE).map(Vec::as_slice).unwrap_or_default();
    !node.is_empty() && user.name.starts_with("system:serviceaccount:") && nodes == [node]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn administrators_access_is_found_where_it_is() {
        let devices = json!({"requests": [{"name": "a"}, {"exactly": {"adminAccess": true}}]});
        assert_eq!(asks(&devices).unwrap().to_string(), "spec.devices.requests[1].adminAccess");
        assert_eq!(asks(&json!({"requests": [{"exactly": {"adminAccess": false}}]})), None);
        let status = json!({"allocation": {"devices": {"results": [{"adminAccess": true}]}}});
        assert_eq!(gives(&status).unwrap().to_string(), "status.allocation.devices.results[0].adminAccess");
    }

    #[test]
    fn drivers_change_with_their_devices() {
        let device = |driver: &str, ready: bool| json!({"driver": driver, "pool": "p", "device": "d", "data": ready});
        let old = json!({"devices": [device("a", true), device("b", true), device("c", true)]});
        let new = json!({"devices": [device("a", true), device("b", false), device("d", true)]});
        assert_eq!(changed_drivers(&old, &new), ["b", "c", "d"]);
        assert!(changed_drivers(&old, &old).is_empty());
    }

    #[test]
    fn an_account_speaks_for_its_own_node() {
        let rule = |operator: &str| {
            json!({"nodeSelector": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": operator, "values": ["n"]}]}]}})
        };
        assert_eq!((node_of(&rule("In")), node_of(&rule("NotIn")), node_of(&json!({}))), ("n", "", ""));
        let mut user = User::new("system:serviceaccount:x:driver", &[]);
        assert!(!is_own(&user, "n"));
        user.extra.insert(OWN_NODE.into(), vec!["n".into()]);
        assert!(is_own(&user, "n") && !is_own(&user, "m") && !is_own(&user, ""));
    }
}
