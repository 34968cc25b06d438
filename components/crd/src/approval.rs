//! Somebody's word that a definition may use a group that is Kubernetes' own.

use kinit_api::object::Object;

/// The annotation that has it.
pub(crate) const APPROVED: &str = "api-approved.kubernetes.io";

/// What the annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Missing,
    /// That there is no approval, and why.
    Bypassed,
    /// Where it was approved, as a URL.
    Approved,
    Invalid,
}

/// What a definition's annotation says.
pub(crate) fn word(definition: &Object) -> Word {
    match definition.str(&["metadata", "annotations", APPROVED]) {
        "" => Word::Missing,
        text if text.starts_with("unapproved") => Word::Bypassed,
        text if text.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty() && !host.is_empty() && !host.starts_with('/') && !text.contains([' ', '\n'])
        }) =>
        {
            Word::Approved
        }
        _ => Word::Invalid,
    }
}

/// [`word`] and upstream's words for it, where the definition's group is Kubernetes' own.
pub(crate) fn of(definition: &Object) -> Option<(Word, String)> {
    let group = definition.str(&["spec", "group"]);
    if !["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}"))) {
        return None;
    }
    let said = definition.str(&["metadata", "annotations", APPROVED]);
    let (need, see) = (
        format!("protected groups must have approval annotation {APPROVED:?}"),
        "see https://github.com/kubernetes/enhancements/pull/1111",
    );
    let word = word(definition);
    let message = match word {
        Word::Missing => format!("{need}, {see}"),
        Word::Bypassed => format!("not approved: {said:?}"),
        Word::Approved => format!("approved in {said}"),
        Word::Invalid => format!("{need} with either a URL or a reason starting with \"unapproved\", {see}"),
    };
    Some((word, message))
}
