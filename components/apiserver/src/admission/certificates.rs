//! Who may approve and sign certificates, and what no request may ask for.

use base64::Engine;
use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate::field::{self, Error, Path};
use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};

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
