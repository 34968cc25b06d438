//! TLS for clients and for members.

use std::path::PathBuf;

use kinit_serving::tls::{ClientAuth, Identity, TlsOptions, Versions};

use super::ConfigError;
use crate::options::{Security, TlsVersion};
use crate::peer::PeerTls;

/// One side's files.
struct Side<'a> {
    /// The flags' names, for errors.
    flags: (&'static str, &'static str),
    cert: &'a Option<PathBuf>,
    key: &'a Option<PathBuf>,
    ca: &'a Option<PathBuf>,
    crl: &'a Option<PathBuf>,
}

fn options(security: &Security, side: Side<'_>) -> Result<Option<TlsOptions>, ConfigError> {
    let versions = versions(security)?;
    let (Some(cert), Some(key)) = (side.cert, side.key) else {
        let half = side.cert.is_some() || side.key.is_some();
        return if half { Err(ConfigError::HalfPair(side.flags.0, side.flags.1)) } else { Ok(None) };
    };
    // A trusted CA alone already asks for certificates; etcd does the same.
    let client_auth = match side.ca {
        Some(ca) => ClientAuth::Required(vec![ca.clone()]),
        None => ClientAuth::None,
    };
    let mut options = TlsOptions::http(Identity::Files { cert: cert.clone(), key: key.clone() }, client_auth);
    options.versions = versions;
    if options.versions == Versions::Tls13 && !security.cipher_suites.is_empty() {
        return Err(ConfigError::Suites);
    }
    options.cipher_suites.clone_from(&security.cipher_suites);
    options.revoked = side.crl.iter().cloned().collect();
    Ok(Some(options))
}

fn versions(security: &Security) -> Result<Versions, ConfigError> {
    match (security.tls_min_version, security.tls_max_version) {
        (TlsVersion::Tls13, Some(TlsVersion::Tls12)) => Err(ConfigError::Versions),
        (TlsVersion::Tls13, _) => Ok(Versions::Tls13),
        (TlsVersion::Tls12, Some(TlsVersion::Tls12)) => Ok(Versions::Tls12),
        (TlsVersion::Tls12, _) => Ok(Versions::Both),
    }
}

pub fn clients(security: &Security) -> Result<Option<TlsOptions>, ConfigError> {
    if security.client_cert_auth && security.trusted_ca_file.is_none() {
        return Err(ConfigError::NoClientCa);
    }
    let side = Side {
        flags: ("cert", "key"),
        cert: &security.cert_file,
        key: &security.key_file,
        ca: &security.trusted_ca_file,
        crl: &security.client_crl_file,
    };
    options(security, side)
}

pub fn peers(security: &Security) -> Result<Option<TlsOptions>, ConfigError> {
    if security.peer_client_cert_auth && security.peer_trusted_ca_file.is_none() {
        return Err(ConfigError::NoPeerCa);
    }
    if security.peer_client_cert_file.is_some() != security.peer_client_key_file.is_some() {
        return Err(ConfigError::HalfPair("peer-client-cert", "peer-client-key"));
    }
    let side = Side {
        flags: ("peer-cert", "peer-key"),
        cert: &security.peer_cert_file,
        key: &security.peer_key_file,
        ca: &security.peer_trusted_ca_file,
        crl: &security.peer_crl_file,
    };
    options(security, side)
}

/// What this member shows to others.
pub fn peer_files(security: &Security) -> PeerTls {
    let or = |own: &Option<PathBuf>, served: &Option<PathBuf>| own.clone().or_else(|| served.clone());
    PeerTls {
        cert: or(&security.peer_client_cert_file, &security.peer_cert_file),
        key: or(&security.peer_client_key_file, &security.peer_key_file),
        ca: security.peer_trusted_ca_file.clone(),
    }
}
