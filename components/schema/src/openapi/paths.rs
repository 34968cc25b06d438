//! The paths of a resource, and the operations on each.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Dialect, Resource, names, parameters};

const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What lists and watches may be answered in.
const LISTS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
/// Resources of which a deletion answers with the object and not with a Status.
const RETURNED: &[&str] = &[
    "csidrivers",
    "csinodes",
    "deviceclasses",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourceclaims",
    "resourceclaimtemplates",
    "resourcequotas",
    "resourceslices",
    "serviceaccounts",
    "services",
    "storageclasses",
    "volumeattachments",
    "volumeattributesclasses",
];
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
            let own = parameters::of_path(place.namespaced, place.named, resource.parent, dialect);
            share(&mut item, own);
            found(place.path, item.into());
        }
    }
    if resource.verbs.contains(&"watch") && resource.subresource.is_empty() {
        watches(resource, dialect, found);
    }
}

/// Puts the parameters that all operations of a path have beside them, with `own`, by name.
fn share(item: &mut Map<String, Value>, own: Vec<Value>) {
    let lists: Vec<Vec<Value>> =
        item.values().map(|operation| operation["parameters"].as_array().cloned().unwrap_or_default()).collect();
    let is_shared = |one: &Value| one["in"] != "body" && lists.iter().all(|list| list.contains(one));
    let shared: Vec<Value> = lists.iter().take(1).flatten().filter(|one| is_shared(one)).cloned().collect();
    for operation in item.values_mut() {
        let Some(list) = operation["parameters"].as_array_mut() else { continue };
        list.retain(|one| !shared.contains(one));
        if list.is_empty() {
            drop(operation.as_object_mut().and_then(|operation| operation.remove("parameters")));
        }
    }
    let mut all = [shared, own].concat();
    all.sort_by_key(|one| one["name"].as_str().unwrap_or_default().to_owned());
    item.insert("parameters".into(), all.into());
}

/// The paths of old by which a collection or an object is watched.
fn watches(resource: &Resource<'_>, dialect: Dialect, found: &mut dyn FnMut(String, Value)) {
    let base = format!("{}/watch", names::base(resource.group, resource.version));
    let all = format!("{base}/{}", resource.plural);
    let (group, version, kind) = resource.kind;
    let operation = names::operation(resource.group, resource.version);
    let collection = match resource.namespaced {
        true => format!("{base}/namespaces/{{namespace}}/{}", resource.plural),
        false => all.clone(),
    };
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let mut add = |path: String, namespaced: bool, named: bool, id: String| {
        let (action, description) = if named {
            let end = "filtered to a single item with the 'fieldSelector' parameter.";
            ("watch", format!("watch changes to an object of kind {kind}. {DEPRECATED}, {end}"))
        } else {
            ("watchlist", format!("watch individual changes to a list of {kind}. {DEPRECATED}."))
        };
        let event = dialect.reference(&names::definition("meta/v1", "WatchEvent"));
        let mut get = json!({
            "tags": [names::tag(resource.group, resource.version)],
            "description": description,
            "operationId": id,
            "responses": {"200": response("OK", Some(&event), LISTS, dialect), "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
            "parameters": parameters::of_verb("list", dialect),
        });
        if dialect == Dialect::V2 {
            get["consumes"] = json!(["*/*"]);
            get["produces"] = json!(LISTS);
            get["schemes"] = json!(["https"]);
        }
        let mut item = Map::from_iter([("get".to_owned(), get)]);
        share(&mut item, parameters::of_path(namespaced, named, resource.parent, dialect));
        found(path, item.into());
    };
    let item = format!("{collection}/{{name}}");
    add(collection, resource.namespaced, false, format!("watch{operation}{scope}{kind}List"));
    add(item, resource.namespaced, true, format!("watch{operation}{scope}{kind}"));
    if resource.namespaced {
        add(all, false, false, format!("watch{operation}{kind}ListForAllNamespaces"));
    }
}

/// What is said of the paths of old.
const DEPRECATED: &str = "deprecated: use the 'watch' parameter with a list operation instead";

/// What an operation does, in upstream's words.
fn describe(resource: &Resource<'_>, operation: &Operation<'_>, connects: bool) -> String {
    let (sub, parent) = (resource.subresource, resource.parent);
    let kind = resource.kind.2;
    // A plural has no article.
    let article = |noun: &str| match noun.chars().next().map(|first| first.to_ascii_lowercase()) {
        _ if noun.ends_with('s') && !noun.ends_with("ss") => "",
        Some('a' | 'e' | 'i' | 'o' | 'u') => "an ",
        _ => "a ",
    };
    let specified = match sub {
        "" => format!("the specified {kind}"),
        sub => format!("{sub} of the specified {parent}"),
    };
    match operation.verb {
        _ if connects => format!("connect {} requests to {sub} of {parent}", operation.method.to_uppercase()),
        "list" if resource.verbs.contains(&"watch") => format!("list or watch objects of kind {kind}"),
        "list" => format!("list objects of kind {kind}"),
        "get" => format!("read {specified}"),
        "create" if !sub.is_empty() => format!("create {sub} of {}{parent}", article(parent)),
        "create" => format!("create {}{kind}", article(kind)),
        "update" => format!("replace {specified}"),
        "patch" => format!("partially update {specified}"),
        "delete" => format!("delete {}{kind}", article(kind)),
        _ => format!("delete collection of {kind}"),
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
        "delete" if custom.is_none() && RETURNED.contains(&resource.plural) => object.clone(),
        "delete" | "deletecollection" => reference("", "v1", "Status"),
        _ => object.clone(),
    };
    let body = match operation.verb {
        "create" | "update" if !connects => object,
        "patch" if !connects => Some(dialect.reference(&names::definition("meta/v1", "Patch"))),
        "delete" | "deletecollection" if !connects => reference("", "v1", "DeleteOptions"),
        _ => None,
    };
    let mut parameters = if connects { Vec::new() } else { parameters::of_verb(operation.verb, dialect) };
    let codes: &[(&str, &str)] = match operation.verb {
        "create" if !connects => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "update" | "patch" if !connects => &[("200", "OK"), ("201", "Created")],
        "delete" if !connects => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let media = if operation.verb == "list" && resource.verbs.contains(&"watch") { LISTS } else { MEDIA_TYPES };
    let mut responses = Map::new();
    for (code, text) in codes {
        responses.insert((*code).into(), response(text, answer.as_deref(), media, dialect));
    }
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    let action = if connects { "connect" } else { operation.action };
    let mut value = json!({
        "tags": [names::tag(resource.group, resource.version)],
        "description": describe(resource, operation, connects),
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
        value["produces"] = if connects { json!(["*/*"]) } else { json!(media) };
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

fn response(text: &str, reference: Option<&str>, media: &[&str], dialect: Dialect) -> Value {
    let mut value = match (dialect, reference) {
        (Dialect::V3, Some(reference)) => content(reference, media, false),
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
        "responses": {"200": response("OK", Some(&list), MEDIA_TYPES, dialect), "401": {"description": "Unauthorized"}},
    });
    if dialect == Dialect::V2 {
        get["consumes"] = json!(MEDIA_TYPES);
        get["produces"] = json!(MEDIA_TYPES);
        get["schemes"] = json!(["https"]);
    }
    json!({ "get": get })
}
