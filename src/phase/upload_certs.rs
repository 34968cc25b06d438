//! Phase `upload-certs`: the control plane's shared keys, kept in the cluster for a while so that others can join as
//! control planes. They are encrypted by AES-256-GCM with the certificate key, nonce first, in the form that kubeadm has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::FutureExt;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::{Map, json};

use super::init::InitContext;
use super::security::ENCRYPTION;
use super::upload_config::ensure_all;
use super::{Outcome, Phase, Result, certs};
use crate::api::{self, Api, Verb};
use crate::config::Settings;
use crate::config::settings::TokenSettings;
use crate::config::v1beta4::BootstrapToken;
use crate::templates;
use crate::token::Token;

/// The Secret.
pub const SECRET: &str = "/api/v1/namespaces/kube-system/secrets/kubeadm-certs";
/// How long it stays: as long as the token that owns it.
const LIFE: Duration = Duration::from_secs(2 * 3600);

/// The phase.
pub const PHASE: Phase<InitContext> =
    Phase::leaf("upload-certs", "keeps the control plane's certificates in the cluster, encrypted", |context| {
        async move { run(context).await }.boxed()
    });

async fn run(context: &InitContext) -> Result {
    let settings = &context.settings;
    let Some(key) = settings.certificate_key.as_ref().filter(|_| settings.upload_certs) else {
        return Ok(Outcome::Skipped("without --upload-certs".into()));
    };
    upload(context.api.as_ref(), &settings.cluster, certs::store(context)?.folder(), key, context.now).await?;
    context.reporter.info(&format!("[upload-certs] the certificate key is {key}"));
    Ok(Outcome::Changed)
}

/// The shared files: the name of each in the Secret, and its path with `folder` as the PKI folder.
pub fn shared(settings: &Settings, folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let names = ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.pub", "sa.key", ENCRYPTION];
    let mut all: Vec<(&str, PathBuf)> = names.into_iter().map(|name| (name, folder.join(name))).collect();
    match &settings.external_etcd {
        None => all.extend([("etcd-ca.crt", folder.join("etcd/ca.crt")), ("etcd-ca.key", folder.join("etcd/ca.key"))]),
        Some(external) => all.extend([
            ("external-etcd-ca.crt", PathBuf::from(&external.ca_file)),
            ("external-etcd.crt", PathBuf::from(&external.cert_file)),
            ("external-etcd.key", PathBuf::from(&external.key_file)),
        ]),
    }
    all
}

/// Keeps the shared files of `folder` in the cluster.
pub async fn upload(
    api: &dyn Api,
    settings: &Settings,
    folder: &Path,
    key: &str,
    now: jiff::Timestamp,
) -> anyhow::Result<()> {
    let mut data = Map::new();
    for (name, path) in shared(settings, folder) {
        // In external CA mode there is no key; the Secret says so by an empty entry. What only kinit knows is left out.
        if name == ENCRYPTION && !path.exists() {
            continue;
        }
        let text = match std::fs::read(&path) {
            Ok(contents) => BASE64.encode(seal(key, &contents)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => anyhow::bail!("{}: {error}", path.display()),
        };
        data.insert(name.to_owned(), json!(text));
    }
    let owner = TokenSettings {
        ttl: Some(LIFE),
        usages: Vec::new(),
        groups: Vec::new(),
        description: "Proxy for managing TTL for the kubeadm-certs secret".into(),
        ..TokenSettings::resolve(&BootstrapToken::default())?
    };
    let object = Token::secret_object(&owner, now);
    let path = api::object_path(&object)?.1;
    api::ensure(api, &object).await?;
    let uid = api::get(api, &path).await?.and_then(|found| found.pointer("/metadata/uid").cloned());
    let mut secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kubeadm-certs", "namespace": "kube-system"},
        "data": data,
    });
    if let Some(uid) = uid {
        secret["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1",
            "kind": "Secret",
            "name": object["metadata"]["name"],
            "uid": uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
    }
    api::ensure(api, &secret).await?;
    ensure_all(api, &templates::objects(templates::UPLOAD_CERTS, json!({}))?).await?;
    Ok(())
}

/// Reads the shared files back: the name of each and what it holds; those that were not there are left out.
pub async fn download(api: &dyn Api, key: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let secret = match api.call(Verb::Get, SECRET, None).await {
        // Who may join may read this Secret alone, and where it is not the rule for it is not there either.
        Err(error) if matches!(error.code(), Some(403 | 404)) => anyhow::bail!(
            "the cluster keeps no certificates to join with: they were never uploaded, or more than two hours ago\n\
             hint: run `kinit init phase upload-certs --upload-certs` on a control plane\ncode: SharedCertificates"
        ),
        other => other?,
    };
    let mut all = Vec::new();
    for (name, value) in secret["data"].as_object().into_iter().flatten() {
        let sealed = BASE64.decode(value.as_str().unwrap_or_default())?;
        if !sealed.is_empty() {
            all.push((name.clone(), open(key, &sealed)?));
        }
    }
    Ok(all)
}

fn cipher(key: &str) -> anyhow::Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, &hex::decode(key)?);
    Ok(LessSafeKey::new(
        key.map_err(|_| anyhow::anyhow!("the certificate key has not 32 bytes\ncode: CertificateKey"))?,
    ))
}

fn seal(key: &str, text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut out = text.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut out)
        .map_err(|_| anyhow::anyhow!("a file is too large to be encrypted"))?;
    Ok([&nonce[..], &out].concat())
}

fn open(key: &str, sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
    let wrong = || {
        anyhow::anyhow!(
            "the certificate key does not fit the certificates that the cluster keeps\n\
             hint: `kinit init phase upload-certs --upload-certs` on a control plane keeps them under a new one\ncode: CertificateKey"
        )
    };
    let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
    let mut rest = rest.to_vec();
    let text = cipher(key)?.open_in_place(nonce, Aad::empty(), &mut rest).map_err(|_| wrong())?;
    Ok(text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::MemoryApi;

    #[test]
    fn only_the_right_key_opens() {
        let (key, other) = ("01".repeat(32), "02".repeat(32));
        let sealed = seal(&key, b"secret").unwrap();
        assert_eq!(open(&key, &sealed).unwrap(), b"secret");
        for (key, sealed) in [(&other, &sealed[..]), (&key, &sealed[..20]), (&key, b"")] {
            assert!(open(key, sealed).unwrap_err().to_string().contains("does not fit"));
        }
    }

    /// A published vector of AES-256-GCM: all zero, nonce first, tag last.
    #[test]
    fn the_form_is_the_standard_one() {
        let sealed = "000000000000000000000000cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
        assert_eq!(open(&"00".repeat(32), &hex::decode(sealed).unwrap()).unwrap(), [0; 16]);
    }

    #[tokio::test]
    async fn what_is_uploaded_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::resolve(Default::default(), None, None).unwrap();
        std::fs::create_dir(folder.path().join("etcd")).unwrap();
        for (name, path) in shared(&settings, folder.path()).into_iter().filter(|(name, _)| *name != "ca.key") {
            std::fs::write(path, name).unwrap();
        }
        let (api, key) = (MemoryApi::default(), "ab".repeat(32));
        upload(&api, &settings, folder.path(), &key, jiff::Timestamp::now()).await.unwrap();
        let back = download(&api, &key).await.unwrap();
        assert_eq!(back.len(), 8);
        for (name, contents) in back {
            assert_eq!(contents, name.as_bytes());
        }
        let kept = api.object(SECRET).unwrap();
        assert_eq!(kept["data"]["ca.key"], "");
        assert!(!kept.to_string().contains(&BASE64.encode("sa.key")));
        assert!(api.paths().iter().any(|path| path.ends_with("roles/kubeadm:kubeadm-certs")));
    }
}
