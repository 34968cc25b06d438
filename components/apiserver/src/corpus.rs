//! The corpus of kinds whose rules need what this server knows, and that every kind of the table is in one of the two.

#[path = "../../api/tests/corpus/format.rs"]
mod format;

use std::path::Path;

use format::Kind;
use kinit_api::object::Object;
use kinit_api::status::Status;

use crate::registry::RESOURCES;
use crate::request::ResourceRequest;
use crate::{custom, policy};

/// Kinds that have no form of their own that could be refused, or are refused by what they are asked for.
const WITHOUT: [(&str, &str); 5] = [
    ("", "Binding"),
    ("", "ComponentStatus"),
    ("authentication.k8s.io", "SelfSubjectReview"),
    ("authentication.k8s.io", "TokenReview"),
    ("authorization.k8s.io", "SelfSubjectRulesReview"),
];

fn read(directory: &str) -> Vec<Kind> {
    format::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory))
}

fn request(kind: &Kind) -> ResourceRequest {
    let object = serde_json::json!({"apiVersion": format!("{}/{}", kind.group, kind.version), "kind": kind.kind});
    crate::bootstrap::request(&object).expect("the kind has a row")
}

fn answer(request: &ResourceRequest, old: Option<&Object>, new: &Object) -> Result<(), Status> {
    match old {
        Some(old) => custom::update(request, old, new)?,
        None => custom::create(request, new)?,
    }
    policy::check::check(&request.spec, new)
}

#[test]
fn what_extends_the_api_is_taken_and_refused_as_upstream_does() {
    let kinds = read("tests/corpus");
    let wrong = format::differences(&kinds, |kind, case, old, new| {
        assert!(
            case.is_none_or(|case| case.subresource.is_none() && case.classes.is_none()),
            "writes are of the whole"
        );
        answer(&request(kind), old, new)
    });
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_kind_has_what_is_taken_and_what_is_refused() {
    let kinds: Vec<Kind> = read("tests/corpus").into_iter().chain(read("../api/tests/corpus")).collect();
    let refused = |group: &str, name: &str| {
        let cases = kinds.iter().filter(|kind| kind.group == group && kind.kind == name).flat_map(|kind| &kind.cases);
        cases.filter(|case| !case.errors.is_empty()).count()
    };
    let missing: Vec<String> = RESOURCES
        .iter()
        .filter(|spec| refused(spec.group(), spec.kind()) == 0)
        .filter(|spec| !WITHOUT.contains(&(spec.group(), spec.kind())))
        .map(|spec| format!("{} {}", spec.api_version(), spec.kind()))
        .collect();
    assert!(missing.is_empty(), "without a case that is refused: {missing:?}");
}
