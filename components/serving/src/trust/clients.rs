//! Clients that authorities vouch for, judged as Go's crypto/x509 judges them.
//!
//! A server that tells clients apart by more than one set of authorities, or that answers those nobody vouches for, takes every
//! certificate in the handshake (`ClientAuth::Asked`) and judges its chain here.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature_with_raw_key};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::anchored::{Purpose, judge_made};

/// A set of authorities.
#[derive(Debug)]
pub struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Clients {
    /// The error says what is wrong with the authorities, of which there has to be one at least.
    pub fn new(authorities: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { verifier: verifier.map_err(|error| error.to_string())?, authorities })
    }

    /// Whether the authorities vouch for the first certificate of `chain`, by way of the others, at `now` (since 1970). What is of
    /// the first version of certificates, and so says nothing of what it is for, is taken from an authority itself, as Go does.
    pub fn vouch(&self, chain: &[CertificateDer<'_>], now: Duration) -> Result<(), rustls::Error> {
        let now = UnixTime::since_unix_epoch(now);
        let Some((client, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        let judged = self.verifier.verify_client_cert(client, intermediates, now);
        judged.map(|_| ()).or_else(|error| match judge_made(client, &self.authorities, now, Purpose::Client) {
            Some(judged) => judged.map_err(rustls::Error::from),
            None => Err(error),
        })
    }
}

/// Takes whatever certificate a client has the key of.
#[derive(Debug)]
pub(crate) struct Anybody {
    /// The authorities that clients are told of, by which they choose a certificate.
    pub hints: Vec<DistinguishedName>,
    pub provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    /// By the key alone, because the library reads no certificate of the first version.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair, date_time_ymd,
    };

    use super::*;

    /// An authority of a name, and what it makes.
    struct Authority {
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let der = params.self_signed(&key).unwrap().der().clone();
        Authority { der, issuer: Issuer::new(params, key) }
    }

    fn made(by: &Authority, change: impl Fn(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "ann");
        params.extended_key_usages = vec![Usage::ClientAuth];
        change(&mut params);
        params.signed_by(&KeyPair::generate().unwrap(), &by.issuer).unwrap().der().clone()
    }

    #[test]
    fn only_an_authority_of_the_set_vouches_and_only_for_the_first() {
        let (own, other) = (authority("own"), authority("other"));
        let clients = Clients::new(vec![own.der.clone()]).unwrap();
        let now = Duration::from_secs(1_800_000_000);
        let vouched = |chain: &[CertificateDer<'_>]| clients.vouch(chain, now).is_ok();
        let ann = made(&own, |_| {});
        let stranger = made(&other, |_| {});
        assert!(vouched(std::slice::from_ref(&ann)));
        assert!(!vouched(std::slice::from_ref(&stranger)));
        assert!(!vouched(&[]));
        // Whoever adds a certificate of somebody else's, or the authority's, does not become one of its.
        assert!(!vouched(&[stranger.clone(), ann.clone()]));
        assert!(!vouched(&[stranger, own.der.clone()]));
        assert!(vouched(&[ann, other.der.clone()]));
    }

    #[test]
    fn a_client_is_of_this_time_and_a_client() {
        let own = authority("own");
        let clients = Clients::new(vec![own.der.clone()]).unwrap();
        let vouched = |change: fn(&mut CertificateParams)| {
            clients.vouch(&[made(&own, change)], Duration::from_secs(1_800_000_000)).is_ok()
        };
        assert!(vouched(|params| params.extended_key_usages = Vec::new()));
        assert!(vouched(|params| params.extended_key_usages = vec![Usage::ServerAuth, Usage::ClientAuth]));
        assert!(!vouched(|params| params.extended_key_usages = vec![Usage::ServerAuth]));
        assert!(!vouched(|params| params.not_after = date_time_ymd(2026, 1, 2)));
        assert!(!vouched(|params| params.not_before = date_time_ymd(2040, 1, 2)));
    }

    /// What `openssl x509 -req` makes without a file of extensions: an authority, a client of the first version that it made until
    /// 2126, and one that names the same authority and that another key made.
    #[test]
    fn certificates_of_the_first_version_are_taken_from_an_authority_itself() {
        let read = |text: &str| {
            use rustls_pki_types::pem::PemObject;
            CertificateDer::from_pem_slice(text.as_bytes()).unwrap().into_owned()
        };
        let clients = Clients::new(vec![read(include_str!("first/ca.crt"))]).unwrap();
        let ann = read(include_str!("first/ann.crt"));
        let forged = read(include_str!("first/forged.crt"));
        let at = |year: u64| Duration::from_secs((year - 1970) * 31_557_600);
        assert!(X509Certificate::from_der(&ann).unwrap().1.version == x509_parser::x509::X509Version::V1);
        assert_eq!(clients.vouch(std::slice::from_ref(&ann), at(2050)), Ok(()));
        assert!(clients.vouch(&[ann], at(2150)).is_err());
        assert!(clients.vouch(&[forged], at(2050)).is_err());
    }
}
