//! Who may approve and sign certificates, and what no request may ask for.

use base64::Engine;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate::certificates::first_block;
use kinit_api::validate::field::{self, Error, Path};
use x509_parser::error::X509Error;
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

use super::{Attributes, Context, Operation};
use crate::authz::rbac::Ask;

const REQUESTS: &str = "certificatesigningrequests";
const GROUP: &str = "certificates.k8s.io";

/// CertificateApproval: approving takes the verb `approve` on the signer.
pub fn approval(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    if !attributes.of(GROUP, &format!("{REQUESTS}/approval")) {
        return Ok(());
    }
    signer_allows(context, attributes, object, "approve")
}

/// CertificateSigning: putting in a certificate takes the verb `sign` on the signer.
pub fn signing(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let status = |object: &Object| (object.get(&["status", "certificate"]).cloned(), failed(object));
    let unchanged = attributes.old.is_some_and(|old| status(old) == status(object));
    if !attributes.of(GROUP, &format!("{REQUESTS}/status")) || unchanged {
        return Ok(());
    }
    signer_allows(context, attributes, object, "sign")
}

fn failed(object: &Object) -> bool {
    let conditions = object.get(&["status", "conditions"]).and_then(|conditions| conditions.as_array());
    conditions.is_some_and(|conditions| conditions.iter().any(|condition| condition["type"] == "Failed"))
}

fn signer_allows(
    context: &Context<'_>,
    attributes: &Attributes<'_>,
    object: &Object,
    verb: &str,
) -> Result<(), Status> {
    let signer = attributes.old.unwrap_or(object).str(&["spec", "signerName"]).to_owned();
    if allowed(context, attributes, &signer, verb) {
        return Ok(());
    }
    Err(attributes.forbidden(format!("user not permitted to {verb} requests with signerName {signer:?}")))
}

/// Whether the user may do it to the signer, or to all of the signer's domain.
fn allowed(context: &Context<'_>, attributes: &Attributes<'_>, signer: &str, verb: &str) -> bool {
    let domain = signer.split_once('/').map_or("", |(domain, _)| domain);
    let user = &attributes.request.user;
    [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
        let ask = Ask::Resource { verb, group: GROUP, resource: "signers", subresource: "", name, namespace: "" };
        context.authorizer.allows(user, &ask, "")
    })
}

/// CertificateSubjectRestriction: nobody becomes a member of `system:masters` by asking for it.
pub fn subject(_: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let concerns = attributes.of(GROUP, REQUESTS)
        && attributes.operation == Operation::Create
        && object.str(&["spec", "signerName"]) == "kubernetes.io/kube-apiserver-client";
    if concerns && requested_groups(object).iter().any(|group| group == crate::authn::MASTERS) {
        return Err(attributes
            .forbidden("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"));
    }
    Ok(())
}

/// ClusterTrustBundleAttest: whoever vouches for a signer's authorities needs the verb `attest` on it.
pub fn attestation(context: &Context<'_>, attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let signer = object.str(&["spec", "signerName"]);
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    let unchanged = attributes.old.is_some_and(|old| old.get(&["spec"]) == object.get(&["spec"]));
    if !attributes.of(GROUP, "clustertrustbundles") || !writes || signer.is_empty() || unchanged {
        return Ok(());
    }
    if allowed(context, attributes, signer, "attest") {
        return Ok(());
    }
    Err(attributes.forbidden(format!("user not permitted to attest for signerName {signer:?}")))
}

/// What is put in as the certificate is a chain of certificates and nothing else. Not a plugin, because upstream has it where
/// requests are validated.
pub fn readable(attributes: &Attributes<'_>, object: &Object) -> Result<(), Status> {
    let content = |object: &Object| object.str(&["status", "certificate"]).to_owned();
    let certificate = content(object);
    let unchanged = attributes.old.is_some_and(|old| content(old) == certificate);
    if !attributes.of(GROUP, &format!("{REQUESTS}/status")) || certificate.is_empty() || unchanged {
        return Ok(());
    }
    let pem = base64::engine::general_purpose::STANDARD.decode(certificate).unwrap_or_default();
    let Err(why) = chain(&pem) else { return Ok(()) };
    let error = Error::invalid(&Path::new("status.certificate"), "<certificate data>", why);
    Err(field::status(GROUP, "CertificateSigningRequest", object.name(), &[error]))
}

/// What is wrong with the request that a CertificateSigningRequest carries, where it is one at all.
pub fn request(object: &Object) -> Option<Error> {
    let encoded = object.str(&["spec", "request"]);
    let pem = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    let pem = String::from_utf8_lossy(&pem);
    let (_, der) = first_block(&pem)?;
    let wrong = |why| Some(Error::invalid(&Path::new("spec.request"), encoded, why));
    let Ok((rest, request)) = X509CertificationRequest::from_der(&der) else {
        return wrong("asn1: structure error: no certificate request");
    };
    if !rest.is_empty() {
        return wrong("asn1: syntax error: trailing data");
    }
    let key = request.certification_request_info.subject_pki.parsed().ok();
    // Keys of RSA that are too short to be checked here are not too short for upstream.
    let is_short = matches!(&key, Some(PublicKey::RSA(key)) if key.key_size() < 2048);
    if is_short || request.verify_signature() != Err(X509Error::SignatureVerificationError) {
        return None;
    }
    wrong(match key {
        Some(PublicKey::RSA(_)) => "crypto/rsa: verification error",
        Some(PublicKey::EC(_)) => "x509: ECDSA verification failure",
        _ => "x509: Ed25519 verification failure",
    })
}

fn chain(pem: &[u8]) -> Result<(), String> {
    let blocks = pem::parse_many(pem).unwrap_or_default();
    for block in &blocks {
        if block.tag() != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.tag()));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if block.contents().is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        if X509Certificate::from_der(block.contents()).is_err() {
            return Err("x509: malformed certificate".to_owned());
        }
    }
    if blocks.is_empty() { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

/// The common name that a request asks for; `None` if it cannot be read.
pub fn requested_name(object: &Object) -> Option<String> {
    let der = der(object)?;
    let (_, request) = X509CertificationRequest::from_der(&der).ok()?;
    let subject = &request.certification_request_info.subject;
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    Some(name)
}

fn requested_groups(object: &Object) -> Vec<String> {
    let Some(der) = der(object) else { return Vec::new() };
    let Ok((_, request)) = X509CertificationRequest::from_der(&der) else { return Vec::new() };
    let organizations = request.certification_request_info.subject.iter_organization();
    organizations.filter_map(|group| group.as_str().ok()).map(str::to_owned).collect()
}

fn der(object: &Object) -> Option<Vec<u8>> {
    let pem = base64::engine::general_purpose::STANDARD.decode(object.str(&["spec", "request"])).ok()?;
    Some(pem::parse(pem).ok()?.into_contents())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_chain_has_certificates_and_nothing_else() {
        let block = |tag: &str, body: &str| format!("-----BEGIN {tag}-----\n{body}-----END {tag}-----\n");
        for (pem, why) in [
            (String::new(), "must contain at least one CERTIFICATE PEM block"),
            (block("PRIVATE KEY", "AAAA\n"), "only CERTIFICATE PEM blocks are allowed, found \"PRIVATE KEY\""),
            (block("CERTIFICATE", "a: b\n\nAAAA\n"), "no PEM block headers are permitted"),
            (block("CERTIFICATE", "AAAA\n"), "x509: malformed certificate"),
        ] {
            assert_eq!(chain(pem.as_bytes()).unwrap_err(), why, "{pem}");
        }
    }

    #[test]
    fn a_request_is_one_of_certificates_and_signed_by_its_key() {
        let key = kinit_pki::PrivateKey::generate().unwrap();
        let text = kinit_pki::CertificateRequest::create(&kinit_pki::Profile::client("a", &[]), &key).unwrap();
        let der = pem::parse(&text).unwrap().into_contents();
        let told = |content: &[u8]| {
            let pem = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", content));
            let encoded = base64::engine::general_purpose::STANDARD.encode(pem);
            let object = Object::from_value(json!({"spec": {"request": encoded}})).unwrap();
            request(&object).map(|error| error.to_string().rsplit_once("\": ").unwrap().1.to_owned())
        };
        assert_eq!(told(&der), None);
        // The last byte of the subject, which is one letter.
        let at = der.windows(3).position(|bytes| bytes == [0x0c, 1, b'a']).unwrap() + 2;
        let mut other = der.clone();
        other[at] = b'b';
        assert_eq!(told(&other).as_deref(), Some("x509: ECDSA verification failure"));
        assert_eq!(told(&[&*der, b"x"].concat()).as_deref(), Some("asn1: syntax error: trailing data"));
        assert_eq!(told(b"x").as_deref(), Some("asn1: structure error: no certificate request"));
    }

    #[test]
    fn a_request_tells_its_name_and_groups() {
        let key = kinit_pki::PrivateKey::generate().unwrap();
        let profile = kinit_pki::Profile::client("system:node:n", &["system:nodes"]);
        let pem = kinit_pki::CertificateRequest::create(&profile, &key).unwrap();
        let encoded = base64::engine::general_purpose::STANDARD.encode(pem);
        let object = Object::from_value(json!({"spec": {"request": encoded}})).unwrap();
        assert_eq!(requested_name(&object).as_deref(), Some("system:node:n"));
        assert_eq!(requested_groups(&object), ["system:nodes"]);
        assert_eq!(requested_name(&Object::default()), None);
    }
}
