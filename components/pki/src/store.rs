//! The PKI folder of a control plane.

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
        if let Some(there) = [&key_path, &path].into_iter().find(|path| path.exists()) {
            return Err(Error::Unfit { path: there.clone(), reason: "it is there already".into() });
        }
        let key = PrivateKey::generate_for(self.issuance.algorithm)?;
        let text = CertificateRequest::create(&spec.profile(subject), &key)?;
        files::create_private_dir(key_path.parent().unwrap_or(&self.folder))?;
        files::write_atomic(&key_path, key.to_pem().as_bytes(), SECRET_MODE)?;
        files::write_atomic(&path, text.as_bytes(), SECRET_MODE)?;
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
        Authority::load(&self.certificate_path(spec), &self.key_path(spec))
    }

    /// Makes one certificate unless a fitting one is there. A CA must stand before its leaves.
    ///
    /// A CA without a key is kept (external CA mode): then each of its leaves must be there already.
    pub fn ensure(&self, spec: &CertificateSpec, subject: &Subject, now: Timestamp) -> Result<Ensured> {
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

    fn write(&self, spec: &CertificateSpec, certificate: &Certificate, key: &PrivateKey) -> Result<()> {
        let key_path = self.key_path(spec);
        files::create_private_dir(key_path.parent().unwrap_or(&self.folder))?;
        files::write_atomic(&key_path, key.to_pem().as_bytes(), SECRET_MODE)?;
        self.write_certificate(spec, certificate)
    }

    fn write_certificate(&self, spec: &CertificateSpec, certificate: &Certificate) -> Result<()> {
        files::write_atomic(&self.certificate_path(spec), certificate.to_pem().as_bytes(), PUBLIC_MODE)
    }
}
