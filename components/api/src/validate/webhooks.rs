//! Webhook configurations and APIServices: who is asked, about what, and where they are.

use base64::Engine;
use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, metadata, str_of, text};
use crate::object::Object;

const VERSIONS: &[&str] = &["v1", "v1beta1"];

/// A MutatingWebhookConfiguration or a ValidatingWebhookConfiguration.
pub(super) fn configuration(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let hooks = object.get(&["webhooks"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let path = Path::new("webhooks");
    for (at, hook) in hooks.iter().enumerate() {
        let path = path.index(at);
        self::hook(hook, &path, &mut errors);
        let name = str_of(hook, "name");
        if !name.is_empty() && hooks[..at].iter().any(|other| str_of(other, "name") == name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
    }
    errors
}

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

fn hook(hook: &Value, path: &Path, errors: &mut Errors) {
    let of_name = path.child("name");
    match str_of(hook, "name") {
        "" => errors.push(Error::required(&of_name, "")),
        name => {
            let wrong = text::dns_subdomain(name);
            if wrong.is_empty() && name.split('.').count() < 3 {
                let detail = "should be a domain with at least three segments separated by dots";
                errors.push(Error::invalid(&of_name, name, detail));
            }
            complain(wrong, name, &of_name, errors);
        }
    }
    for (at, rule) in list(hook, "rules").iter().enumerate() {
        self::rule(rule, &path.child("rules").index(at), errors);
    }
    for (field, allowed) in [
        ("failurePolicy", &["Fail", "Ignore"][..]),
        ("matchPolicy", &["Equivalent", "Exact"]),
        ("reinvocationPolicy", &["IfNeeded", "Never"]),
        ("sideEffects", &["None", "NoneOnDryRun"]),
    ] {
        known(hook, field, allowed, path, errors);
    }
    if hook["sideEffects"].is_null() {
        errors.push(Error::required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun"));
    }
    if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(Error::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        if hook[field].is_object() {
            metadata::selector(&hook[field], &path.child(field), errors);
        }
    }
    client(&hook["clientConfig"], &path.child("clientConfig"), errors);
    let versions: Vec<&str> = list(hook, "admissionReviewVersions").iter().filter_map(Value::as_str).collect();
    let of_versions = path.child("admissionReviewVersions");
    for (at, version) in versions.iter().enumerate() {
        if versions[..at].contains(version) {
            errors.push(Error::invalid(&of_versions.index(at), *version, "duplicate version"));
        } else {
            complain(text::dns_label_of_old(version), version, &of_versions.index(at), errors);
        }
    }
    if versions.is_empty() {
        errors.push(Error::required(&of_versions, "must specify one of v1, v1beta1"));
    } else if !versions.iter().any(|version| VERSIONS.contains(version)) {
        let shown = hook["admissionReviewVersions"].clone();
        errors.push(Error::invalid(&of_versions, shown, "must include at least one of v1, v1beta1"));
    }
}

/// That a field, where it is there, has one of these values.
fn known(holder: &Value, field: &str, allowed: &[&str], path: &Path, errors: &mut Errors) {
    if let Some(value) = holder[field].as_str().filter(|value| !allowed.contains(value)) {
        errors.push(Error::not_supported(&path.child(field), value, allowed));
    }
}

/// What a webhook or a policy is asked about: operations, and rules of groups, versions, resources and scope.
pub(super) fn rule(rule: &Value, path: &Path, errors: &mut Errors) {
    let of_operations = path.child("operations");
    let operations = list(rule, "operations");
    if operations.is_empty() {
        errors.push(Error::required(&of_operations, ""));
    }
    if operations.len() > 1 && operations.iter().any(|one| one == "*") {
        let detail = "if '*' is present, must not specify other operations";
        errors.push(Error::invalid(&of_operations, rule["operations"].clone(), detail));
    }
    for (at, one) in operations.iter().enumerate() {
        let one = one.as_str().unwrap_or_default();
        if !OPERATIONS.contains(&one) {
            errors.push(Error::not_supported(&of_operations.index(at), one, OPERATIONS));
        }
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let all = list(rule, field);
        if all.is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
        if all.len() > 1 && all.iter().any(|one| one == "*") {
            let detail = format!("if '*' is present, must not specify other {what}");
            errors.push(Error::invalid(&path.child(field), rule[field].clone(), detail));
        }
        // The group of the oldest kinds has no name.
        for (at, _) in all.iter().enumerate().filter(|(_, one)| field != "apiGroups" && **one == "") {
            errors.push(Error::required(&path.child(field).index(at), ""));
        }
    }
    resources(rule, &path.child("resources"), errors);
    known(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

fn resources(rule: &Value, path: &Path, errors: &mut Errors) {
    let all: Vec<&str> = list(rule, "resources").iter().filter_map(Value::as_str).collect();
    if all.is_empty() {
        errors.push(Error::required(path, ""));
    }
    for (at, one) in all.iter().enumerate() {
        if one.is_empty() {
            errors.push(Error::required(&path.index(at), ""));
        }
        let Some((resource, part)) = one.split_once('/') else { continue };
        for wider in [format!("{resource}/*"), format!("*/{part}")] {
            if all[..at].contains(&wider.as_str()) {
                let detail = format!("if '{wider}' is present, must not specify {one}");
                errors.push(Error::invalid(&path.index(at), *one, detail));
            }
        }
    }
    if all.len() > 1 && all.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.push(Error::invalid(path, rule["resources"].clone(), detail));
    }
    // Upstream goes by the last resource that is whole.
    let last = all.iter().rfind(|one| !one.is_empty() && !one.contains('/'));
    if all.contains(&"*") && last.is_some_and(|one| *one != "*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(path, rule["resources"].clone(), detail));
    }
}

pub(super) fn client(config: &Value, path: &Path, errors: &mut Errors) {
    const FORM: &str = "desired format: https://host[/path]";
    let (url, service) = (&config["url"], &config["service"]);
    if url.is_null() == service.is_null() {
        errors.push(Error::required(path, "exactly one of url or service is required"));
        return;
    }
    let of_service = path.child("service");
    if service.is_object() {
        for field in ["name", "namespace"] {
            if str_of(service, field).is_empty() {
                errors.push(Error::required(&of_service.child(field), ""));
            }
        }
        if let Some(port) = service["port"].as_i64().filter(|port| !(1..=65535).contains(port)) {
            let detail = "port is not valid: must be between 1 and 65535, inclusive";
            errors.push(Error::invalid(&of_service.child("port"), port, detail));
        }
        let at = str_of(service, "path");
        segments(at, &of_service.child("path"), errors);
        return;
    }
    let (url, path) = (url.as_str().unwrap_or_default(), path.child("url"));
    if url.starts_with(':') {
        let detail = format!("url must be a valid URL: parse {url:?}: missing protocol scheme; {FORM}");
        errors.push(Error::required(&path, &detail));
        return;
    }
    // Without a scheme there is no host either, but a path.
    let (scheme, rest) = url.split_once("://").unwrap_or(("", ""));
    if scheme != "https" {
        errors.push(Error::invalid(&path, scheme, format!("'https' is the only allowed URL scheme; {FORM}")));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.push(Error::invalid(&path, "", format!("host must be specified; {FORM}")));
    }
    for (part, detail) in [
        (user, "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !part.is_empty() {
            errors.push(Error::invalid(&path, part, detail));
        }
    }
}

/// A path on a Service, whose parts are names.
fn segments(at: &str, path: &Path, errors: &mut Errors) {
    if matches!(at, "" | "/") {
        return;
    }
    if at == "//" {
        errors.push(Error::invalid(path, at, "segment[0] may not be empty"));
        return;
    }
    if !at.starts_with('/') {
        errors.push(Error::invalid(path, at, "must start with a '/'"));
    }
    let rest: String = at.chars().skip(1).collect();
    for (number, step) in rest.strip_suffix('/').unwrap_or(&rest).split('/').enumerate() {
        if step.is_empty() {
            errors.push(Error::invalid(path, at, format!("segment[{number}] may not be empty")));
            continue;
        }
        let wrong = text::dns_subdomain(step);
        errors.extend(wrong.into_iter().map(|why| Error::invalid(path, at, format!("segment[{number}]: {why}"))));
    }
}

/// An APIService, whose name says what it is for.
pub(super) fn service(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let (group, version) = (object.str(&["spec", "group"]), object.str(&["spec", "version"]));
    let wanted = format!("{version}.{group}");
    if object.name() != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
        errors.push(Error::invalid(&Path::new("metadata").child("name"), object.name(), detail));
    }
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    match (group, version) {
        ("", "v1") => {}
        ("", _) => {
            let detail = "only v1 may have an empty group and it better be legacy kube";
            errors.push(Error::required(&path.child("group"), detail));
        }
        _ => complain(text::dns_subdomain(group), group, &path.child("group"), &mut errors),
    }
    complain(text::dns_label_of_old(version), version, &path.child("version"), &mut errors);
    for (field, most) in [("groupPriorityMinimum", 20000), ("versionPriority", 1000)] {
        let number = spec[field].as_i64().unwrap_or_default();
        if !(1..=most).contains(&number) {
            let detail = format!("must be positive and less than {most}");
            errors.push(Error::invalid(&path.child(field), number, detail));
        }
    }
    let service = &spec["service"];
    if service.is_object() {
        for field in ["name", "namespace"] {
            if str_of(service, field).is_empty() {
                errors.push(Error::required(&path.child("service").child(field), ""));
            }
        }
        if let Some(port) = service["port"].as_i64().filter(|port| !(1..=65535).contains(port)) {
            let detail = "port is not valid: must be between 1 and 65535, inclusive";
            errors.push(Error::invalid(&path.child("service").child("port"), port, detail));
        }
        if spec["insecureSkipTLSVerify"] == true && !str_of(spec, "caBundle").is_empty() {
            let detail = "may not be true if caBundle is present";
            errors.push(Error::invalid(&path.child("insecureSkipTLSVerify"), true, detail));
        }
        return errors;
    }
    let bundle = base64::engine::general_purpose::STANDARD.decode(str_of(spec, "caBundle")).unwrap_or_default();
    if !bundle.is_empty() {
        let bytes = format!("{} bytes", bundle.len());
        errors.push(Error::invalid(&path.child("caBundle"), bytes, "local APIServices may not have a caBundle"));
    }
    if spec["insecureSkipTLSVerify"] == true {
        let detail = "local APIServices may not have insecureSkipTLSVerify";
        errors.push(Error::invalid(&path.child("insecureSkipTLSVerify"), true, detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn webhooks_say_who_is_asked_about_what() {
        let good = json!({"name": "a.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://a.example.org/x"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]});
        let found = |change: &dyn Fn(&mut Value)| {
            let mut hook = good.clone();
            change(&mut hook);
            let object = Object::from_value(json!({"webhooks": [hook]})).unwrap();
            configuration(&object).len()
        };
        assert_eq!(found(&|_| {}), 0);
        let changes: [&dyn Fn(&mut Value); 8] = [
            &|hook| hook["name"] = "short".into(),
            &|hook| hook["sideEffects"] = "Some".into(),
            &|hook| hook["timeoutSeconds"] = 31.into(),
            &|hook| hook["admissionReviewVersions"] = json!(["v2"]),
            &|hook| hook["clientConfig"]["url"] = "http://a".into(),
            &|hook| hook["clientConfig"] = json!({}),
            &|hook| hook["rules"][0]["operations"] = json!(["*", "CREATE"]),
            &|hook| hook["rules"][0]["resources"] = json!(["*", "pods"]),
        ];
        for (at, change) in changes.iter().enumerate() {
            assert_eq!(found(change), 1, "change {at}");
        }
        let twice = Object::from_value(json!({"webhooks": [good, good]})).unwrap();
        assert_eq!(configuration(&twice).len(), 1);
    }

    #[test]
    fn an_api_service_is_named_after_what_it_is_for() {
        let spec = json!({"group": "g", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10});
        let named = |name: &str| Object::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        assert_eq!((service(&named("v1.g")).len(), service(&named("g.v1")).len()), (0, 1));
    }
}
