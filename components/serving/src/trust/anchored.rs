//! Servers that authorities vouch for, judged as Go's crypto/x509 judges them.
//!
//! The TLS library's own judge refuses a server whose certificate is an authority's, and one that is itself among the trusted
//! certificates without having been made by one of them. Go's takes both, and webhooks with one self-signed certificate for
//! everything are common. So what that judge refuses is looked at once more where it is of one of these two sorts.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::{Judge, Judged};

/// Takes servers that one of the authorities vouches for. Those that cannot be read vouch for nobody.
pub fn anchored(
    authorities: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned());
    Arc::new(Judged { judge: Anchored { roots, authorities }, provider })
}

#[derive(Debug)]
struct Anchored {
    roots: RootCertStore,
    authorities: Vec<CertificateDer<'static>>,
}

/// What somebody shows a certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

/// Judges a certificate that is itself trusted, or an authority's that a trusted one has made, or a client's of the first version.
/// None is for all others.
pub(super) fn judge_made(
    shown: &CertificateDer<'_>,
    authorities: &[CertificateDer<'static>],
    now: UnixTime,
    purpose: Purpose,
) -> Option<Result<(), CertificateError>> {
    let trusted = authorities.iter().any(|authority| authority == shown);
    let (_, parsed) = X509Certificate::from_der(shown).ok()?;
    let of_old = purpose == Purpose::Client && parsed.version == X509Version::V1;
    if !trusted && !of_old && !is_authority(&parsed) {
        return None;
    }
    if !trusted && !made_by_authority(&parsed, authorities, now) {
        return Some(Err(CertificateError::UnknownIssuer));
    }
    if let Err(error) = in_time(&parsed, now) {
        return Some(Err(error));
    }
    let serves = match parsed.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => {
            usage.value.any
                || match purpose {
                    Purpose::Server => usage.value.server_auth,
                    Purpose::Client => usage.value.client_auth,
                }
        }
        Err(_) => return Some(Err(CertificateError::BadEncoding)),
    };
    Some(if serves { Ok(()) } else { Err(CertificateError::InvalidPurpose) })
}

fn made_by_authority(
    certificate: &X509Certificate<'_>,
    authorities: &[CertificateDer<'static>],
    now: UnixTime,
) -> bool {
    authorities.iter().any(|authority| {
        let Ok((_, authority)) = X509Certificate::from_der(authority) else { return false };
        authority.subject() == certificate.issuer()
            && is_authority(&authority)
            && in_time(&authority, now).is_ok()
            && certificate.verify_signature(Some(authority.public_key())).is_ok()
    })
}

impl Judge for Anchored {
    fn judge(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
        provider: &CryptoProvider,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(server)?;
        let known = provider.signature_verification_algorithms.all;
        let judged = verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, known);
        if let Err(error) = judged {
            match judge_made(server, &self.authorities, now, Purpose::Server) {
                Some(judged) => judged?,
                None => return Err(error),
            }
        }
        verify_server_name(&parsed, name).map_err(|error| if named_of_old(server, name) { legacy() } else { error })
    }
}

/// Whether a certificate says its name only where nobody looks any more.
fn named_of_old(server: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(server) else { return false };
    if !matches!(parsed.subject_alternative_name(), Ok(None)) {
        return false;
    }
    let wanted = name.to_str();
    let one = |common: &str| match common.strip_prefix("*.") {
        Some(rest) => wanted.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest)),
        None => common.eq_ignore_ascii_case(&wanted),
    };
    parsed.subject().iter_common_name().filter_map(|common| common.as_str().ok()).any(one)
}

/// What is said where [`named_of_old`].
#[derive(Debug, thiserror::Error)]
#[error("certificate relies on legacy Common Name field, use SANs instead")]
struct Legacy;

fn legacy() -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(Legacy))))
}

fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca)
}

fn in_time(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let seconds = |time: x509_parser::time::ASN1Time| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)))
    };
    let (not_before, not_after) =
        (seconds(certificate.validity().not_before), seconds(certificate.validity().not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    Ok(())
}

/// Why a TLS handshake failed, in the words that Go's clients have for it.
pub fn refusal(error: &std::io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(error)) => {
            format!("tls: failed to verify certificate: x509: {}", words(error))
        }
        // Whoever answers with something else is mostly a server that knows no TLS.
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => format!("remote error: tls: {}", alarm(*alert)),
        Some(error) => format!("tls: {error}"),
        None => error.to_string(),
    }
}

/// What Go calls what the other side was alarmed about.
fn alarm(alert: AlertDescription) -> String {
    let known = match alert {
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    };
    known.to_owned()
}

fn words(error: &CertificateError) -> String {
    let expired = |time: &UnixTime, how: &str, bound: &UnixTime| {
        let (time, bound) = (shown(time), shown(bound));
        format!("certificate has expired or is not yet valid: current time {time} is {how} {bound}")
    };
    match error {
        // Another authority of the same name is as unknown as any.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate specifies an incompatible key usage".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => expired(time, "after", not_after),
        CertificateError::NotValidYetContext { time, not_before } => expired(time, "before", not_before),
        CertificateError::NotValidForNameContext { expected, presented } => not_for(expected, presented),
        CertificateError::Other(rustls::OtherError(why)) => why.to_string(),
        other => other.to_string(),
    }
}

/// What the names of a certificate are told as, `DnsName("a.example")`, without what is around them.
fn bare(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')')).trim_matches('"')
}

fn not_for(expected: &ServerName<'_>, presented: &[String]) -> String {
    let wanted = expected.to_str();
    let (addresses, names): (Vec<&str>, Vec<&str>) =
        presented.iter().map(|name| bare(name)).partition(|name| name.parse::<IpAddr>().is_ok());
    match expected {
        ServerName::IpAddress(_) if addresses.is_empty() => {
            format!("cannot validate certificate for {wanted} because it doesn't contain any IP SANs")
        }
        ServerName::IpAddress(_) => format!("certificate is valid for {}, not {wanted}", addresses.join(", ")),
        _ if names.is_empty() => format!("certificate is not valid for any names, but wanted to match {wanted}"),
        _ => format!("certificate is valid for {}, not {wanted}", names.join(", ")),
    }
}

fn shown(time: &UnixTime) -> String {
    let time = i64::try_from(time.as_secs()).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair, date_time_ymd,
    };
    use rustls::crypto::ring;

    use super::*;

    /// What is made for `names`, changed as a case wants it.
    fn params(names: &[&str], change: impl Fn(&mut CertificateParams)) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names can be in a certificate");
        change(&mut params);
        params
    }

    fn key() -> KeyPair {
        KeyPair::generate().expect("a key")
    }

    fn own(params: &CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&key()).expect("it signs itself").der().clone()
    }

    fn ca(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }

    fn judge(authorities: &[&CertificateDer<'static>], server: &CertificateDer<'static>, name: &str) -> String {
        let authorities = authorities.iter().map(|authority| (*authority).clone()).collect();
        let judge = anchored(authorities, Arc::new(ring::default_provider()));
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        match judge.verify_server_cert(server, &[], &name, &[], now) {
            Ok(_) => "taken".to_owned(),
            Err(error) => {
                refusal(&std::io::Error::other(error)).replace("tls: failed to verify certificate: x509: ", "")
            }
        }
    }

    #[test]
    fn a_certificate_that_is_its_own_authority_is_taken_for_its_names() {
        for change in [ca as fn(&mut CertificateParams), |_| {}] {
            let server = own(&params(&["a.example", "127.0.0.1"], change));
            assert_eq!(judge(&[&server], &server, "a.example"), "taken");
            assert_eq!(judge(&[&server], &server, "127.0.0.1"), "taken");
            let other = "certificate is valid for a.example, not b.example";
            assert_eq!(judge(&[&server], &server, "b.example"), other);
            assert_eq!(judge(&[&server], &server, "127.0.0.2"), "certificate is valid for 127.0.0.1, not 127.0.0.2");
            let stranger = own(&params(&["a.example"], change));
            assert_eq!(judge(&[&stranger], &server, "a.example"), "certificate signed by unknown authority");
            assert_eq!(judge(&[], &server, "a.example"), "certificate signed by unknown authority");
        }
    }

    #[test]
    fn an_authority_of_its_own_has_to_be_of_this_time_and_for_servers() {
        let late = own(&params(&["a.example"], |params| {
            ca(params);
            params.not_after = date_time_ymd(2026, 1, 2);
        }));
        let early = own(&params(&["a.example"], |params| {
            ca(params);
            params.not_before = date_time_ymd(2040, 1, 2);
        }));
        let client = own(&params(&["a.example"], |params| {
            ca(params);
            params.extended_key_usages = vec![Usage::ClientAuth];
        }));
        let nameless = own(&params(&[], ca));
        let told =
            |how| format!("certificate has expired or is not yet valid: current time 2027-01-15T08:00:00Z is {how}");
        assert_eq!(judge(&[&late], &late, "a.example"), told("after 2026-01-02T00:00:00Z"));
        assert_eq!(judge(&[&early], &early, "a.example"), told("before 2040-01-02T00:00:00Z"));
        assert_eq!(judge(&[&client], &client, "a.example"), "certificate specifies an incompatible key usage");
        let name = "certificate is not valid for any names, but wanted to match a.example";
        assert_eq!(judge(&[&nameless], &nameless, "a.example"), name);
        let address = "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs";
        assert_eq!(judge(&[&nameless], &nameless, "127.0.0.1"), address);
        let old = |common: &'static str| {
            own(&params(&[], |params| {
                ca(params);
                params.distinguished_name.push(rcgen::DnType::CommonName, common);
            }))
        };
        let legacy = "certificate relies on legacy Common Name field, use SANs instead";
        for (common, name, told) in [
            ("a.example", "a.example", legacy),
            ("*.example", "a.example", legacy),
            ("127.0.0.1", "127.0.0.1", legacy),
            ("b.example", "a.example", "certificate is not valid for any names, but wanted to match a.example"),
        ] {
            let certificate = old(common);
            assert_eq!(judge(&[&certificate], &certificate, name), told, "{common} {name}");
        }
    }

    #[test]
    fn handshakes_that_fail_are_told_as_go_tells_them() {
        let told = |error: rustls::Error| refusal(&std::io::Error::other(error));
        let alert = |alert| told(rustls::Error::AlertReceived(alert));
        assert_eq!(alert(AlertDescription::ProtocolVersion), "remote error: tls: protocol version not supported");
        assert_eq!(alert(AlertDescription::BadCertificate), "remote error: tls: bad certificate");
        assert_eq!(alert(AlertDescription::Unknown(200)), "remote error: tls: alert(200)");
        let strange = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(told(strange), "tls: first record does not look like a TLS handshake");
    }

    #[test]
    fn what_an_authority_made_is_taken_also_where_it_is_an_authority_or_the_only_one_trusted() {
        let root = key();
        let root_params = params(&[], ca);
        let root_der = root_params.self_signed(&root).expect("it signs itself").der().clone();
        let issuer = Issuer::new(root_params, root);
        for change in [ca as fn(&mut CertificateParams), |_| {}] {
            let server = params(&["a.example"], |params| {
                change(params);
                params.distinguished_name.push(rcgen::DnType::CommonName, "server");
            });
            let server = server.signed_by(&key(), &issuer).expect("the authority signs it").der().clone();
            assert_eq!(judge(&[&root_der], &server, "a.example"), "taken");
            assert_eq!(judge(&[&server], &server, "a.example"), "taken");
            // Another authority of the same name has not made it.
            let other = own(&params(&[], ca));
            assert_ne!(judge(&[&other], &server, "a.example"), "taken");
        }
    }
}
