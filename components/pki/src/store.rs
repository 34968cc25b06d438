//! The PKI folder of a control plane.
//!
//! A key and its certificate are two files, and whoever writes them may be stopped between the two. So a new key waits under a name
//! of its own until its certificate stands, and whoever comes next ends what was begun.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::authority::Authority;
use crate::authority::CertificateRequest;
use crate::certificate::{CA_VALIDITY, Certificate, LEAF_VALIDITY, Profile};
use crate::error::{Error, Result};
use crate::files::{self, PUBLIC_MODE, SECRET_MODE};
use crate::key::{Algorithm, PrivateKey};
use crate::layout::{CertificateSpec, SERVICE_ACCOUNT_KEY, Subject};

/// What ensuring a certificate did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was made and written.
    Created,
    /// It was there and fits.
    Kept,
}

/// What new keys are and how long new certificates live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issuance {
    /// What keys are.
    pub algorithm: Algorithm,
    /// Life of leaves.
    pub leaf_validity: Duration,
    /// Life of CAs.
    pub ca_validity: Duration,
}

impl Default for Issuance {
    fn default() -> Self {
        Self { algorithm: Algorithm::default(), leaf_validity: LEAF_VALIDITY, ca_validity: CA_VALIDITY }
    }
}

/// A PKI folder, by default `/etc/kubernetes/pki`.
#[derive(Debug, Clone)]
pub struct PkiStore {
    folder: PathBuf,
    issuance: Issuance,
}

impl PkiStore {
    /// The store at `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), issuance: Issuance::default() }
    }

    /// The same store, making what is new by `issuance`.
    pub fn with(self, issuance: Issuance) -> Self {
        Self { issuance, ..self }
    }

    /// How the store makes what is new.
    pub fn issuance(&self) -> Issuance {
        self.issuance
    }

    /// Issues a leaf for a new key.
    pub fn issue(&self, authority: &Authority, profile: &Profile, now: Timestamp) -> Result<(Certificate, PrivateKey)> {
        let key = PrivateKey::generate_for(self.issuance.algorithm)?;
        let certificate = authority.renew(profile, &key, now, self.issuance.leaf_validity)?;
        Ok((certificate, key))
    }

    /// Writes a new key and a request for others to sign, `NAME.key` and `NAME.csr`; refuses to replace a key.
    pub fn request(&self, spec: &CertificateSpec, subject: &Subject) -> Result<PathBuf> {
        let key_path = self.key_path(spec);
        let path = self.folder.join(format!("{}.csr", spec.base_name));
        let waiting = waiting(&key_path);
        files::create_private_dir(key_path.parent().unwrap_or(&self.folder))?;
        let _lock = files::lock(&self.folder)?;
        if path.exists() && !key_path.exists() && waiting.exists() {
            files::rename(&waiting, &key_path)?;
            return Ok(path);
        }
        if let Some(there) = [&key_path, &path].into_iter().find(|path| path.exists()) {
            return Err(Error::Unfit { path: there.clone(), reason: "it is there already".into() });
        }
        let key = PrivateKey::generate_for(self.issuance.algorithm)?;
        let text = CertificateRequest::create(&spec.profile(subject), &key)?;
        files::write_atomic(&waiting, key.to_pem().as_bytes(), SECRET_MODE)?;
        files::write_atomic(&path, text.as_bytes(), SECRET_MODE)?;
        files::rename(&waiting, &key_path)?;
        Ok(path)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Path of a certificate.
    pub fn certificate_path(&self, spec: &CertificateSpec) -> PathBuf {
        self.folder.join(format!("{}.crt", spec.base_name))
    }

    /// Path of a key.
    pub fn key_path(&self, spec: &CertificateSpec) -> PathBuf {
        self.folder.join(format!("{}.key", spec.base_name))
    }

    /// Reads a certificate; `None` when the file is not there.
    pub fn certificate(&self, spec: &CertificateSpec) -> Result<Option<Certificate>> {
        let path = self.certificate_path(spec);
        if path.exists() { Certificate::load(&path).map(Some) } else { Ok(None) }
    }

    /// Reads a CA with its key.
    pub fn authority(&self, spec: &CertificateSpec) -> Result<Authority> {
        self.finish(spec)?;
        Authority::load(&self.certificate_path(spec), &self.key_path(spec))
    }

    /// Makes one certificate unless a fitting one is there. A CA must stand before its leaves.
    ///
    /// A CA without a key is kept (external CA mode): then each of its leaves must be there already.
    pub fn ensure(&self, spec: &CertificateSpec, subject: &Subject, now: Timestamp) -> Result<Ensured> {
        self.finish(spec)?;
        match self.certificate(spec)? {
            Some(found) => self.check(spec, &found, subject, now).map(|()| Ensured::Kept),
            None => self.create(spec, subject, now).map(|()| Ensured::Created),
        }
    }

    /// Issues a leaf anew with a new key, whatever is there, keeping what the present one says.
    pub fn renew(&self, spec: &CertificateSpec, now: Timestamp) -> Result<Certificate> {
        self.renew_as(spec, now, |_| {})
    }

    /// As [`PkiStore::renew`], with what `change` does to what the present one says.
    pub fn renew_as(
        &self,
        spec: &CertificateSpec,
        now: Timestamp,
        change: impl FnOnce(&mut Profile),
    ) -> Result<Certificate> {
        let path = self.certificate_path(spec);
        let present = Certificate::load(&path)?;
        let authority = self.authority(self.signer(spec)?)?;
        let mut profile = Profile {
            common_name: present.common_name,
            organizations: present.organizations,
            dns_names: present.dns_names,
            ips: present.ips,
            usages: present.usages,
        };
        change(&mut profile);
        let (certificate, key) = self.issue(&authority, &profile, now)?;
        self.write(spec, &certificate, &key)?;
        Ok(certificate)
    }

    /// Makes `sa.key` and `sa.pub` unless they are there; a lone `sa.key` gets its `sa.pub`.
    pub fn ensure_service_account_key(&self) -> Result<Ensured> {
        let private = self.folder.join(format!("{SERVICE_ACCOUNT_KEY}.key"));
        let public = self.folder.join(format!("{SERVICE_ACCOUNT_KEY}.pub"));
        match (private.exists(), public.exists()) {
            (true, true) => {
                PrivateKey::load(&private)?;
                Ok(Ensured::Kept)
            }
            (true, false) => {
                let key = PrivateKey::load(&private)?;
                files::write_atomic(&public, key.public_pem().as_bytes(), PUBLIC_MODE)?;
                Ok(Ensured::Created)
            }
            (false, _) => {
                files::create_private_dir(&self.folder)?;
                let key = PrivateKey::generate_for(self.issuance.algorithm)?;
                files::write_atomic(&private, key.to_pem().as_bytes(), SECRET_MODE)?;
                files::write_atomic(&public, key.public_pem().as_bytes(), PUBLIC_MODE)?;
                Ok(Ensured::Created)
            }
        }
    }

    fn signer(&self, spec: &CertificateSpec) -> Result<&'static CertificateSpec> {
        spec.authority
            .and_then(CertificateSpec::find)
            .ok_or_else(|| Error::certificate(spec.name, "it is a CA, which nothing signs"))
    }

    fn create(&self, spec: &CertificateSpec, subject: &Subject, now: Timestamp) -> Result<()> {
        let key_path = self.key_path(spec);
        let profile = spec.profile(subject);
        if spec.is_authority() {
            if key_path.exists() {
                return Err(Error::Unfit {
                    path: key_path,
                    reason: "the key of the CA is there, but its certificate is not".into(),
                });
            }
            let key = PrivateKey::generate_for(self.issuance.algorithm)?;
            let authority = Authority::create_with(&profile.common_name, key, now, self.issuance.ca_validity)?;
            return self.write(spec, authority.certificate(), authority.key());
        }
        let signer = self.signer(spec)?;
        let signer_key = self.key_path(signer);
        if !signer_key.exists() {
            return Err(Error::Unfit {
                path: self.certificate_path(spec),
                reason: format!("it is missing and cannot be made, as {} is not there either", signer_key.display()),
            });
        }
        let authority = self.authority(signer)?;
        // A key that stands there without its certificate was put there for use: the certificate is made for it.
        if key_path.exists() {
            let key = PrivateKey::load(&key_path)?;
            let certificate = authority.renew(&profile, &key, now, self.issuance.leaf_validity)?;
            return self.write_certificate(spec, &certificate);
        }
        let (certificate, key) = self.issue(&authority, &profile, now)?;
        self.write(spec, &certificate, &key)
    }

    fn check(&self, spec: &CertificateSpec, found: &Certificate, subject: &Subject, now: Timestamp) -> Result<()> {
        let path = self.certificate_path(spec);
        let unfit = |reason: String| Err(Error::Unfit { path: path.clone(), reason });
        if found.not_before > now {
            return unfit(format!("it is not valid before {}", found.not_before));
        }
        if found.not_after <= now {
            return unfit(format!("it ended on {}", found.not_after));
        }
        let key_path = self.key_path(spec);
        if spec.is_authority() {
            if !found.is_ca {
                return unfit("it is not the certificate of a CA".into());
            }
            if key_path.exists() {
                Authority::new(found.clone(), PrivateKey::load(&key_path)?, &path.display().to_string())?;
            }
            return Ok(());
        }
        if let Some(authority) = self.certificate(self.signer(spec)?)?
            && !found.is_signed_by(&authority)
        {
            return unfit(format!(
                "it is not signed by the CA in {}",
                self.certificate_path(self.signer(spec)?).display()
            ));
        }
        if found.public_key_der() != PrivateKey::load(&key_path)?.public_der() {
            return unfit(format!("it does not belong to the key {}", key_path.display()));
        }
        let wanted = spec.profile(subject);
        let missing: Vec<String> = wanted
            .dns_names
            .iter()
            .filter(|name| !found.dns_names.contains(name))
            .cloned()
            .chain(wanted.ips.iter().filter(|ip| !found.ips.contains(ip)).map(ToString::to_string))
            .collect();
        if !missing.is_empty() {
            return unfit(format!("it is not valid for {}", missing.join(", ")));
        }
        Ok(())
    }

    /// Puts a pair in place: the certificate decides, and [`PkiStore::finish`] does what is left from any moment on.
    fn write(&self, spec: &CertificateSpec, certificate: &Certificate, key: &PrivateKey) -> Result<()> {
        let key_path = self.key_path(spec);
        let waiting = waiting(&key_path);
        files::create_private_dir(key_path.parent().unwrap_or(&self.folder))?;
        let _lock = files::lock(&self.folder)?;
        files::write_atomic(&waiting, key.to_pem().as_bytes(), SECRET_MODE)?;
        self.write_certificate(spec, certificate)?;
        files::rename(&waiting, &key_path)
    }

    /// Ends what was stopped while it wrote a pair: a key whose certificate stands takes its place, another one goes.
    pub fn finish(&self, spec: &CertificateSpec) -> Result<()> {
        let key_path = self.key_path(spec);
        let waiting = waiting(&key_path);
        if !waiting.exists() {
            return Ok(());
        }
        // It may be there because it is being written just now.
        let _lock = files::lock(&self.folder)?;
        if !waiting.exists() {
            return Ok(());
        }
        let key = PrivateKey::load(&waiting)?;
        match self.certificate(spec)? {
            Some(found) if found.public_key_der() == key.public_der() => files::rename(&waiting, &key_path),
            _ => std::fs::remove_file(&waiting).map_err(|error| Error::io(&waiting, error)),
        }
    }

    fn write_certificate(&self, spec: &CertificateSpec, certificate: &Certificate) -> Result<()> {
        files::write_atomic(&self.certificate_path(spec), certificate.to_pem().as_bytes(), PUBLIC_MODE)
    }
}

/// Where a key stands until its certificate does.
fn waiting(key: &Path) -> PathBuf {
    let name = key.file_name().unwrap_or_default().to_string_lossy();
    key.with_file_name(format!(".{name}.new"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CA: &str = "etcd-ca";
    const LEAF: &str = "etcd-server";

    fn spec(name: &str) -> &'static CertificateSpec {
        CertificateSpec::find(name).unwrap()
    }

    fn subject() -> Subject {
        let address = "10.0.0.1".parse().unwrap();
        Subject {
            node_name: "cp1".into(),
            advertise_address: address,
            service_address: address,
            dns_domain: "cluster.local".into(),
            endpoint_host: None,
            api_server_names: Vec::new(),
            etcd_server_names: Vec::new(),
            etcd_peer_names: Vec::new(),
        }
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    /// A folder with a CA and a leaf.
    fn made() -> (tempfile::TempDir, PkiStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = PkiStore::new(folder.path());
        for name in [CA, LEAF] {
            assert_eq!(store.ensure(spec(name), &subject(), now()).unwrap(), Ensured::Created);
        }
        (folder, store)
    }

    /// Takes the pair of `spec` back to where a stop after one of the three steps of writing it left it.
    fn stop_after(store: &PkiStore, spec: &CertificateSpec, steps: u8, before: Option<(&[u8], &[u8])>) {
        let (key, certificate) = (store.key_path(spec), store.certificate_path(spec));
        if steps < 3 {
            fs::rename(&key, waiting(&key)).unwrap();
            if let Some((key_before, _)) = before {
                fs::write(&key, key_before).unwrap();
            }
        }
        if steps < 2 {
            match before {
                Some((_, text)) => fs::write(&certificate, text).unwrap(),
                None => fs::remove_file(&certificate).unwrap(),
            }
        }
    }

    #[test]
    fn whoever_makes_a_pair_may_be_stopped_at_any_step() {
        for name in [CA, LEAF] {
            for (steps, wanted) in [(1, Ensured::Created), (2, Ensured::Kept), (3, Ensured::Kept)] {
                let (_folder, store) = made();
                stop_after(&store, spec(name), steps, None);
                assert_eq!(store.ensure(spec(name), &subject(), now()).unwrap(), wanted, "{name} after {steps}");
                assert_eq!(store.ensure(spec(name), &subject(), now()).unwrap(), Ensured::Kept);
                assert!(!waiting(&store.key_path(spec(name))).exists());
                let key = PrivateKey::load(&store.key_path(spec(name))).unwrap();
                let certificate = store.certificate(spec(name)).unwrap().unwrap();
                assert_eq!(certificate.public_key_der(), key.public_der());
            }
        }
    }

    #[test]
    fn whoever_renews_a_leaf_may_be_stopped_at_any_step() {
        for steps in [1, 2, 3] {
            let (_folder, store) = made();
            let leaf = spec(LEAF);
            let read = || (fs::read(store.key_path(leaf)).unwrap(), fs::read(store.certificate_path(leaf)).unwrap());
            let before = read();
            store.renew(leaf, now()).unwrap();
            let after = read();
            stop_after(&store, leaf, steps, Some((&before.0, &before.1)));
            assert_eq!(store.ensure(leaf, &subject(), now()).unwrap(), Ensured::Kept);
            assert_eq!(read() == before, steps == 1, "after {steps}");
            assert_eq!(read() == after, steps > 1, "after {steps}");
        }
    }

    #[test]
    fn a_ca_that_was_stopped_signs_at_once() {
        let (_folder, store) = made();
        stop_after(&store, spec(CA), 2, None);
        store.renew(spec(LEAF), now()).unwrap();
        assert!(store.key_path(spec(CA)).exists());
    }

    #[test]
    fn a_key_of_ones_own_without_a_certificate_is_never_taken_away() {
        let (_folder, store) = made();
        fs::remove_file(store.certificate_path(spec(CA))).unwrap();
        assert!(store.ensure(spec(CA), &subject(), now()).is_err());
        assert!(store.key_path(spec(CA)).exists());
    }

    #[test]
    fn a_request_may_be_stopped_at_any_step() {
        for steps in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let store = PkiStore::new(folder.path());
            let path = store.request(spec(LEAF), &subject()).unwrap();
            let key = store.key_path(spec(LEAF));
            fs::rename(&key, waiting(&key)).unwrap();
            if steps == 1 {
                fs::remove_file(&path).unwrap();
            }
            assert_eq!(store.request(spec(LEAF), &subject()).unwrap(), path);
            let key = PrivateKey::load(&key).unwrap();
            let request = CertificateRequest::from_pem(&fs::read_to_string(&path).unwrap(), "it").unwrap();
            let authority = Authority::create("it", now()).unwrap();
            let certificate = authority.sign(&request, &[], now(), LEAF_VALIDITY).unwrap();
            assert_eq!(certificate.public_key_der(), key.public_der());
            assert!(store.request(spec(LEAF), &subject()).is_err(), "what is there is not replaced");
        }
    }
}
