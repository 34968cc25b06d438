//! TLS without anybody to vouch: towards servers that are probed, and for serving before the cluster has signed.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;

/// A connector that believes any certificate.
pub fn anyone() -> TlsConnector {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A certificate that nobody vouches for and its key, both in PEM.
pub fn self_signed(names: Vec<String>) -> Result<(String, String), kinit_pki::Error> {
    let now = jiff::Timestamp::now();
    let name = names.first().cloned().unwrap_or_default();
    let (addresses, dns_names): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| name.parse::<std::net::IpAddr>().is_ok());
    let profile = kinit_pki::Profile {
        common_name: name.clone(),
        dns_names,
        ips: addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        usages: vec![kinit_pki::Usage::Server],
        ..Default::default()
    };
    let authority = kinit_pki::Authority::create(&format!("{name}-ca"), now)?;
    let (certificate, key) = authority.issue(&profile, now, kinit_pki::certificate::LEAF_VALIDITY)?;
    Ok((certificate.to_pem(), key.to_pem()))
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
