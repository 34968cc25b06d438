//! The paths of a resource, and the operations on each.

use serde_json::{Map, Value, json};

use super::{Dialect, Resource, Wanted, Words, names, parameters, schemas};

pub const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// What custom resources may be in.
const CUSTOM: &[&str] = &["application/json", "application/yaml"];
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
    Operation { verb: "options", method: "options", action: "" },
    Operation { verb: "head", method: "head", action: "" },
];

/// Where an answer is text, and what it may be in.
const TEXTS: &[&str] = &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// One path of a resource.
struct Place {
    path: String,
    namespaced: bool,
    named: bool,
    /// Whether another path follows, which is passed on.
    rest: bool,
    /// Which of the resource's verbs are here.
    verbs: &'static [&'static str],
}

/// Whether a subresource is a stream, whose options are no kind: operations on it connect, and what flows is no object.
fn connects(resource: &Resource<'_>) -> bool {
    let (group, version, kind) = resource.kind;
    resource.custom.is_none() && crate::kind(group, version, kind).is_none()
}

/// Whether a stream takes any method, and paths below it.
fn passes_on(resource: &Resource<'_>) -> bool {
    connects(resource) && resource.verbs.contains(&"delete")
}

fn places(resource: &Resource<'_>) -> Vec<Place> {
    let base = names::base(resource.group, resource.version);
    let namespaced = resource.namespaced;
    let all = format!("{base}/{}", resource.plural);
    let collection =
        if namespaced { format!("{base}/namespaces/{{namespace}}/{}", resource.plural) } else { all.clone() };
    let item = format!("{collection}/{{name}}");
    if !resource.subresource.is_empty() {
        let verbs = &["get", "create", "update", "patch", "delete", "options", "head"];
        let path = format!("{item}/{}", resource.subresource);
        let below = passes_on(resource).then(|| format!("{path}/{{path}}"));
        let place = |(path, rest)| Place { path, namespaced, named: true, rest, verbs };
        return [(path, false)].into_iter().chain(below.map(|path| (path, true))).map(place).collect();
    }
    let mut places = vec![
        Place {
            path: collection,
            namespaced,
            named: false,
            rest: false,
            verbs: &["list", "create", "deletecollection"],
        },
        Place { path: item, namespaced, named: true, rest: false, verbs: &["get", "update", "patch", "delete"] },
    ];
    if namespaced {
        places.push(Place { path: all, namespaced: false, named: false, rest: false, verbs: &["list"] });
    }
    places
}

/// Gives each path of a resource with its item to `found`, and adds the types they name, as package and name, to `wanted`.
pub fn of(
    resource: &Resource<'_>,
    words: &dyn Words,
    dialect: Dialect,
    wanted: &mut Wanted,
    found: &mut dyn FnMut(String, Value),
) {
    let has_watches = resource.verbs.contains(&"watch") && resource.custom.is_none();
    if has_watches {
        wanted.insert(("meta/v1", "WatchEvent"));
    }
    for place in places(resource) {
        let mut item = Map::new();
        for operation in OPERATIONS {
            let any = operation.action.is_empty() && passes_on(resource);
            if place.verbs.contains(&operation.verb) && (any || resource.verbs.contains(&operation.verb)) {
                let value = of_operation(resource, &place, operation, words, dialect, wanted);
                item.insert(operation.method.into(), value);
            }
        }
        if !item.is_empty() {
            let named = place.named.then_some(resource.kind.2);
            let mut own = parameters::of_path(place.namespaced, named, place.rest, words, dialect);
            if connects(resource) {
                own.extend(parameters::of_type("core/v1", resource.kind.2, words, dialect));
            } else {
                own.push(parameters::pretty(words, dialect));
            }
            parameters::share(&mut item, own);
            found(place.path, item.into());
        }
    }
    if has_watches && resource.subresource.is_empty() {
        watches(resource, words, dialect, found);
    }
}

/// The paths of old by which a collection or an object is watched.
fn watches(resource: &Resource<'_>, words: &dyn Words, dialect: Dialect, found: &mut dyn FnMut(String, Value)) {
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
            let end = "and with a 'fieldSelector' of metadata.name.";
            ("watch", format!("watch one {kind}. {DEPRECATED} {end}"))
        } else {
            ("watchlist", format!("watch all that is of kind {kind}. {DEPRECATED}."))
        };
        let event = json!({"$ref": dialect.reference(&names::definition("meta/v1", "WatchEvent"))});
        let mut get = json!({
            "tags": [names::tag(resource.group, resource.version)],
            "description": description,
            "operationId": id,
            "responses": {"200": response("OK", &event, LISTS, dialect), "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
            "parameters": parameters::of_verb("list", words, dialect),
        });
        if dialect == Dialect::V2 {
            get["consumes"] = json!(["*/*"]);
            get["produces"] = json!(LISTS);
            get["schemes"] = json!(["https"]);
        }
        let mut item = Map::from_iter([("get".to_owned(), get)]);
        let mut own = parameters::of_path(namespaced, named.then_some(kind), false, words, dialect);
        own.push(parameters::pretty(words, dialect));
        parameters::share(&mut item, own);
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
const DEPRECATED: &str = "deprecated: list with the 'watch' parameter";

/// What an operation does.
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
        "list" if resource.verbs.contains(&"watch") && resource.custom.is_none() => {
            format!("list or watch objects of kind {kind}")
        }
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
    words: &dyn Words,
    dialect: Dialect,
    wanted: &mut Wanted,
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
    let connects = connects(resource);
    // Upstream says less of custom resources, and says some of it in other ways.
    let is_custom = resource.custom.is_some();
    // Of a Pod's log the kind is the Pod.
    let is_log = resource.subresource == "log";
    let answer = match operation.verb {
        _ if connects || is_log => None,
        "list" if custom.is_some() => custom.map(|(_, list)| dialect.reference(list)),
        "list" => reference(group, version, &format!("{kind}List")),
        "delete" if custom.is_none() && RETURNED.contains(&resource.plural) => object.clone(),
        "delete" | "deletecollection" => reference("", "v1", "Status"),
        _ => object.clone(),
    };
    let body = match operation.verb {
        "create" | "update" if !connects => object,
        "patch" if !connects => {
            wanted.insert(schemas::PATCH);
            Some(dialect.reference(&names::definition(schemas::PATCH.0, schemas::PATCH.1)))
        }
        "deletecollection" if is_custom => None,
        "delete" | "deletecollection" if !connects => reference("", "v1", "DeleteOptions"),
        _ => None,
    };
    let mut parameters = match operation.verb {
        _ if connects => Vec::new(),
        _ if is_log => parameters::of_type("core/v1", "PodLogOptions", words, dialect),
        "get" if is_custom => parameters::of_verb("read", words, dialect),
        "deletecollection" if is_custom => parameters::of_verb("list", words, dialect),
        verb => parameters::of_verb(verb, words, dialect),
    };
    let codes: &[(&str, &str)] = match operation.verb {
        "create" if !connects => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        "patch" if is_custom => &[("200", "OK")],
        "update" | "patch" if !connects => &[("200", "OK"), ("201", "Created")],
        "delete" if !connects => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    };
    let media = match operation.verb {
        _ if connects => &["*/*"],
        _ if is_log => TEXTS,
        _ if is_custom => CUSTOM,
        "list" => LISTS,
        _ => MEDIA_TYPES,
    };
    let schema = answer.map_or_else(|| json!({"type": "string"}), |name| json!({ "$ref": name }));
    let mut responses = Map::new();
    for (code, text) in codes {
        responses.insert((*code).into(), response(text, &schema, media, dialect));
    }
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    let action = if connects { "connect" } else { operation.action };
    let (group, version, kind) =
        if is_custom { (resource.group, resource.version, resource.parent) } else { resource.kind };
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
        "patch" if !connects => PATCHES.iter().copied().filter(|it| !is_custom || !it.contains("strategic")).collect(),
        _ if is_custom => CUSTOM.to_vec(),
        _ => vec!["*/*"],
    };
    let bodies = bodies.as_slice();
    let required = matches!(operation.verb, "create" | "update" | "patch");
    match (dialect, body) {
        (Dialect::V3, Some(body)) => {
            value["requestBody"] = json!({"content": content(&json!({ "$ref": body }), bodies)});
            if required {
                value["requestBody"]["required"] = true.into();
            }
        }
        (Dialect::V2, Some(body)) => {
            let mut body = json!({"name": "body", "in": "body", "schema": {"$ref": body}});
            if required {
                body["required"] = true.into();
            }
            parameters.push(body);
        }
        (_, None) => {}
    }
    if dialect == Dialect::V2 {
        value["consumes"] = json!(bodies);
        value["produces"] = json!(media);
        value["schemes"] = json!(["https"]);
    }
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    value
}

fn content(schema: &Value, media_types: &[&str]) -> Value {
    media_types.iter().map(|media| ((*media).to_owned(), json!({ "schema": schema }))).collect::<Map<_, _>>().into()
}

pub fn response(text: &str, schema: &Value, media: &[&str], dialect: Dialect) -> Value {
    match dialect {
        Dialect::V3 => json!({"description": text, "content": content(schema, media)}),
        Dialect::V2 => json!({"description": text, "schema": schema}),
    }
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
    let end = match place.rest {
        true => "WithPath",
        false if resource.namespaced && !place.namespaced => "ForAllNamespaces",
        false => "",
    };
    let group = names::operation(resource.group, resource.version);
    format!("{verb}{group}{method}{scope}{}{sub}{end}", resource.parent)
}
