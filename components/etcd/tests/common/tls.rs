//! Certificates for tests.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A CA, and a certificate of it that serves and asks.
pub struct Certificates {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes them in a directory, under a name.
pub fn certificates(directory: &Path, name: &str) -> Certificates {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).expect("a CA");
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("parameters");
    leaf.distinguished_name.push(rcgen::DnType::CommonName, "root");
    let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
    let write = |file: &str, text: String| {
        let path = directory.join(format!("{name}-{file}"));
        std::fs::write(&path, text).expect("writable");
        path
    };
    Certificates {
        ca: write("ca.crt", ca_certificate.pem()),
        cert: write("leaf.crt", certificate.pem()),
        key: write("leaf.key", key.serialize_pem()),
    }
}
