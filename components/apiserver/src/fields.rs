//! What is done about a written object's fields beside storing them: unknown and duplicate ones are told, as
//! `fieldValidation` says, and those that a write changes are noted as its manager's.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use kinit_api::apply::{self, Writer};
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::strict::{self, TypeError};
use kinit_schema::Type;
use parking_lot::Mutex;

use crate::registry::{RESOURCES, ResourceSpec};
use crate::request::{ResourceRequest, Verb};
use crate::versions::Versions;
use crate::view;

/// The longest name of a manager.
const MAX_MANAGER: usize = 128;

/// How many characters of warnings one answer carries before they are cut, and what they are cut to.
const MAX_WARNINGS: usize = 4096;
const CUT_WARNING: usize = 256;

/// What becomes of unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// They are dropped.
    Ignore,
    /// They are dropped, and the client is told.
    Warn,
    /// The write is refused.
    Strict,
}

/// Warnings that a request's answer carries. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds a warning that is not there yet: a write that is tried again warns once.
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut all = self.0.lock();
        if !all.contains(&text) {
            all.push(text);
        }
    }

    /// Puts the warnings into an answer's headers. If they are too many, each is cut, and those that there is no room for
    /// then are left out; those with control characters always are.
    pub fn write(&self, headers: &mut HeaderMap) {
        let all = self.0.lock();
        let fine = |text: &&String| !text.is_empty() && !text.contains(char::is_control);
        let length: usize = all.iter().filter(fine).map(|text| text.chars().count()).sum();
        let longest = if length > MAX_WARNINGS { CUT_WARNING } else { usize::MAX };
        let mut written = 0;
        for text in all.iter().filter(fine) {
            if written >= MAX_WARNINGS {
                return;
            }
            let text: String = text.chars().take(longest).collect();
            written += text.chars().count();
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            if let Ok(value) = HeaderValue::try_from(format!("299 - \"{quoted}\"")) {
                headers.append(header::WARNING, value);
            }
        }
    }
}

/// Who a write is noted as in `managedFields`.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    pub name: String,
    /// The subresource that was asked for, which may differ from how it is stored.
    pub subresource: String,
}

impl Manager {
    /// The manager that a request names, or else the program that sends it.
    pub fn of(request: &ResourceRequest, headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let agent = agent.unwrap_or_default();
        let named = request.parameter("fieldManager");
        let name = if named.is_empty() {
            let program = agent.split('/').next().unwrap_or_default();
            let mut name: String = program.chars().filter(|letter| !letter.is_control()).collect();
            name.truncate(name.floor_char_boundary(MAX_MANAGER));
            if name.is_empty() { "unknown".to_owned() } else { name }
        } else {
            named.to_owned()
        };
        Self { name, subresource: request.subresource.clone() }
    }
}

/// The kind of the options that a request's parameters make up.
fn options_kind(request: &ResourceRequest) -> &'static str {
    match request.verb {
        Verb::Create => "CreateOptions",
        Verb::Patch => "PatchOptions",
        Verb::Delete | Verb::DeleteCollection => "DeleteOptions",
        _ => "UpdateOptions",
    }
}

/// What is wrong with parameters: reason, field and text of each.
pub fn bad_options(request: &ResourceRequest, errors: &[(&str, String, String)]) -> Status {
    Status::invalid("meta.k8s.io", options_kind(request), "", errors)
}

/// What values of `dryRun` are told that mean nothing: `(reason, field, text)`, or nothing where they mean something.
pub fn dry_run_error(values: &[impl AsRef<str>]) -> Option<(&'static str, String, String)> {
    let values: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    let text = format!("Unsupported value: {}: supported values: \"All\"", serde_json::json!(values));
    values.iter().any(|value| *value != "All").then(|| ("FieldValueNotSupported", "dryRun".to_owned(), text))
}

/// What the request wants done about unknown and duplicate fields, as far as [`check_options`] lets it.
pub fn directive(request: &ResourceRequest) -> Directive {
    match request.parameter("fieldValidation") {
        "Ignore" => Directive::Ignore,
        "Strict" => Directive::Strict,
        _ => Directive::Warn,
    }
}

/// Refuses parameters that a write cannot have, in the order in which upstream looks at them.
pub fn check_options(request: &ResourceRequest, applies: bool) -> Result<(), Status> {
    let mut errors = Vec::new();
    let mut wrong = |reason: &'static str, field: &str, text: String| errors.push((reason, field.to_owned(), text));
    let manager = request.parameter("fieldManager");
    if applies && manager.is_empty() {
        wrong("FieldValueRequired", "fieldManager", "Required value: is required for apply patch".to_owned());
    }
    if !applies && request.verb == Verb::Patch && request.query.contains_key("force") {
        wrong("FieldValueForbidden", "force", "Forbidden: may not be specified for non-apply patch".to_owned());
    }
    if manager.len() > MAX_MANAGER {
        let text = format!("Too long: may not be more than {MAX_MANAGER} bytes");
        wrong("FieldValueTooLong", "fieldManager", text);
    }
    for (at, letter) in manager.char_indices().filter(|(_, letter)| letter.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(letter));
        wrong("FieldValueInvalid", "fieldManager", format!("Invalid value: {manager:?}: {why}"));
    }
    if let Some((reason, field, text)) = dry_run_error(&request.dry_run) {
        wrong(reason, &field, text);
    }
    let validation = request.parameter("fieldValidation");
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        let known = r#"supported values: "", "Ignore", "Strict", "Warn""#;
        wrong("FieldValueNotSupported", "fieldValidation", format!("Unsupported value: {validation:?}: {known}"));
    }
    if errors.is_empty() { Ok(()) } else { Err(bad_options(request, &errors)) }
}

/// The built-in type of a resource's objects.
pub fn builtin(spec: &ResourceSpec) -> Option<&'static Type> {
    if spec.custom.is_some() { None } else { kinit_schema::kind(spec.group(), spec.version(), spec.kind()) }
}

/// What says how the fields of a resource's objects are owned.
pub fn schema(spec: &ResourceSpec) -> Option<apply::Schema<'_>> {
    match &spec.custom {
        Some(custom) => Some(apply::Schema::Own(&custom.version().structure.0)),
        None => builtin(spec).map(apply::Schema::Type),
    }
}

/// Drops what the kind has no field for, and says what that was.
pub fn conform(spec: &ResourceSpec, object: &mut Object) -> Result<Vec<String>, TypeError> {
    let unknown = match (&spec.custom, builtin(spec)) {
        (Some(custom), _) => custom.version().conform(object, custom.definition.preserve_unknown)?,
        (None, Some(schema)) => strict::conform(object.map_mut(), schema)?,
        (None, None) => Vec::new(),
    };
    Ok(unknown.into_iter().map(|path| format!("unknown field {path:?}")).collect())
}

/// Tells the client of `problems` as it wishes; `refuse` makes the error of a strict write.
pub fn settle(
    request: &ResourceRequest,
    problems: Vec<String>,
    refuse: impl FnOnce(String) -> Status,
) -> Result<(), Status> {
    if problems.is_empty() {
        return Ok(());
    }
    match directive(request) {
        Directive::Ignore => Ok(()),
        Directive::Warn => {
            problems.into_iter().for_each(|problem| request.warnings.add(problem));
            Ok(())
        }
        Directive::Strict => Err(refuse(format!("strict decoding error: {}", problems.join(", ")))),
    }
}

/// Notes in `new`, as it will be stored, what the request changes of `old`.
pub fn note(
    request: &ResourceRequest,
    old: Option<&Object>,
    new: &mut Object,
    now: &str,
    versions: Option<&Versions<'_>>,
) {
    let Some(manager) = &request.manager else { return };
    // What is an event's of the newer group is a manager's by its names there, and not by those that are stored.
    let renamed = request.spec.is("events.k8s.io", "events");
    let spec = if renamed { &request.spec } else { RESOURCES.get(request.index).unwrap_or(&request.spec) };
    let version = spec.api_version();
    let writer = Writer {
        manager: &manager.name,
        api_version: &version,
        subresource: &manager.subresource,
        now,
        reset: &crate::strategy::reset_by(&request.spec, &manager.subresource),
        versions: versions.map(|versions| versions as &dyn apply::Versions),
    };
    if renamed {
        let old = old.map(|old| view::shown(spec, old.clone()));
        let mut changed = view::shown(spec, new.clone());
        apply::update(schema(spec), old.as_ref(), &mut changed, writer);
        *new = view::stored(spec, changed);
    } else {
        apply::update(schema(spec), old, new, writer);
    }
}

/// Notes in what a subresource is sent, which is of a kind of its own (group, version, name) and is stored nowhere, the fields that
/// the request has.
pub fn note_part(request: &ResourceRequest, kind: (&str, &str, &str), new: &mut Object, now: &str) {
    let Some(manager) = &request.manager else { return };
    let writer = Writer {
        manager: &manager.name,
        api_version: &format!("{}/{}", kind.0, kind.1),
        subresource: &manager.subresource,
        now,
        reset: &[],
        versions: None,
    };
    apply::update(kinit_schema::kind(kind.0, kind.1, kind.2).map(apply::Schema::Type), None, new, writer);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> ResourceRequest {
        crate::request::parse(
            &crate::registry::Registry::default(),
            &http::Method::PATCH,
            "/api/v1/namespaces/a/pods/b",
            Some(query),
        )
        .unwrap()
        .unwrap()
    }

    #[test]
    fn parameters_are_checked_in_upstreams_words() {
        let cases = [
            ("", false, None),
            ("", true, Some("fieldManager: Required value: is required for apply patch")),
            ("fieldManager=a&force=true", true, None),
            ("force=true", false, Some("force: Forbidden: may not be specified for non-apply patch")),
            ("dryRun=All&dryRun=All", false, None),
            ("dryRun=", false, Some("dryRun: Unsupported value: [\"\"]: supported values: \"All\"")),
            (
                "dryRun=All&dryRun=b",
                false,
                Some("dryRun: Unsupported value: [\"All\",\"b\"]: supported values: \"All\""),
            ),
            (
                "fieldManager=a%0A",
                false,
                Some("fieldManager: Invalid value: \"a\\n\": invalid character U+000A (at position 1)"),
            ),
            (
                "fieldValidation=Some",
                false,
                Some(
                    "fieldValidation: Unsupported value: \"Some\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                ),
            ),
        ];
        for (query, applies, expected) in cases {
            let found = check_options(&request(query), applies).err().map(|status| status.message);
            let expected = expected.map(|text| format!("PatchOptions.meta.k8s.io \"\" is invalid: {text}"));
            assert_eq!(found, expected, "{query}");
        }
    }

    #[test]
    fn events_are_managed_by_the_names_of_their_group() {
        let registry = crate::registry::Registry::default();
        let path = "/apis/events.k8s.io/v1/namespaces/a/events";
        let mut create = crate::request::parse(&registry, &http::Method::POST, path, None).unwrap().unwrap();
        create.manager = Some(Manager { name: "m".into(), subresource: String::new() });
        let event = serde_json::json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "n",
            "involvedObject": {"kind": "Pod"}, "reportingComponent": "c"});
        let mut event = Object::from_value(event).unwrap();
        note(&create, None, &mut event, "2026-01-02T03:04:05Z", None);
        let noted = &event.get(&["metadata", "managedFields"]).unwrap()[0];
        assert_eq!(noted["apiVersion"], "events.k8s.io/v1");
        let fields = serde_json::json!({"f:note": {}, "f:regarding": {}, "f:reportingController": {}});
        assert_eq!(noted["fieldsV1"], fields);
        assert_eq!((event.api_version(), event.str(&["message"])), ("v1", "n"));
    }

    #[test]
    fn problems_are_told_as_asked() {
        let problems = || vec!["unknown field \"spec.a\"".to_owned(), "duplicate field \"spec.b\"".to_owned()];
        let refused = settle(&request("fieldValidation=Strict"), problems(), Status::bad_request).unwrap_err();
        assert_eq!(refused.message, "strict decoding error: unknown field \"spec.a\", duplicate field \"spec.b\"");
        let warned = request("");
        for _ in 0..2 {
            settle(&warned, problems(), Status::bad_request).unwrap();
        }
        let mut headers = HeaderMap::new();
        warned.warnings.write(&mut headers);
        let all: Vec<&str> = headers.get_all(header::WARNING).iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(all, ["299 - \"unknown field \\\"spec.a\\\"\"", "299 - \"duplicate field \\\"spec.b\\\"\""]);
        assert!(settle(&request("fieldValidation=Ignore"), problems(), Status::bad_request).is_ok());
    }

    #[test]
    fn warnings_are_cut_where_they_are_too_many() {
        let written = |texts: &[String]| {
            let (warnings, mut headers) = (Warnings::default(), HeaderMap::new());
            texts.iter().for_each(|text| warnings.add(text.clone()));
            warnings.write(&mut headers);
            headers.get_all(header::WARNING).iter().map(|value| value.len() - "299 - \"\"".len()).collect::<Vec<_>>()
        };
        let text = |first: char, length: usize| first.to_string() + &"x".repeat(length - 1);
        assert_eq!(written(&[text('a', 4000), text('b', 96)]), [4000, 96]);
        assert_eq!(written(&[text('a', 4000), text('b', 97), text('c', 300)]), [256, 97, 256]);
        assert_eq!(written(&[text('a', 5000)]), [256]);
        // What there is no room for even so is left out, but the last may go beyond.
        let many: Vec<String> = ('a'..='z').map(|first| text(first, 300)).collect();
        assert_eq!(written(&many), [256; 16]);
        assert_eq!(written(&["with\ttab".to_owned(), String::new(), "fine".to_owned()]), [4]);
    }
}
