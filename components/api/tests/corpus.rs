//! The corpus: for each kind an object that v1.36 takes, and what becomes of it when something about it is different.
//!
//! `corpus/*.yaml` hold lists of kinds. A kind has a `base`; its `cases` say what to `set` in it, by pointers whose missing
//! parts are made and where null removes, and the `errors` that the write is answered with; none means that it is taken.
//! A case with `from` is an update of the base that `from` has been set in, and one with `subresource` a write of that.

#[path = "corpus/format.rs"]
mod format;

use kinit_api::validate;

#[test]
fn every_kind_is_taken_and_refused_as_upstream_does() {
    let kinds = format::read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"));
    let wrong = format::differences(&kinds, |kind, case, old, new| {
        let (group, name) = (kind.group.as_str(), kind.kind.as_str());
        match (case.and_then(|case| Some((case, case.subresource.as_deref()?))), old) {
            _ if name.ends_with("Review") => validate::review(group, name, new),
            (Some((case, subresource)), Some(old)) => {
                let classes = case.classes.clone().unwrap_or_default();
                validate::subresource(group, name, subresource, old, new, (&classes.0, &classes.1))
            }
            (_, Some(old)) => validate::update(group, name, old, new),
            (_, None) => validate::create(group, name, new),
        }
    });
    let count: usize = kinds.iter().map(|kind| kind.cases.len()).sum();
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 500, "the corpus has only {count} cases");
}
