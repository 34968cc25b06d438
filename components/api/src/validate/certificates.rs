//! Requests for certificates.

use base64::Engine;
use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{list, signer, str_of};
use crate::object::Object;

/// What a certificate can be for, sorted.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The content of the first PEM block in `text`, with the block's type. Lines before it and headers in it are passed over.
pub fn first_block(text: &str) -> Option<(&str, Vec<u8>)> {
    const BEGIN: &str = "-----BEGIN ";
    let starts = text.match_indices(BEGIN).map(|(at, _)| at);
    let mut starts = starts.filter(|at| *at == 0 || text[..*at].ends_with('\n'));
    starts.find_map(|at| {
        let (kind, rest) = text[at + BEGIN.len()..].split_once("-----")?;
        let end = rest.find(&format!("-----END {kind}-----")).filter(|_| !kind.contains('\n'))?;
        let lines = rest[..end].lines().filter(|line| !line.contains(": "));
        let content: String = lines.flat_map(str::chars).filter(|letter| !letter.is_whitespace()).collect();
        let content = base64::engine::general_purpose::STANDARD.decode(content).ok()?;
        Some((kind, content))
    })
}

/// What is asked for. What is within the request's PEM block is looked at by whoever can read certificates.
pub(super) fn request(spec: &Value, path: &Path, errors: &mut Errors) {
    let encoded = str_of(spec, "request");
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    let text = String::from_utf8_lossy(&decoded);
    if first_block(&text).is_none_or(|(kind, _)| kind != "CERTIFICATE REQUEST") {
        let shown = spec["request"].clone();
        errors.push(Error::invalid(&path.child("request"), shown, "PEM block type must be CERTIFICATE REQUEST"));
    }
    let usages: Vec<&str> = list(spec, "usages").iter().filter_map(Value::as_str).collect();
    let of_usages = path.child("usages");
    if usages.is_empty() {
        errors.push(Error::required(&of_usages, ""));
    }
    for (at, usage) in usages.iter().enumerate() {
        if !USAGES.contains(usage) {
            errors.push(Error::not_supported(&of_usages.index(at), *usage, USAGES));
        } else if usages[..at].contains(usage) {
            errors.push(Error::duplicate(&of_usages.index(at), *usage));
        }
    }
    let name = str_of(spec, "signerName");
    if name == "kubernetes.io/legacy-unknown" {
        let text = "the legacy signerName is not allowed via this API version";
        errors.push(Error::invalid(&path.child("signerName"), name, text));
    } else {
        signer::name(name, &path.child("signerName"), errors);
    }
    if let Some(seconds) = spec["expirationSeconds"].as_i64().filter(|seconds| *seconds < 600) {
        let text = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, text));
    }
}

const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const EXCLUSIVE: &str = "Approved and Denied conditions are mutually exclusive";

/// What has become of a request. Whoever `decides` may approve and deny it.
pub(super) fn status(old: &Object, new: &Object, decides: bool) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("status.conditions");
    let of = |object: &Object| object.get(&["status", "conditions"]).and_then(Value::as_array).cloned();
    let (before, after) = (of(old).unwrap_or_default(), of(new).unwrap_or_default());
    let mut types: Vec<&str> = Vec::new();
    for (at, condition) in after.iter().enumerate() {
        let of_this = path.index(at);
        let (kind, value) = (str_of(condition, "type"), str_of(condition, "status"));
        if kind.is_empty() {
            errors.push(Error::required(&of_this.child("type"), ""));
        }
        let known: &[&str] =
            if DECISIONS.contains(&kind) || kind == "Failed" { &["True"] } else { &["False", "True", "Unknown"] };
        match value {
            "" => errors.push(Error::required(&of_this.child("status"), "")),
            value if !known.contains(&value) => {
                errors.push(Error::not_supported(&of_this.child("status"), value, known));
            }
            _ => {}
        }
        if DECISIONS.contains(&kind) && DECISIONS.iter().any(|other| *other != kind && types.contains(other)) {
            errors.push(Error::invalid(&path, kind, EXCLUSIVE));
        }
        if types.contains(&kind) {
            errors.push(Error::duplicate(&of_this.child("type"), kind));
        }
        types.push(kind);
    }
    for kind in ["Approved", "Denied", "Failed"] {
        let count = |all: &[Value]| all.iter().filter(|condition| str_of(condition, "type") == kind).count();
        if count(&after) < count(&before) {
            let text = format!("updates may not remove a condition of type {kind:?}");
            errors.push(Error::forbidden(&path, text));
        } else if count(&after) > count(&before) && !decides && DECISIONS.contains(&kind) {
            errors.push(Error::forbidden(&path, format!("updates may not add a condition of type {kind:?}")));
        }
    }
    let certificate = |object: &Object| object.str(&["status", "certificate"]).to_owned();
    if !certificate(old).is_empty() && certificate(old) != certificate(new) {
        let text = "updates may not modify existing certificate content";
        errors.push(Error::forbidden(&Path::new("status.certificate"), text));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_block_of_a_text_counts() {
        let block = |kind: &str, content: &str| format!("-----BEGIN {kind}-----\n{content}\n-----END {kind}-----\n");
        for (text, wanted) in [
            (String::new(), None),
            ("-----BEGIN A-----".to_owned(), None),
            (block("A B", "YWJj"), Some(("A B", "abc"))),
            (format!("x\n{}{}", block("A", "YW\nJj"), block("B", "")), Some(("A", "abc"))),
            (block("A", "Key: value\n\nYWJj"), Some(("A", "abc"))),
            (format!("{}{}", block("A", "!"), block("B", "YWJj")), Some(("B", "abc"))),
            (format!("x {}", block("A", "YWJj")), None),
        ] {
            let wanted = wanted.map(|(kind, content)| (kind, content.as_bytes().to_vec()));
            assert_eq!(first_block(&text), wanted, "{text}");
        }
    }
}
