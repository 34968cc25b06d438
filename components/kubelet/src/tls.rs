//! TLS without anybody to vouch: towards servers that are probed, and for serving before the cluster has signed.

use std::sync::Arc;

use kinit_serving::trust::any_server;
use rustls::ClientConfig;
use rustls::crypto::ring;
use tokio_rustls::TlsConnector;

/// A connector that believes any certificate.
pub fn anyone() -> TlsConnector {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(any_server(provider))
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
