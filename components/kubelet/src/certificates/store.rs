//! Where certificates are kept, with kubeadm's names.

use std::path::{Path, PathBuf};

use kinit_pki::{Certificate, files};

use crate::error::{Error, Result};

/// What the names of nodes' users begin with.
const USER: &str = "system:node:";

/// A certificate and its key in one file, which a link points to.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    name: &'static str,
}

impl Store {
    /// What the kubelet shows to the API server.
    pub fn client(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), name: "kubelet-client" }
    }

    /// What it serves with.
    pub fn server(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), name: "kubelet-server" }
    }

    /// The link to the newest.
    pub fn current(&self) -> PathBuf {
        self.folder.join(format!("{}-current.pem", self.name))
    }

    /// The newest certificate.
    pub fn newest(&self) -> Option<Certificate> {
        let text = std::fs::read_to_string(self.current()).ok()?;
        Certificate::from_pem(&text, self.name).ok()
    }

    /// The newest certificate, if it is one that the cluster has signed: those are all of a node's user.
    pub fn signed(&self) -> Option<Certificate> {
        let certificate = self.newest()?;
        certificate.common_name.starts_with(USER).then_some(certificate)
    }

    /// Makes a certificate the newest. Readers see the old one or the new one, never half of one.
    pub fn put(&self, certificate: &str, key: &str) -> Result<()> {
        files::create_private_dir(&self.folder)?;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%d-%H-%M-%S").to_string();
        let name = format!("{}-{now}.pem", self.name);
        files::write_atomic(&self.folder.join(&name), format!("{certificate}{key}").as_bytes(), files::SECRET_MODE)?;
        let link = self.folder.join(format!(".{}-current.new", self.name));
        // One may be left of a kubelet that ended here.
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&name, &link).map_err(|error| Error::file(&link, error))?;
        std::fs::rename(&link, self.current()).map_err(|error| Error::file(&link, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinit_pki::{Authority, Profile};
    use std::time::Duration;

    #[test]
    fn the_newest_is_found_by_its_link() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::client(folder.path());
        assert!(store.signed().is_none());
        let now = jiff::Timestamp::now();
        let authority = Authority::create("ca", now).unwrap();
        let profile = Profile::client("system:node:a", &[]);
        let (certificate, key) = authority.issue(&profile, now, Duration::from_secs(60)).unwrap();
        store.put(&certificate.to_pem(), &key.to_pem()).unwrap();
        assert_eq!(store.signed().unwrap().common_name, "system:node:a");
        store.put(&authority.certificate().to_pem(), &key.to_pem()).unwrap();
        assert!(store.signed().is_none());
        assert!(store.current().ends_with("kubelet-client-current.pem"));
    }
}
