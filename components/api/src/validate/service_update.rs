//! What may change of a Service: not its first address, and its second one only as its policy says.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::list;
use crate::object::Object;

const ONCE: &str = "may not change once set";

fn strings<'a>(service: &'a Object, field: &str) -> Vec<&'a str> {
    let spec = service.get(&["spec"]).unwrap_or(&Value::Null);
    list(spec, field).iter().filter_map(Value::as_str).collect()
}

/// A Service keeps its addresses, unless it starts or stops being a name alone.
pub(super) fn changed(old: &Object, new: &Object) -> Errors {
    let mut errors = Errors::new();
    let kind = |service: &Object| service.str(&["spec", "type"]).to_owned();
    if kind(old) != "ExternalName" && kind(new) != "ExternalName" {
        addresses(old, new, &mut errors);
        families(old, new, &mut errors);
    }
    let class = |service: &Object| service.get(&["spec", "loadBalancerClass"]).cloned().unwrap_or(Value::Null);
    if kind(old) == "LoadBalancer" && kind(new) == "LoadBalancer" && class(old) != class(new) {
        errors.push(Error::invalid(&Path::new("spec.loadBalancerClass"), class(new), ONCE));
    }
    let checked = |service: &Object| {
        (kind(service) == "LoadBalancer" && service.str(&["spec", "externalTrafficPolicy"]) == "Local")
            .then(|| service.get(&["spec", "healthCheckNodePort"]).and_then(Value::as_i64))
            .flatten()
    };
    if let (Some(before), Some(after)) = (checked(old), checked(new))
        && before != after
    {
        errors.push(Error::forbidden(&Path::new("spec.healthCheckNodePort"), super::IMMUTABLE));
    }
    errors
}

fn is_headless(service: &Object) -> bool {
    strings(service, "clusterIPs") == ["None"]
}

fn addresses(old: &Object, new: &Object, errors: &mut Errors) {
    let (before, after) = (strings(old, "clusterIPs"), strings(new, "clusterIPs"));
    if is_headless(old) && is_headless(new) {
        return;
    }
    let path = Path::new("spec.clusterIPs");
    let refused = |at: usize, text: &str| Error::invalid(&path.index(at), after.clone(), text);
    if before.len() == after.len() {
        let pairs = before.iter().zip(&after).enumerate();
        errors.extend(pairs.filter(|(_, (before, after))| before != after).map(|(at, _)| refused(at, ONCE)));
        return;
    }
    if after.is_empty() {
        errors.push(refused(0, "primary clusterIP can not be unset"));
    }
    if matches!((before.first(), after.first()), (Some(before), Some(after)) if before != after) {
        errors.push(refused(0, ONCE));
    }
    if before.len() > after.len() && after.len() == 1 {
        single(new, "secondary clusterIP", errors);
    }
}

fn families(old: &Object, new: &Object, errors: &mut Errors) {
    if is_headless(old) || is_headless(new) {
        return;
    }
    let (before, after) = (strings(old, "ipFamilies"), strings(new, "ipFamilies"));
    let path = Path::new("spec.ipFamilies").index(0);
    if before.len() == after.len() {
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
        errors.extend(changed.map(|_| Error::invalid(&path, after.clone(), ONCE)));
        return;
    }
    if before.len() > after.len() && strings(new, "clusterIPs").is_empty() {
        errors.push(Error::invalid(&path, after.clone(), "primary ipFamily can not be unset"));
    }
    if matches!((before.first(), after.first()), (Some(before), Some(after)) if before != after) {
        // The addresses are shown here, as upstream has it.
        errors.push(Error::invalid(&path, strings(new, "clusterIPs"), ONCE));
    }
    if before.len() > after.len() && after.len() == 1 {
        single(new, "secondary ipFamily", errors);
    }
}

/// That the policy says so when what is second goes.
fn single(new: &Object, what: &str, errors: &mut Errors) {
    let policy = new.get(&["spec", "ipFamilyPolicy"]).cloned().unwrap_or(Value::Null);
    if policy != "SingleStack" {
        let text = format!("must be set to 'SingleStack' when releasing the {what}");
        errors.push(Error::invalid(&Path::new("spec.ipFamilyPolicy"), policy, text));
    }
}
