//! The paths of a resource, and the operations on each.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Dialect, Resource, names, parameters};

const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const APPLY: &str = "application/apply-patch+yaml";
const PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", APPLY];

/// What an operation does: the method it is, and its `x-kubernetes-action`.
struct Operation<'a> {
    verb: &'a str,
    method: &'a str,
    action: &'a str,
}

const OPERATIONS: &[Operation<'static>] = &[
    Operation { verb: "list", method: "get", action: "list" },
    Operation { verb: "get", method: "get", action: "get" },
    Operation { verb: "create", method: "post", action: "post" },
    Operation { verb: "update", method: "put", action: "put" },
    Operation { verb: "patch", method: "patch", action: "patch" },
    Operation { verb: "delete", method: "delete", action: "delete" },
    Operation { verb: "deletecollection", method: "delete", action: "deletecollection" },
];

/// One path of a resource.
struct Place {
    path: String,
    namespaced: bool,
    named: bool,
    /// Which of the resource's verbs are here.
    verbs: &'static [&'static str],
}

fn places(resource: &Resource<'_>) -> Vec<Place> {
    let base = names::base(resource.group, resource.version);
    let namespaced = resource.namespaced;
    let all = format!("{base}/{}", resource.plural);
    let collection =
        if namespaced { format!("{base}/namespaces/{{namespace}}/{}", resource.plural) } else { all.clone() };
    let item = format!("{collection}/{{name}}");
    if !resource.subresource.is_empty() {
        let verbs = &["get", "create", "update", "patch", "delete"];
        return vec![Place { path: format!("{item}/{}", resource.subresource), namespaced, named: true, verbs }];
    }
    let mut places = vec![
        Place { path: collection, namespaced, named: false, verbs: &["list", "create", "deletecollection"] },
        Place { path: item, namespaced, named: true, verbs: &["get", "update", "patch", "delete"] },
    ];
    if namespaced {
        places.push(Place { path: all, namespaced: false, named: false, verbs: &["list"] });
    }
    places
}

/// Gives each path of a resource with its item to `found`, and adds the types they name, as package and name, to `wanted`.
pub fn of(
    resource: &Resource<'_>,
    dialect: Dialect,
    wanted: &mut BTreeSet<(&'static str, &'static str)>,
    found: &mut dyn FnMut(String, Value),
) {
    if resource.verbs.contains(&"watch") {
        wanted.insert(("meta/v1", "WatchEvent"));
    }
    for place in places(resource) {
        let mut item = Map::new();
        for operation in OPERATIONS {
            if place.verbs.contains(&operation.verb) && resource.verbs.contains(&operation.verb) {
                item.insert(operation.method.into(), of_operation(resource, &place, operation, dialect, wanted));
            }
        }
        if !item.is_empty() {
            let shared = parameters::of_path(place.namespaced, place.named, resource.parent, dialect);
            item.insert("parameters".into(), shared.into());
            found(place.path, item.into());
        }
    }
}

fn of_operation(
    resource: &Resource<'_>,
    place: &Place,
    operation: &Operation<'_>,
    dialect: Dialect,
    wanted: &mut BTreeSet<(&'static str, &'static str)>,
) -> Value {
    let (group, version, kind) = resource.kind;
    let mut reference = |group: &str, version: &str, kind: &str| {
        let found = crate::kind(group, version, kind)?;
        wanted.insert((found.package, found.name));
        Some(dialect.reference(&names::definition(found.package, found.name)))
    };
    let custom = resource.custom.filter(|_| kind == resource.parent);
    let object = match custom {
        Some((own, _)) => Some(dialect.reference(own)),
        None => reference(group, version, kind),
    };
    // A kind outside the table is a stream's options: the operation connects, and what flows is no object.
    let connects = object.is_none();
    let answer = match operation.verb {
        _ if connects => None,
        "list" if custom.is_some() => custom.map(|(_, list)| dialect.reference(list)),
        "list" => reference(group, version, &format!("{kind}List")),
        // A Pod lives on for its grace period, so its deletion answers with it.
        "delete" if resource.plural == "pods" => object.clone(),
        "delete" | "deletecollection" => reference("", "v1", "Status"),
        _ => object.clone(),
    };
    let body = match operation.verb {
        "create" | "update" if !connects => object,
        "patch" if !connects => Some(dialect.reference(&names::definition("meta/v1", "Patch"))),
        "delete" | "deletecollection" => reference("", "v1", "DeleteOptions"),
        _ => None,
    };
    let mut parameters = if connects { Vec::new() } else { parameters::of_verb(operation.verb, dialect) };
    let codes: &[(&str, &str)] = match operation.verb {
        "create" if !connects => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "update" | "patch" if !connects => &[("200", "OK"), ("201", "Created")],
        "delete" => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let mut responses = Map::new();
    for (code, text) in codes {
        responses.insert((*code).into(), response(text, answer.as_deref(), dialect));
    }
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    let action = if connects { "connect" } else { operation.action };
    let mut value = json!({
        "tags": [names::tag(resource.group, resource.version)],
        "description": format!("{action} {kind}"),
        "operationId": operation_id(resource, place, operation, connects),
        "responses": responses,
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    });
    let bodies: Vec<&str> = match operation.verb {
        // Custom resources have no strategies.
        "patch" => PATCHES.iter().copied().filter(|it| custom.is_none() || !it.contains("strategic")).collect(),
        _ => vec!["*/*"],
    };
    let bodies = bodies.as_slice();
    let required = matches!(operation.verb, "create" | "update" | "patch");
    match (dialect, body) {
        (Dialect::V3, Some(body)) => value["requestBody"] = content(&body, bodies, required),
        (Dialect::V2, Some(body)) => {
            parameters.insert(0, json!({"name": "body", "in": "body", "required": required, "schema": {"$ref": body}}));
        }
        (_, None) => {}
    }
    if dialect == Dialect::V2 {
        value["consumes"] = json!(bodies);
        value["produces"] = if connects { json!(["*/*"]) } else { json!(MEDIA_TYPES) };
        value["schemes"] = json!(["https"]);
    }
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    value
}

fn content(reference: &str, media_types: &[&str], required: bool) -> Value {
    let content: Map<String, Value> =
        media_types.iter().map(|media| ((*media).to_owned(), json!({"schema": {"$ref": reference}}))).collect();
    if required { json!({"content": content, "required": true}) } else { json!({ "content": content }) }
}

fn response(text: &str, reference: Option<&str>, dialect: Dialect) -> Value {
    let mut value = match (dialect, reference) {
        (Dialect::V3, Some(reference)) => content(reference, MEDIA_TYPES, false),
        (Dialect::V2, Some(reference)) => json!({"schema": {"$ref": reference}}),
        (Dialect::V3, None) => json!({"content": {"*/*": {"schema": {"type": "string"}}}}),
        (Dialect::V2, None) => json!({"schema": {"type": "string"}}),
    };
    value["description"] = text.into();
    value
}

fn operation_id(resource: &Resource<'_>, place: &Place, operation: &Operation<'_>, connects: bool) -> String {
    let verb = match operation.verb {
        _ if connects => "connect",
        "get" => "read",
        "update" => "replace",
        "deletecollection" => "delete",
        other => other,
    };
    let method = match operation.verb {
        _ if connects => names::capitalized(operation.method),
        "deletecollection" => "Collection".to_owned(),
        _ => String::new(),
    };
    let scope = if place.namespaced { "Namespaced" } else { "" };
    let sub = names::capitalized(resource.subresource);
    let end = if resource.namespaced && !place.namespaced { "ForAllNamespaces" } else { "" };
    let group = names::operation(resource.group, resource.version);
    format!("{verb}{group}{method}{scope}{}{sub}{end}", resource.parent)
}

/// The path that lists what a group and version has.
pub fn discovery(
    resource: &Resource<'_>,
    tag: &str,
    dialect: Dialect,
    wanted: &mut BTreeSet<(&'static str, &'static str)>,
) -> Value {
    wanted.insert(("meta/v1", "APIResourceList"));
    let list = dialect.reference(&names::definition("meta/v1", "APIResourceList"));
    let mut get = json!({
        "tags": [tag],
        "description": "get available resources",
        "operationId": format!("get{}APIResources", names::operation(resource.group, resource.version)),
        "responses": {"200": response("OK", Some(&list), dialect), "401": {"description": "Unauthorized"}},
    });
    if dialect == Dialect::V2 {
        get["consumes"] = json!(MEDIA_TYPES);
        get["produces"] = json!(MEDIA_TYPES);
        get["schemes"] = json!(["https"]);
    }
    json!({ "get": get })
}
