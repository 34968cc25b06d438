//! The server's own certificate, by upstream's flags: files that are given, files that are made once and kept, or one in memory.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::{Identity, NamedPair, TlsError};
use crate::listener::Limits;

/// `--tls-cert-file`, `--tls-private-key-file`, `--tls-sni-cert-key` and `--http2-max-streams-per-connection`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServingFlags {
    /// The serving certificate, with those of its CAs after it; one is made and kept in --cert-dir where it is not given
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// The serving certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// A certificate and its key for clients that ask for these names, or for those that it has; may be given several times
    #[arg(long, value_name = "CERT,KEY[:NAMES]")]
    pub tls_sni_cert_key: Vec<NamedPair>,
    /// How many streams a connection of HTTP/2 may have open; 0 for what is usual
    #[arg(long, default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
}

/// Whom a certificate is for that is made.
#[derive(Clone, Debug)]
pub struct Holder<'a> {
    /// What its files are called, without `.crt` and `.key`.
    pub pair: &'a str,
    /// The first name or address.
    pub host: &'a str,
    /// More names.
    pub names: &'a [&'a str],
    /// More addresses.
    pub addresses: &'a [IpAddr],
    /// Where the server listens: one more address, or the name localhost where it listens everywhere.
    pub bind: IpAddr,
}

impl ServingFlags {
    /// What is served. Without files of its own the pair of `folder` is, which is made for `holder` where it is not there, or one that
    /// is in memory where `folder` is empty. Half a pair and a folder that cannot be written are errors, as upstream has it.
    pub fn identity(&self, folder: &str, holder: &Holder<'_>, now: Timestamp) -> Result<Identity, TlsError> {
        if let (Some(cert), Some(key)) = (&self.tls_cert_file, &self.tls_private_key_file) {
            return Ok(Identity::Files { cert: cert.clone(), key: key.clone() });
        }
        if folder.is_empty() {
            let (chain, key) = holder.make(now)?;
            return Ok(Identity::Made { chain, key });
        }
        let cert = Path::new(folder).join(format!("{}.crt", holder.pair));
        let key = Path::new(folder).join(format!("{}.key", holder.pair));
        keep(&cert, &key, || holder.make(now))?;
        Ok(Identity::Files { cert, key })
    }
}

impl ServingFlags {
    /// The listener's bounds.
    pub fn limits(&self) -> Limits {
        let usual = Limits::default();
        match self.http2_max_streams_per_connection {
            0 => usual,
            http2_streams => Limits { http2_streams, ..usual },
        }
    }
}

impl Holder<'_> {
    fn make(&self, now: Timestamp) -> Result<(String, String), TlsError> {
        let mut names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut addresses = self.addresses.to_vec();
        if self.bind.is_unspecified() {
            names.push("localhost".to_owned());
        } else {
            addresses.push(self.bind);
        }
        Ok(kinit_pki::self_signed(self.host, &names, &addresses, now)?)
    }
}

/// Makes the pair, in PEM, and writes it unless it can be read. Only who runs the server may read the key.
pub fn keep(
    cert: &Path,
    key: &Path,
    make: impl FnOnce() -> Result<(String, String), TlsError>,
) -> Result<(), TlsError> {
    let reads = |path: &Path| std::fs::File::open(path).is_ok();
    match (reads(cert), reads(key)) {
        (true, true) => return Ok(()),
        (false, false) => {}
        (there, _) => return Err(TlsError::Half { path: if there { key } else { cert }.to_owned() }),
    }
    let (chain, secret) = make()?;
    for (path, text, mode) in
        [(cert, &chain, kinit_pki::files::PUBLIC_MODE), (key, &secret, kinit_pki::files::SECRET_MODE)]
    {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .map_err(|error| TlsError::SelfSigned(format!("mkdir {}: {error}", folder.display())))?;
        kinit_pki::files::write_atomic(path, text.as_bytes(), mode)?;
    }
    tracing::info!(cert = %cert.display(), key = %key.display(), "made a self-signed certificate");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::{ClientAuth, Tls, TlsOptions, read_certificates};

    const SERVICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn holder(bind: &str) -> Holder<'_> {
        Holder {
            pair: "apiserver",
            host: "192.0.2.2",
            names: &["kubernetes.default.svc"],
            addresses: &[SERVICE],
            bind: bind.parse().unwrap(),
        }
    }

    fn names(path: &Path) -> (Vec<String>, Vec<String>) {
        let leaf = kinit_pki::Certificate::load(path).unwrap();
        (leaf.dns_names, leaf.ips.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_pair_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("new/dir");
        let flags = ServingFlags::default();
        let identity = || flags.identity(at.to_str().unwrap(), &holder("0.0.0.0"), Timestamp::now());
        let Ok(Identity::Files { cert, key }) = identity() else { panic!("files are served") };
        assert_eq!((cert.clone(), key.clone()), (at.join("apiserver.crt"), at.join("apiserver.key")));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&cert), mode(&key)), (0o644, 0o600));
        assert_eq!(read_certificates(&cert).unwrap().len(), 2, "the CA is in the chain");
        let (dns, ips) = names(&cert);
        assert_eq!(dns, ["kubernetes.default.svc", "localhost"]);
        assert_eq!(ips, ["192.0.2.2", "10.0.0.1"]);
        Tls::new(TlsOptions::http(identity().unwrap(), ClientAuth::None)).unwrap();
        let first = std::fs::read(&cert).unwrap();
        identity().unwrap();
        assert_eq!(std::fs::read(&cert).unwrap(), first, "what is there is served again");
        std::fs::remove_file(&key).unwrap();
        let error = identity().unwrap_err().to_string();
        assert_eq!(error, format!("error reading {}, certificate and key must be supplied as a pair", key.display()));
    }

    #[test]
    fn where_it_listens_is_one_of_its_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        ServingFlags::default().identity(at, &holder("127.0.0.1"), Timestamp::now()).unwrap();
        let (dns, ips) = names(&folder.path().join("apiserver.crt"));
        assert_eq!((dns.len(), ips), (1, vec!["192.0.2.2".to_owned(), "10.0.0.1".to_owned(), "127.0.0.1".to_owned()]));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let at = file.join("under");
        let error = ServingFlags::default().identity(at.to_str().unwrap(), &holder("::"), Timestamp::now());
        assert!(error.is_err_and(|error| error.to_string().contains("file/under")));
    }

    #[test]
    fn without_a_folder_it_is_in_memory() {
        let identity = ServingFlags::default().identity("", &holder("::"), Timestamp::now()).unwrap();
        assert!(matches!(identity, Identity::Made { .. }));
        Tls::new(TlsOptions::http(identity, ClientAuth::None)).unwrap();
    }
}
