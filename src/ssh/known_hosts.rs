//! Whether a host's key is believed.

use std::path::{Path, PathBuf};

use russh::keys::known_hosts::{known_host_keys_path, learn_known_hosts_path};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::{Error, Target};

/// What to do with a host that was never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Ask whoever sits at the terminal.
    Ask,
    /// Believe and remember it.
    Accept,
    /// Refuse it.
    Refuse,
}

/// The files with the keys that are known.
#[derive(Debug, Clone)]
pub struct KnownHosts {
    /// The user's file, where new keys are added.
    own: PathBuf,
    /// The files that are read.
    files: Vec<PathBuf>,
}

/// What the files say of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is the one they have.
    Known,
    /// They have no key of that host.
    Unknown,
    /// They have another one, in this file.
    Changed(PathBuf),
}

impl KnownHosts {
    /// The user's and the host's usual files.
    pub fn of_user() -> Self {
        let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/root"));
        Self::new(home.join(".ssh/known_hosts"), &[Path::new("/etc/ssh/ssh_known_hosts")])
    }

    /// New keys go to `own`; `others` are only read.
    pub fn new(own: PathBuf, others: &[&Path]) -> Self {
        let files = [own.clone()].into_iter().chain(others.iter().map(|path| path.to_path_buf())).collect();
        Self { own, files }
    }

    /// Judges a key. A host that has any key in the files and shows none of them has changed: another algorithm is no
    /// excuse, as one in between could choose it.
    pub fn judge(&self, target: &Target, key: &PublicKey) -> Result<Verdict, Error> {
        let mut other = None;
        for file in &self.files {
            for known in self.keys_in(file, target)? {
                if known.key_data() == key.key_data() {
                    return Ok(Verdict::Known);
                }
                other = Some(file.clone());
            }
        }
        Ok(other.map_or(Verdict::Unknown, Verdict::Changed))
    }

    /// The algorithms that keys of the host are known in, so that it is asked for one of these.
    pub fn algorithms(&self, target: &Target) -> Vec<Algorithm> {
        let known = self.files.iter().flat_map(|file| self.keys_in(file, target).unwrap_or_default());
        let mut all: Vec<Algorithm> = Vec::new();
        for algorithm in known.map(|key| key.algorithm()) {
            let names = match algorithm {
                Algorithm::Rsa { .. } => {
                    vec![Algorithm::Rsa { hash: Some(HashAlg::Sha512) }, Algorithm::Rsa { hash: Some(HashAlg::Sha256) }]
                }
                other => vec![other],
            };
            for name in names {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        all
    }

    /// Remembers a key.
    pub fn learn(&self, target: &Target, key: &PublicKey) -> Result<(), Error> {
        learn_known_hosts_path(&target.host, target.port, key, &self.own)
            .map_err(|error| Error::KnownHosts(format!("{}: {error}", self.own.display())))
    }

    fn keys_in(&self, file: &Path, target: &Target) -> Result<Vec<PublicKey>, Error> {
        if !file.exists() {
            return Ok(Vec::new());
        }
        let keys = known_host_keys_path(&target.host, target.port, file)
            .map_err(|error| Error::KnownHosts(format!("{}: {error}", file.display())))?;
        Ok(keys.into_iter().map(|(_, key)| key).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::parse_public_key_base64;

    const ONE: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const ECDSA: &str = "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBG0jb8HRQFdQYn7uydAiclaFs38NYgDgNgRJFsFSmRjsEOgVGKgCJbNhGVRGqEXo8fvCsgL3ZJVgo6bVdGGFOpM=";

    #[test]
    fn known_unknown_and_changed_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(folder.path().join("known_hosts"), &[]);
        let target: Target = "root@w1".parse().unwrap();
        let other: Target = "root@w2".parse().unwrap();
        let key = parse_public_key_base64(ONE).unwrap();
        let changed = parse_public_key_base64(TWO).unwrap();
        assert_eq!(hosts.judge(&target, &key).unwrap(), Verdict::Unknown);
        hosts.learn(&target, &key).unwrap();
        assert_eq!(hosts.judge(&target, &key).unwrap(), Verdict::Known);
        assert_eq!(hosts.judge(&other, &key).unwrap(), Verdict::Unknown);
        assert!(matches!(hosts.judge(&target, &changed).unwrap(), Verdict::Changed(_)));
        assert_eq!(hosts.algorithms(&target), [Algorithm::Ed25519]);
        if let Ok(key) = parse_public_key_base64(ECDSA) {
            assert!(matches!(hosts.judge(&target, &key).unwrap(), Verdict::Changed(_)));
        }
    }
}
