//! Certificates: what one says, and what a new one shall say.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use crate::error::{Error, Result};
use crate::files;

/// A leaf's life as kubeadm has it.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// A CA's life as kubeadm has it.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates begin this long before they are made, so that a host whose clock is a little behind takes them.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What a leaf may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// To serve TLS.
    Server,
    /// To be a TLS client.
    Client,
}

/// What a new certificate or request shall say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The user name, for clients.
    pub common_name: String,
    /// The groups, for clients. At most two: see [`Profile::params`].
    pub organizations: Vec<String>,
    /// DNS names, in the order they shall appear.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// What the key may be used for.
    pub usages: Vec<Usage>,
}

impl Profile {
    /// The profile of a client: a user name and its groups.
    pub fn client(common_name: impl Into<String>, organizations: &[&str]) -> Self {
        Self {
            common_name: common_name.into(),
            organizations: organizations.iter().map(|name| (*name).to_owned()).collect(),
            usages: vec![Usage::Client],
            ..Self::default()
        }
    }

    /// rcgen's form of the profile, without validity and serial number.
    ///
    /// rcgen keeps one value per kind of name; the second organization goes in under its number. More are refused.
    pub(crate) fn params(&self) -> Result<CertificateParams> {
        let fail = |reason: String| Error::certificate(&self.common_name, reason);
        let mut name = DistinguishedName::new();
        let organization_number = || DnType::CustomDnType(vec![2, 5, 4, 10]);
        match self.organizations.as_slice() {
            [] => {}
            [one] => name.push(DnType::OrganizationName, one.as_str()),
            [one, two] => {
                name.push(DnType::OrganizationName, one.as_str());
                name.push(organization_number(), two.as_str());
            }
            more => return Err(fail(format!("{} organizations are asked for, two at most are possible", more.len()))),
        }
        if !self.common_name.is_empty() {
            name.push(DnType::CommonName, self.common_name.as_str());
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name;
        for dns in dedup(&self.dns_names) {
            let text = dns.as_str().try_into().map_err(|error| fail(format!("{dns:?} is no DNS name: {error}")))?;
            params.subject_alt_names.push(SanType::DnsName(text));
        }
        params.subject_alt_names.extend(dedup(&self.ips).into_iter().map(SanType::IpAddress));
        params.extended_key_usages = self
            .usages
            .iter()
            .map(|usage| match usage {
                Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
                Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            })
            .collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        Ok(params)
    }
}

/// Parameters of a self-signed CA named `common_name`.
pub(crate) fn authority_params(common_name: &str) -> Result<CertificateParams> {
    let profile =
        Profile { common_name: common_name.into(), dns_names: vec![common_name.into()], ..Profile::default() };
    let mut params = profile.params()?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    Ok(params)
}

/// Gives `params` a random positive 63-bit serial number and a life of `validity` from `now`, backdated a little.
pub(crate) fn stamp(params: &mut CertificateParams, now: Timestamp, validity: Duration) {
    live(params, now, validity);
    params.not_before -= BACKDATE;
}

/// Gives `params` a random positive 63-bit serial number and a life of `validity` that begins at `from`.
pub(crate) fn live(params: &mut CertificateParams, from: Timestamp, validity: Duration) {
    let serial = rand::random::<u64>() >> 1 | 1;
    params.serial_number = Some(SerialNumber::from(serial));
    let seconds = u64::try_from(from.as_second()).unwrap_or(0);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_after = params.not_before + validity;
}

fn dedup<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    out
}

/// One parsed certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    /// Common name of the subject; empty when it has none.
    pub common_name: String,
    /// Organizations of the subject.
    pub organizations: Vec<String>,
    /// DNS names it is valid for.
    pub dns_names: Vec<String>,
    /// Addresses it is valid for.
    pub ips: Vec<IpAddr>,
    /// What it may be used for; empty means anything.
    pub usages: Vec<Usage>,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// When its life begins.
    pub not_before: Timestamp,
    /// When its life ends.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Parses DER; `what` names the source in errors.
    pub fn from_der(der: &[u8], what: &str) -> Result<Self> {
        let fail = |reason: String| Error::certificate(what, reason);
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| fail(error.to_string()))?;
        let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| fail(error.to_string()));
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().unwrap_or_default().to_owned();
        let mut certificate = Self {
            der: der.to_vec(),
            common_name: parsed.subject().iter_common_name().next().map(text).unwrap_or_default(),
            organizations: parsed.subject().iter_organization().map(text).collect(),
            dns_names: Vec::new(),
            ips: Vec::new(),
            usages: Vec::new(),
            // The first version has no extension that could tell; whoever is trusted by one takes it for a CA.
            is_ca: parsed.is_ca() || parsed.version() == X509Version::V1,
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
        };
        if let Ok(Some(names)) = parsed.subject_alternative_name() {
            (certificate.dns_names, certificate.ips) = alternative_names(&names.value.general_names);
        }
        if let Ok(Some(usage)) = parsed.extended_key_usage() {
            certificate.usages = usages(usage.value.server_auth, usage.value.client_auth);
        }
        Ok(certificate)
    }

    /// Parses the first certificate in PEM text.
    pub fn from_pem(text: &str, what: &str) -> Result<Self> {
        Ok(Self::all_from_pem(text, what)?.swap_remove(0))
    }

    /// Parses every certificate in PEM text; an empty bundle is an error.
    pub fn all_from_pem(text: &str, what: &str) -> Result<Vec<Self>> {
        let bad = |reason: String| Error::Pem { what: what.into(), expected: "certificate", reason };
        let blocks = pem::parse_many(text).map_err(|error| bad(error.to_string()))?;
        let certificates = blocks
            .iter()
            .filter(|block| block.tag() == "CERTIFICATE")
            .map(|block| Self::from_der(block.contents(), what))
            .collect::<Result<Vec<_>>>()?;
        if certificates.is_empty() {
            return Err(bad("there is no CERTIFICATE block".into()));
        }
        Ok(certificates)
    }

    /// Reads the first certificate of a PEM file.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_pem(&files::read_text(path)?, &path.display().to_string())
    }

    /// The certificate as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode_config(
            &pem::Pem::new("CERTIFICATE", self.der.clone()),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        )
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub fn public_key_der(&self) -> Vec<u8> {
        // Parsed once in `from_der`, so this cannot fail for a value that exists.
        X509Certificate::from_der(&self.der).map(|(_, parsed)| parsed.public_key().raw.to_vec()).unwrap_or_default()
    }

    /// What `--discovery-token-ca-cert-hash` takes: `sha256:` and the hex digest of the public key.
    pub fn public_key_hash(&self) -> String {
        format!("sha256:{}", hex::encode(Sha256::digest(self.public_key_der())))
    }

    /// Whether `authority` signed this certificate.
    pub fn is_signed_by(&self, authority: &Certificate) -> bool {
        let (Ok((_, own)), Ok((_, issuer))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&authority.der))
        else {
            return false;
        };
        own.verify_signature(Some(issuer.public_key())).is_ok()
    }

    /// Life left at `now`; zero when it is over.
    pub fn remaining(&self, now: Timestamp) -> Duration {
        self.not_after.duration_since(now).try_into().unwrap_or(Duration::ZERO)
    }
}

pub(crate) fn alternative_names(names: &[GeneralName<'_>]) -> (Vec<String>, Vec<IpAddr>) {
    let (mut dns, mut ips) = (Vec::new(), Vec::new());
    for name in names {
        match name {
            GeneralName::DNSName(text) => dns.push((*text).to_owned()),
            GeneralName::IPAddress(bytes) => {
                if let Ok(four) = <[u8; 4]>::try_from(*bytes) {
                    ips.push(IpAddr::from(four));
                } else if let Ok(sixteen) = <[u8; 16]>::try_from(*bytes) {
                    ips.push(IpAddr::from(sixteen));
                }
            }
            _ => {}
        }
    }
    (dns, ips)
}

pub(crate) fn usages(server: bool, client: bool) -> Vec<Usage> {
    [(server, Usage::Server), (client, Usage::Client)]
        .into_iter()
        .filter_map(|(on, usage)| on.then_some(usage))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_the_first_version_is_taken_for_a_ca() {
        const OLD: &str = "-----BEGIN CERTIFICATE-----\n\
            MIIBGDCBvwIUP7z9tJIpIat94/PbjoiP12x4K0cwCgYIKoZIzj0EAwIwDjEMMAoG\n\
            A1UEAwwDb2xkMCAXDTI2MTEyMjE0MDAwN1oYDzIxMjYxMDI5MTQwMDA3WjAOMQww\n\
            CgYDVQQDDANvbGQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARk/m2Dq/OiCZBJ\n\
            JTZZpBvoJ7Cu6hvCWNfYMv0OA4ZUVsNwelDVeplrZE9cixuOR4J4DFdETNF97FH+\n\
            Y0YQnzmLMAoGCCqGSM49BAMCA0gAMEUCIDp7AB4nbIGCbwLdGnm3PxagUvDC7Io0\n\
            OSg0ANgQ0dRZAiEA8L6k2EY4uBtiPM79hnARTY3H04QGB6jdC3Zrfp1Uogc=\n\
            -----END CERTIFICATE-----";
        assert!(Certificate::from_pem(OLD, "old").unwrap().is_ca);
    }
}
