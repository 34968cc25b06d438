//! The group flowcontrol.apiserver.k8s.io.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, str_of, text};
use crate::object::Object;

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// The lowest place of a schema, and the most queues of a level.
const LAST: i64 = 10_000;
const QUEUES: i64 = 10_000_000;
/// The bits of a flow's hash that choose its hand.
const HASH_BITS: u32 = 60;

pub(super) fn whole(kind: &str, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    let path = Path::new("spec");
    match kind {
        "FlowSchema" => schema(object.name(), spec, &path, &mut errors),
        "PriorityLevelConfiguration" => level(object.name(), spec, &path, &mut errors),
        _ => {}
    }
    errors
}

fn schema(name: &str, spec: &Value, path: &Path, errors: &mut Errors) {
    let precedence = spec["matchingPrecedence"].as_i64().unwrap_or_default();
    let of_precedence = path.child("matchingPrecedence");
    if precedence <= 0 {
        errors.push(Error::invalid(&of_precedence, precedence, "must be a positive value"));
    }
    if precedence > LAST {
        errors.push(Error::invalid(&of_precedence, precedence, format!("must not be greater than {LAST}")));
    }
    if precedence == 1 && name != "exempt" {
        let text = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(Error::invalid(&of_precedence, precedence, text));
    }
    let method = &spec["distinguisherMethod"];
    if method.is_object() && !matches!(str_of(method, "type"), "ByUser" | "ByNamespace") {
        let path = path.child("distinguisherMethod.type");
        errors.push(Error::not_supported(&path, method.clone(), &["ByNamespace", "ByUser"]));
    }
    let of_level = path.child("priorityLevelConfiguration.name");
    match str_of(&spec["priorityLevelConfiguration"], "name") {
        "" => errors.push(Error::required(&of_level, "must reference a priority level")),
        level => complain(text::dns_subdomain(level), level, &of_level, errors),
    }
    for (at, rule) in list(spec, "rules").iter().enumerate() {
        let path = path.child("rules").index(at);
        if list(rule, "subjects").is_empty() {
            errors.push(Error::required(&path.child("subjects"), "subjects must contain at least one value"));
        }
        for (at, subject) in list(rule, "subjects").iter().enumerate() {
            self::subject(subject, &path.child("subjects").index(at), errors);
        }
        let kinds = ["resourceRules", "nonResourceRules"];
        if kinds.iter().all(|kind| list(rule, kind).is_empty()) {
            let text = "at least one of resourceRules and nonResourceRules has to be non-empty";
            errors.push(Error::required(&path, text));
        }
        for kind in kinds {
            for (at, rule) in list(rule, kind).iter().enumerate() {
                self::rule(rule, kind == "resourceRules", &path.child(kind).index(at), errors);
            }
        }
    }
}

fn subject(subject: &Value, path: &Path, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = str_of(subject, "kind");
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        errors.push(Error::not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]));
        return;
    };
    let (who, of_who) = (&subject[*own], path.child(own));
    if who.is_object() {
        match str_of(who, "name") {
            "" => errors.push(Error::required(&of_who.child("name"), "")),
            name if kind == "ServiceAccount" && name != "*" => {
                complain(text::dns_subdomain(name), name, &of_who.child("name"), errors);
            }
            _ => {}
        }
        let of_namespace = of_who.child("namespace");
        match str_of(who, "namespace") {
            _ if kind != "ServiceAccount" => {}
            "" => errors.push(Error::required(&of_namespace, "must specify namespace for service account")),
            namespace => complain(text::dns_label(namespace), namespace, &of_namespace, errors),
        }
    } else {
        errors.push(Error::required(&of_who, &format!("{own} is required when subject kind is '{kind}'")));
    }
    for (other, field) in KINDS.iter().filter(|(other, field)| *other != kind && subject[*field].is_object()) {
        let text = format!("{field} is forbidden when subject kind is not '{other}'");
        errors.push(Error::forbidden(&path.child(field), text));
    }
}

fn rule(rule: &Value, of_resources: bool, path: &Path, errors: &mut Errors) {
    let texts = |field: &str| list(rule, field).iter().filter_map(Value::as_str).collect::<Vec<_>>();
    // That a list has something, and that all of them stand alone.
    let check = |field: &str, missing: &str, others: &str, errors: &mut Errors| {
        let all = texts(field);
        if all.is_empty() {
            errors.push(Error::required(&path.child(field), missing));
        } else if all.contains(&"*") && all.len() > 1 {
            let text = format!("if '*' is present, must not specify other {others}");
            errors.push(Error::invalid(&path.child(field), rule[field].clone(), text));
        }
        !all.is_empty() && !all.contains(&"*")
    };
    if check("verbs", "verbs must contain at least one value", "verbs", errors)
        && texts("verbs").iter().any(|verb| !VERBS.contains(verb))
    {
        errors.push(Error::not_supported(&path.child("verbs"), rule["verbs"].clone(), VERBS));
    }
    if !of_resources {
        let missing = "nonResourceURLs must contain at least one value";
        if check("nonResourceURLs", missing, "non-resource URLs", errors) {
            for (at, url) in texts("nonResourceURLs").into_iter().enumerate() {
                let wrong = url_problem(url);
                errors.extend(wrong.map(|why| Error::invalid(&path.child("nonResourceURLs").index(at), url, why)));
            }
        }
        return;
    }
    check("apiGroups", "resource rules must supply at least one api group", "api groups", errors);
    check("resources", "resource rules must supply at least one resource", "resources", errors);
    if texts("namespaces").is_empty() && rule["clusterScope"] == true {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if check("namespaces", missing, "namespaces", errors) {
        for (at, namespace) in texts("namespaces").into_iter().enumerate() {
            let path = path.child("namespaces").index(at);
            for wrong in text::dns_label(namespace) {
                let text = format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
                errors.push(Error::invalid(&path, namespace, text));
            }
        }
    }
}

fn url_problem(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    let checks = [
        (url.is_empty(), "must not be empty"),
        (!url.starts_with('/'), "must start with slash"),
        (url.contains(' '), "must not contain white-space"),
        (url.contains("//"), "must not contain double slash"),
        (stars > 1 || stars == 1 && !url.ends_with("/*"), "wildcard can only do suffix matching"),
    ];
    checks.into_iter().find(|(wrong, _)| *wrong && url != "/").map(|(_, why)| why)
}

fn level(name: &str, spec: &Value, path: &Path, errors: &mut Errors) {
    let kind = str_of(spec, "type");
    if (name == "exempt") != (kind == "Exempt") {
        let text = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(Error::invalid(&path.child("type"), kind, text));
    }
    let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
    match kind {
        "Exempt" => {
            if limited.is_object() {
                let text = "must be nil if the type is not Limited";
                errors.push(Error::forbidden(&path.child("limited"), text));
            }
            shares(exempt, &path.child("exempt"), errors);
        }
        "Limited" => {
            if exempt.is_object() {
                errors.push(Error::forbidden(&path.child("exempt"), "must be nil if the type is Limited"));
            }
            let path = path.child("limited");
            if !limited.is_object() {
                errors.push(Error::required(&path, "must not be empty when type is Limited"));
                return;
            }
            shares(limited, &path, errors);
            response(&limited["limitResponse"], &path.child("limitResponse"), errors);
            if let Some(percent) = limited["borrowingLimitPercent"].as_i64().filter(|percent| *percent < 0) {
                let text = "if specified, must be a non-negative integer";
                errors.push(Error::invalid(&path.child("borrowingLimitPercent"), percent, text));
            }
        }
        _ => errors.push(Error::not_supported(&path.child("type"), kind, &["Exempt", "Limited"])),
    }
}

fn shares(level: &Value, path: &Path, errors: &mut Errors) {
    if let Some(shares) = level["nominalConcurrencyShares"].as_i64().filter(|shares| *shares < 0) {
        let text = "must be a non-negative integer";
        errors.push(Error::invalid(&path.child("nominalConcurrencyShares"), shares, text));
    }
    if let Some(percent) = level["lendablePercent"].as_i64().filter(|percent| !(0..=100).contains(percent)) {
        let text = "must be between 0 and 100, inclusive";
        errors.push(Error::invalid(&path.child("lendablePercent"), percent, text));
    }
}

fn response(response: &Value, path: &Path, errors: &mut Errors) {
    let (queuing, of_queuing) = (&response["queuing"], path.child("queuing"));
    match (str_of(response, "type"), queuing.is_object()) {
        ("Reject", true) => {
            let text = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(Error::forbidden(&of_queuing, text));
        }
        ("Queue", false) => {
            let text = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(Error::required(&of_queuing, text));
        }
        ("Queue", true) => self::queuing(queuing, &of_queuing, errors),
        ("Reject", false) => {}
        (other, _) => errors.push(Error::not_supported(&path.child("type"), other, &["Queue", "Reject"])),
    }
}

fn queuing(queuing: &Value, path: &Path, errors: &mut Errors) {
    let number = |field: &str| queuing[field].as_i64().unwrap_or_default();
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        errors.push(Error::invalid(&path.child("queueLengthLimit"), length, "must be positive"));
    }
    if queues <= 0 {
        errors.push(Error::invalid(&path.child("queues"), queues, "must be positive"));
    } else if queues > QUEUES {
        let text = format!("must not be greater than {QUEUES}");
        errors.push(Error::invalid(&path.child("queues"), queues, text));
    }
    let path = path.child("handSize");
    if hand <= 0 {
        errors.push(Error::invalid(&path, hand, "must be positive"));
    } else if hand > queues {
        errors.push(Error::invalid(&path, hand, format!("should not be greater than queues ({queues})")));
    } else if entropy(queues, hand) > f64::from(HASH_BITS) {
        let text = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        errors.push(Error::invalid(&path, hand, text));
    }
}

/// How many bits of a hash it takes to deal a hand.
fn entropy(queues: i64, hand: i64) -> f64 {
    (0..hand.min(i64::from(HASH_BITS) + 1)).map(|dealt| ((queues - dealt) as f64).log2()).sum::<f64>().ceil()
}
