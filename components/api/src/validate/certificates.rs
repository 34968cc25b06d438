//! Requests for certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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

/// Whether the first block of PEM in these bytes is a request for a certificate.
fn is_request(bytes: &[u8]) -> bool {
    const MARK: &str = "-----";
    let text = String::from_utf8_lossy(bytes);
    let mut rest = &*text;
    while let Some((before, after)) = rest.split_once("-----BEGIN ") {
        rest = after;
        let Some((tag, body)) = after.split_once(MARK).filter(|_| before.is_empty() || before.ends_with('\n')) else {
            continue;
        };
        let Some((body, _)) = body.split_once(&format!("\n-----END {tag}{MARK}")) else { continue };
        let plain: String = body.chars().filter(|letter| !letter.is_whitespace()).collect();
        if STANDARD.decode(plain).is_ok() {
            return tag == "CERTIFICATE REQUEST";
        }
    }
    false
}

/// What is asked for.
pub(super) fn request(spec: &Value, path: &Path, errors: &mut Errors) {
    if !is_request(&STANDARD.decode(str_of(spec, "request")).unwrap_or_default()) {
        let text = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(Error::invalid(&path.child("request"), spec["request"].clone(), text));
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
