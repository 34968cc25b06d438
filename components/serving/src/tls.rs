//! Server-side TLS: certificate files that are read again when they change, or a self-signed certificate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

mod flags;
mod own;
mod sni;

pub use flags::{MinVersion, TlsFlags};
pub use own::{Holder, ServingFlags, keep};
pub use sni::NamedPair;
use sni::{Choice, Served};

use crate::trust::Anybody;

/// How often the files are looked at; a rotated certificate is served at most this much later.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// What can be wrong with a TLS set-up. Each variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: cannot read PEM: {source}")]
    Pem { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{path}: holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("{path}: not usable as a CA: {reason}")]
    ClientCa { path: PathBuf, reason: String },
    #[error("{cert} and {key} do not work together: {source}")]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(String),
    #[error(transparent)]
    Certificate(#[from] kinit_pki::Error),
    #[error("error reading {path}, certificate and key must be supplied as a pair")]
    Half { path: PathBuf },
    #[error("the cipher suite {0:?} is not known or not safe; known are {1}")]
    Suite(String, String),
    #[error("{path}: not usable as a list of revoked certificates: {reason}")]
    Revoked { path: PathBuf, reason: String },
}

/// Where the server's own certificate comes from.
#[derive(Clone, Debug)]
pub enum Identity {
    /// PEM files: a chain, leaf first, and its private key (PKCS#8, SEC1 or PKCS#1).
    Files { cert: PathBuf, key: PathBuf },
    /// A chain and its key in PEM that were made at start and are nowhere else.
    Made { chain: String, key: String },
}

impl Identity {
    /// One that is made now for this name or address alone, and nowhere kept.
    pub fn made(host: &str) -> Result<Self, TlsError> {
        let (chain, key) = kinit_pki::self_signed(host, &[], &[], jiff::Timestamp::now())?;
        Ok(Self::Made { chain, key })
    }
}

/// What is asked of clients.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// No certificate is asked for.
    None,
    /// A certificate is asked for; none is fine, one that these CA files do not vouch for ends the handshake.
    Optional(Vec<PathBuf>),
    /// A certificate is asked for with the names of these CA files, and taken whatever it is: who answers judges it
    /// ([`crate::trust::Clients`]), and can tell whom nobody vouches for so. One of X.509's first version is taken by TLS 1.3 alone.
    Asked(Vec<PathBuf>),
    /// As `Optional`, but a client without a certificate is refused.
    Required(Vec<PathBuf>),
}

/// What [`Tls::new`] needs.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    pub identity: Identity,
    pub client_auth: ClientAuth,
    /// Protocols offered by ALPN in order of preference, for example `h2` and `http/1.1`.
    pub alpn: Vec<Vec<u8>>,
    /// Cipher suites of TLS 1.2 by their IANA names; all that are safe without any. Those of TLS 1.3 are always there.
    pub cipher_suites: Vec<String>,
    /// The versions that are spoken.
    pub versions: Versions,
    /// Files with the client certificates that their CA has revoked.
    pub revoked: Vec<PathBuf>,
    /// Certificates for clients that ask for certain names, beside the server's own.
    pub sni: Vec<NamedPair>,
}

/// The versions of TLS that a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    #[default]
    Both,
    Tls12,
    Tls13,
}

impl TlsOptions {
    /// HTTP/2 and HTTP/1.1 with the given identity and client rule.
    pub fn http(identity: Identity, client_auth: ClientAuth) -> Self {
        Self {
            identity,
            client_auth,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            cipher_suites: Vec::new(),
            versions: Versions::default(),
            revoked: Vec::new(),
            sni: Vec::new(),
        }
    }
}

/// A server configuration that follows its files. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    current: Arc<ArcSwap<Current>>,
    options: Arc<TlsOptions>,
}

/// What the files say now.
struct Current {
    config: Arc<ServerConfig>,
    /// For clients that came to an address which has a certificate of its own.
    addressed: HashMap<IpAddr, Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files once. Errors name the file.
    pub fn new(options: TlsOptions) -> Result<Self, TlsError> {
        let config = build(&options)?;
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(config)), options: Arc::new(options) })
    }

    /// The configuration for the next handshake, with a client that came to `local`.
    pub fn config(&self, local: Option<IpAddr>) -> Arc<ServerConfig> {
        let current = self.current.load();
        let addressed = local.and_then(|local| current.addressed.get(&local.to_canonical()));
        addressed.unwrap_or(&current.config).clone()
    }

    /// Follows the files until `shutdown`. A set of files that does not work is logged and the old one stays in use,
    /// because a rotation that writes two files is seen between them.
    pub async fn follow(self, shutdown: CancellationToken) {
        let files = self.files();
        if files.is_empty() {
            return;
        }
        let mut seen = stamps(&files);
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let now = stamps(&files);
            if now == seen {
                continue;
            }
            match build(&self.options) {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    seen = now;
                    tracing::info!("serving certificate reloaded");
                }
                Err(error) => {
                    tracing::warn!(%error, "changed certificate files are not usable yet; keeping the old ones")
                }
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if let Identity::Files { cert, key } = &self.options.identity {
            files.extend([cert.clone(), key.clone()]);
        }
        if let ClientAuth::Optional(cas) | ClientAuth::Required(cas) | ClientAuth::Asked(cas) =
            &self.options.client_auth
        {
            files.extend(cas.iter().cloned());
        }
        files.extend(self.options.revoked.iter().cloned());
        files.extend(self.options.sni.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]));
        files
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    files.iter().map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok()).collect()
}

fn build(options: &TlsOptions) -> Result<Current, TlsError> {
    let provider = Arc::new(provider(&options.cipher_suites)?);
    let versions: Vec<&'static SupportedProtocolVersion> = match options.versions {
        Versions::Both => rustls::ALL_VERSIONS.to_vec(),
        Versions::Tls12 => vec![&rustls::version::TLS12],
        Versions::Tls13 => vec![&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| TlsError::SelfSigned(error.to_string()))?;
    let builder = match client_verifier(&options.client_auth, &options.revoked, provider.clone())? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let default = served(&options.identity, &[], &provider)?;
    let of_pair = |pair: &NamedPair| {
        let files = Identity::Files { cert: pair.cert.clone(), key: pair.key.clone() };
        served(&files, &pair.names, &provider)
    };
    let others = options.sni.iter().map(of_pair).collect::<Result<Vec<_>, _>>()?;
    let choice = Choice::new(default, others);
    let mut config = builder.with_cert_resolver(Arc::new(choice.clone()));
    config.alpn_protocols.clone_from(&options.alpn);
    let addressed = choice.addresses().map(|(address, choice)| {
        let mut config = config.clone();
        config.cert_resolver = Arc::new(choice);
        (address, Arc::new(config))
    });
    Ok(Current { addressed: addressed.collect(), config: Arc::new(config) })
}

/// Reads a certificate and its key, which must belong together.
fn served(identity: &Identity, names: &[String], provider: &CryptoProvider) -> Result<Served, TlsError> {
    let (chain, key, files) = match identity {
        Identity::Files { cert, key } => (read_certificates(cert)?, read_key(key)?, (cert.clone(), key.clone())),
        Identity::Made { chain, key } => {
            let (cert, path) = (PathBuf::from("the certificate that was made"), PathBuf::from("its key"));
            let bad = |path: &Path| {
                let path = path.to_owned();
                |source| TlsError::Pem { path, source }
            };
            let chain =
                CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(bad(&cert))?;
            (chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(bad(&path))?, (cert, path))
        }
    };
    let first = chain.first().map(|first| first.to_vec()).unwrap_or_default();
    let certificate = kinit_pki::Certificate::from_der(&first, &files.0.display().to_string())?;
    let key = CertifiedKey::from_der(chain, key, provider);
    let key = key.map_err(|source| TlsError::Pair { cert: files.0, key: files.1, source })?;
    Ok(Served { key: Arc::new(key), certificate, names: names.to_vec() })
}

/// The cryptography with these suites of TLS 1.2, or with all.
fn provider(suites: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    if suites.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &SupportedCipherSuite| suite.suite().as_str().unwrap_or_default().to_owned();
    let old = |suite: &SupportedCipherSuite| suite.tls13().is_none();
    let known: Vec<String> = provider.cipher_suites.iter().filter(|suite| old(suite)).map(name).collect();
    // What TLS 1.3 has cannot be chosen; its names, as the field writes them, change nothing.
    let of_13 = |suite: &str| suite.starts_with("TLS_AES_") || suite.starts_with("TLS_CHACHA20_");
    if let Some(unknown) = suites.iter().find(|suite| !known.contains(suite) && !of_13(suite)) {
        return Err(TlsError::Suite(unknown.clone(), known.join(", ")));
    }
    provider.cipher_suites.retain(|suite| !old(suite) || suites.contains(&name(suite)));
    Ok(provider)
}

fn client_verifier(
    auth: &ClientAuth,
    revoked: &[PathBuf],
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let (files, required) = match auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Optional(files) | ClientAuth::Asked(files) => (files, false),
        ClientAuth::Required(files) => (files, true),
    };
    let mut roots = RootCertStore::empty();
    for file in files {
        for certificate in read_certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::ClientCa { path: file.clone(), reason: error.to_string() })?;
        }
    }
    if matches!(auth, ClientAuth::Asked(_)) {
        return Ok(Some(Arc::new(Anybody { hints: roots.subjects(), provider })));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let mut builder = if required { builder } else { builder.allow_unauthenticated() };
    for path in revoked {
        let failed = |reason: String| TlsError::Revoked { path: path.clone(), reason };
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let lists = if bytes.starts_with(b"-----BEGIN") {
            CertificateRevocationListDer::pem_slice_iter(&bytes)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| failed(error.to_string()))?
        } else {
            vec![CertificateRevocationListDer::from(bytes)]
        };
        // Only what a list says counts; a CA without a list has revoked nothing.
        builder = builder.with_crls(lists).only_check_end_entity_revocation().allow_unknown_revocation_status();
    }
    let verifier = builder.build().map_err(|error| TlsError::ClientCa {
        path: files.first().cloned().unwrap_or_default(),
        reason: error.to_string(),
    })?;
    Ok(Some(verifier))
}

/// Every certificate of a PEM file; at least one.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(certificates)
}

/// The first private key of a PEM file.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem { path: path.to_owned(), source })
}
