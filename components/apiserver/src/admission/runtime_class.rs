//! RuntimeClass: what a Pod's sandbox costs, and where it can run.

use kinit_api::object::Object;
use kinit_api::quota;
use kinit_api::status::Status;
use serde_json::Value;

use super::{Attributes, Context, Operation, tolerations};

const UNLIKE: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn class_of(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<Option<Object>, Status> {
    let Some(name) = pod.get(&["spec", "runtimeClassName"]).and_then(Value::as_str) else { return Ok(None) };
    if name.is_empty() {
        return Err(Status::failed("resource name may not be empty"));
    }
    let found = context.cache.find("node.k8s.io", "runtimeclasses", "", name).and_then(|entry| entry.object());
    let missing = || attributes.forbidden(format!("pod rejected: RuntimeClass {name:?} not found"));
    found.map(Some).ok_or_else(missing)
}

fn concerns(attributes: &Attributes<'_>) -> bool {
    attributes.is("pods") && attributes.operation == Operation::Create
}

/// Gives the Pod its class' overhead, and keeps it to the nodes that have the runtime.
pub fn set(context: &Context<'_>, attributes: &Attributes<'_>, pod: &mut Object) -> Result<(), Status> {
    if !concerns(attributes) {
        return Ok(());
    }
    let Some(class) = class_of(context, attributes, pod)? else { return Ok(()) };
    if let Some(overhead) = class.get(&["overhead", "podFixed"]) {
        let own = pod.get(&["spec", "overhead"]).and_then(Value::as_object);
        let own = own.filter(|own| !own.is_empty()).cloned().map(Value::Object);
        if own.is_some_and(|own| quota::amounts(&own) != quota::amounts(overhead)) {
            return Err(attributes.forbidden(UNLIKE));
        }
        pod.set(&["spec", "overhead"], overhead.clone());
    }
    for (key, value) in class.get(&["scheduling", "nodeSelector"]).and_then(Value::as_object).into_iter().flatten() {
        let wanted = value.as_str().unwrap_or_default();
        if let Some(own) = pod.get(&["spec", "nodeSelector", key]).and_then(Value::as_str)
            && own != wanted
        {
            let class = format!("runtimeClass.scheduling.nodeSelector[{key}] = {wanted}");
            return Err(attributes.forbidden(format!("conflict: {class}; pod.spec.nodeSelector[{key}] = {own}")));
        }
        pod.set(&["spec", "nodeSelector", key], wanted);
    }
    if let Some(more) = class.get(&["scheduling", "tolerations"]).and_then(Value::as_array) {
        let own = pod.get(&["spec", "tolerations"]).and_then(Value::as_array).cloned().unwrap_or_default();
        pod.set(&["spec", "tolerations"], tolerations::merge(&own, more));
    }
    Ok(())
}

/// An overhead is the class', and nobody else's word.
pub fn check(context: &Context<'_>, attributes: &Attributes<'_>, pod: &Object) -> Result<(), Status> {
    if !concerns(attributes) {
        return Ok(());
    }
    let class = class_of(context, attributes, pod)?;
    let wanted = class.as_ref().and_then(|class| class.get(&["overhead", "podFixed"]));
    match (wanted, pod.get(&["spec", "overhead"])) {
        (Some(wanted), own) if quota::amounts(wanted) != quota::amounts(own.unwrap_or(&Value::Null)) => {
            Err(attributes.forbidden(UNLIKE))
        }
        (None, Some(own)) if !own.is_null() => {
            Err(attributes
                .forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
        }
        _ => Ok(()),
    }
}
