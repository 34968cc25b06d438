//! TLS without anybody to vouch, towards servers that are probed.

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
