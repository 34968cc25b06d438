//! Certificate authorities and the requests they sign.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair, PublicKeyData};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::certificate::{
    BACKDATE, CA_VALIDITY, Certificate, Profile, Usage, alternative_names, authority_params, stamp, usages,
};
use crate::error::{Error, Result};
use crate::key::PrivateKey;

/// A CA: its certificate and its key.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
}

impl Authority {
    /// Makes a self-signed CA that lives ten years from `now`.
    pub fn create(common_name: &str, now: Timestamp) -> Result<Self> {
        Self::create_for(common_name, now, CA_VALIDITY)
    }

    /// Makes a self-signed CA that lives for `validity` from `now`.
    pub fn create_for(common_name: &str, now: Timestamp, validity: Duration) -> Result<Self> {
        Self::create_with(common_name, PrivateKey::generate()?, now, validity)
    }

    /// Makes a self-signed CA of a key that is there.
    pub fn create_with(common_name: &str, key: PrivateKey, now: Timestamp, validity: Duration) -> Result<Self> {
        let mut params = authority_params(common_name)?;
        stamp(&mut params, now, validity);
        let made = params.self_signed(key.pair()).map_err(|error| Error::certificate(common_name, error))?;
        Ok(Self { certificate: Certificate::from_der(made.der(), common_name)?, key })
    }

    /// Joins a CA certificate and its key, read from elsewhere; refuses a pair that does not belong together.
    pub fn new(certificate: Certificate, key: PrivateKey, what: &str) -> Result<Self> {
        if !certificate.is_ca {
            return Err(Error::certificate(what, "the certificate is not one of a CA"));
        }
        if certificate.public_key_der() != key.public_der() {
            return Err(Error::certificate(what, "the private key does not belong to the CA certificate"));
        }
        Ok(Self { certificate, key })
    }

    /// Reads a CA from two PEM files.
    pub fn load(certificate: &std::path::Path, key: &std::path::Path) -> Result<Self> {
        Self::new(Certificate::load(certificate)?, PrivateKey::load(key)?, &certificate.display().to_string())
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The CA's key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Issues a certificate for a new key; it ends at the CA's own end at the latest.
    pub fn issue(&self, profile: &Profile, now: Timestamp, validity: Duration) -> Result<(Certificate, PrivateKey)> {
        let key = PrivateKey::generate()?;
        let certificate = self.issue_for_key(profile, key.pair(), now, validity)?;
        Ok((certificate, key))
    }

    /// Issues a certificate for a key that stays as it is (renewal).
    pub fn renew(
        &self,
        profile: &Profile,
        key: &PrivateKey,
        now: Timestamp,
        validity: Duration,
    ) -> Result<Certificate> {
        self.issue_for_key(profile, key.pair(), now, validity)
    }

    /// Signs a request, giving it the subject and names that it asks for and exactly `usages`.
    /// Whether the asker may have these is the caller's decision.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        usages: &[Usage],
        now: Timestamp,
        validity: Duration,
    ) -> Result<Certificate> {
        let profile = Profile { usages: usages.to_vec(), ..request.profile() };
        self.issue_for_key(&profile, &request.public_key, now, validity)
    }

    fn issue_for_key(
        &self,
        profile: &Profile,
        public_key: &impl PublicKeyData,
        now: Timestamp,
        validity: Duration,
    ) -> Result<Certificate> {
        let name = &profile.common_name;
        let fail = |error: rcgen::Error| Error::certificate(name, error);
        let mut params = profile.params()?;
        params.use_authority_key_identifier_extension = true;
        stamp(&mut params, now, validity.min(self.certificate.remaining(now)));
        let issuer: Issuer<'_, &KeyPair> =
            Issuer::from_ca_cert_der(&self.certificate.der().into(), self.key.pair()).map_err(fail)?;
        let made = params.signed_by(public_key, &issuer).map_err(fail)?;
        Certificate::from_der(made.der(), name)
    }
}

/// A parsed certificate signing request whose signature was checked.
#[derive(Debug)]
pub struct CertificateRequest {
    /// Common name that is asked for.
    pub common_name: String,
    /// Organizations that are asked for.
    pub organizations: Vec<String>,
    /// DNS names that are asked for.
    pub dns_names: Vec<String>,
    /// Addresses that are asked for.
    pub ips: Vec<IpAddr>,
    /// E-mail addresses and URIs that are asked for: never granted, but a signer must see that they are there.
    pub other_names: usize,
    public_key: rcgen::PublicKey,
}

impl CertificateRequest {
    /// Makes a request for `profile`, signed by `key`, as PEM.
    pub fn create(profile: &Profile, key: &PrivateKey) -> Result<String> {
        let fail = |error: rcgen::Error| Error::certificate(&profile.common_name, error);
        profile.params()?.serialize_request(key.pair()).map_err(fail)?.pem().map_err(fail)
    }

    /// Parses PEM and checks the signature; `what` names the source in errors.
    pub fn from_pem(text: &str, what: &str) -> Result<Self> {
        let bad = |reason: String| Error::Pem { what: what.into(), expected: "certificate request", reason };
        let block = pem::parse(text).map_err(|error| bad(error.to_string()))?;
        if block.tag() != "CERTIFICATE REQUEST" {
            return Err(bad(format!("it holds a block of type {:?}", block.tag())));
        }
        let fail = |reason: String| Error::certificate(what, reason);
        let request = CertificateSigningRequestParams::from_der(&block.contents().into())
            .map_err(|error| fail(error.to_string()))?;
        let (_, parsed) =
            X509CertificationRequest::from_der(block.contents()).map_err(|error| fail(error.to_string()))?;
        let info = &parsed.certification_request_info;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or_default().to_owned();
        let mut names = (Vec::new(), Vec::new());
        let mut other_names = 0;
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(alternative) = extension {
                names = alternative_names(&alternative.general_names);
                other_names = alternative.general_names.len() - names.0.len() - names.1.len();
            }
        }
        Ok(Self {
            common_name: info.subject.iter_common_name().next().map(text).unwrap_or_default(),
            organizations: info.subject.iter_organization().map(text).collect(),
            dns_names: names.0,
            ips: names.1,
            other_names,
            public_key: request.public_key,
        })
    }

    /// The usages that the request itself asks for, if it says.
    pub fn requested_usages(text: &str) -> Vec<Usage> {
        let Ok(block) = pem::parse(text) else { return Vec::new() };
        let Ok((_, parsed)) = X509CertificationRequest::from_der(block.contents()) else { return Vec::new() };
        parsed
            .requested_extensions()
            .into_iter()
            .flatten()
            .find_map(|extension| match extension {
                ParsedExtension::ExtendedKeyUsage(usage) => Some(usages(usage.server_auth, usage.client_auth)),
                _ => None,
            })
            .unwrap_or_default()
    }

    fn profile(&self) -> Profile {
        Profile {
            common_name: self.common_name.clone(),
            organizations: self.organizations.clone(),
            dns_names: self.dns_names.clone(),
            ips: self.ips.clone(),
            usages: Vec::new(),
        }
    }
}

/// How long before the end of a life of `validity` a client should renew: at four fifths, as the kubelet does.
pub fn renewal_time(certificate: &Certificate) -> Timestamp {
    let begin = certificate.not_before.as_second() + BACKDATE.as_secs() as i64;
    let end = certificate.not_after.as_second();
    Timestamp::from_second(begin + (end - begin) / 5 * 4).unwrap_or(certificate.not_after)
}
