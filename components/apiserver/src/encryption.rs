//! Encryption at rest: what is between an object and its bytes in etcd.
//!
//! A file says which resources are kept under which providers ([`config`]). The first provider of a resource writes, all of
//! them read, so keys are changed by putting a new one first and writing every object again. The forms are upstream's, so
//! either API server reads what the other one wrote. Values are opened once, on their way into the cache, which is plain.

mod ciphers;
mod config;
mod kms;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use bytes::Bytes;
use config::{GroupResource, Provider, Rule};
use kinit_serving::health::{Health, Scope};
use kms::Kms;
use prometheus_client::registry::Registry as Families;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::registry;
use crate::reload::Figures;

/// What all values begin with that some provider has encrypted.
const ENCRYPTED: &[u8] = b"k8s:enc:";
const KMS: &str = "k8s:enc:kms:v2:";
/// How often the file is looked at where it is to be followed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// What a file says.
struct Set {
    rules: Vec<(Vec<GroupResource>, Vec<Way>)>,
    services: Vec<Arc<Kms>>,
    digest: [u8; 32],
}

/// A provider that is at work.
enum Way {
    Local(Provider),
    Service { prefix: String, kms: Arc<Kms> },
}

/// Seals and opens values as the file says.
pub struct Encryption {
    file: PathBuf,
    follows: bool,
    set: ArcSwap<Set>,
    figures: Figures,
}

impl Encryption {
    /// Reads the file; the error says what is wrong with it.
    pub fn new(file: PathBuf, follows: bool) -> anyhow::Result<Self> {
        let set = Set::load(&file).with_context(|| format!("--encryption-provider-config: {}", file.display()))?;
        Ok(Self { file, follows, set: ArcSwap::from_pointee(set), figures: Figures::default() })
    }

    /// The value as it is to be stored under `path`, the key in etcd, which `own` is without the registry's prefix.
    pub async fn seal(&self, path: &str, own: &str, value: Bytes) -> Result<Bytes, String> {
        let set = self.set.load_full();
        let Some(first) = set.ways(own).and_then(|ways| ways.first()) else { return Ok(value) };
        let (prefix, sealed) = match first {
            Way::Local(Provider::Keys { prefix, keys }) => {
                let (name, cipher) = keys.first().ok_or("the provider has no keys")?;
                (format!("{prefix}{name}"), cipher.seal(&value, path.as_bytes())?)
            }
            Way::Local(_) => return Ok(value),
            Way::Service { prefix, kms } => (prefix.clone(), kms.seal(&value, path.as_bytes()).await?),
        };
        Ok([prefix.into_bytes(), sealed].concat().into())
    }

    /// The value out of what is stored under `path`, and whether it would now be stored in another way.
    pub async fn open(&self, path: &str, own: &str, stored: Bytes) -> Result<(Bytes, bool), String> {
        let set = self.set.load_full();
        let Some(ways) = set.ways(own) else {
            return match stored.starts_with(ENCRYPTED) {
                true => Err("identity transformer tried to read encrypted data".into()),
                false => Ok((stored, false)),
            };
        };
        let mut errors = Vec::new();
        for (number, way) in ways.iter().enumerate() {
            match way.open(path.as_bytes(), &stored).await {
                Ok(Some((value, stale))) => return Ok((value, stale || number > 0)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        Err(if errors.is_empty() { "no matching prefix found".into() } else { errors.join(", ") })
    }

    /// Adds what there is to be told of key services.
    pub fn add_checks(self: &Arc<Self>, health: &Health) {
        if !self.follows && self.set.load().services.is_empty() {
            return;
        }
        let own = self.clone();
        health.add("kms-providers", Scope::Live, move || {
            let set = own.set.load();
            let ill = set.services.iter().enumerate();
            let ill: Vec<String> = ill
                .filter_map(|(number, kms)| kms.health().err().map(|why| format!("kms-provider-{number}: {why}")))
                .collect();
            if ill.is_empty() { Ok(()) } else { Err(ill.join(", ")) }
        });
    }

    pub fn register(&self, families: &mut Families) {
        self.figures.register("encryption", families);
    }

    /// Keeps in touch with key services and, if that is asked for, follows the file, until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            let set = self.set.load_full();
            let ended = CancellationToken::new();
            let tasks = set.services.iter().map(|kms| tokio::spawn(watch(kms.clone(), ended.clone())));
            let tasks: Vec<_> = tasks.collect();
            drop(set);
            let goes_on = tokio::select! {
                () = shutdown.cancelled() => false,
                () = self.changed() => true,
            };
            ended.cancel();
            for task in tasks {
                // A task that has panicked has said so.
                let _ = task.await;
            }
            if !goes_on {
                return;
            }
        }
    }

    /// Returns when the file's new state is in use.
    async fn changed(&self) {
        if !self.follows {
            return std::future::pending().await;
        }
        let mut refused = None;
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let Ok(text) = tokio::fs::read(&self.file).await else { continue };
            let digest: [u8; 32] = Sha256::digest(&text).into();
            if digest == self.set.load().digest || refused == Some(digest) {
                continue;
            }
            let loaded = self.reload().await;
            self.figures.count(loaded.is_ok());
            match loaded {
                Ok(()) => {
                    tracing::info!(file = %self.file.display(), "the encryption configuration has been reloaded");
                    return;
                }
                Err(why) => {
                    tracing::warn!(why, "the changed encryption configuration is not used");
                    // A service may come later, so only what is wrong with the file itself is final.
                    refused = Set::load(&self.file).is_err().then_some(digest);
                }
            }
        }
    }

    /// Takes the file's state if all of its services answer.
    async fn reload(&self) -> Result<(), String> {
        let set = Set::load(&self.file).map_err(|error| format!("{error:#}"))?;
        for kms in &set.services {
            kms.look().await;
            kms.health()?;
        }
        self.set.store(Arc::new(set));
        Ok(())
    }
}

async fn watch(kms: Arc<Kms>, ended: CancellationToken) {
    loop {
        let wait = kms.look().await;
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Set {
    fn load(file: &std::path::Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let digest = Sha256::digest(&text).into();
        Self::new(config::parse(&text).map_err(anyhow::Error::msg)?, digest).map_err(anyhow::Error::msg)
    }

    fn new(rules: Vec<Rule>, digest: [u8; 32]) -> Result<Self, String> {
        let mut set = Self { rules: Vec::new(), services: Vec::new(), digest };
        for Rule { resources, providers } in rules {
            let mut ways = Vec::new();
            for provider in providers {
                ways.push(match provider {
                    Provider::Kms(config) => {
                        let prefix = format!("{KMS}{}:", config.name);
                        let kms = Arc::new(Kms::new(config)?);
                        set.services.push(kms.clone());
                        Way::Service { prefix, kms }
                    }
                    local => Way::Local(local),
                });
            }
            set.rules.push((resources, ways));
        }
        Ok(set)
    }

    /// The providers of what is kept under a key without the registry's prefix; `None` where nothing is said of it.
    fn ways(&self, own: &str) -> Option<&[Way]> {
        let (group, resource) = match registry::of_key(own) {
            Some((at, _)) => (registry::RESOURCES[at].group(), registry::RESOURCES[at].resource()),
            None => {
                let mut parts = own.split('/');
                let (group, resource) = (parts.next()?, parts.next()?);
                // A group of definitions has a dot; what has none is a register of the server's own.
                group.contains('.').then_some((group, resource))?
            }
        };
        let covers = |resources: &[GroupResource]| resources.iter().filter_map(|one| one.covers(group, resource)).max();
        let covering = self.rules.iter().filter_map(|(resources, ways)| Some((covers(resources)?, ways)));
        // Of rules that say equally much the earlier one counts.
        covering.rev().max_by_key(|(score, _)| *score).map(|(_, ways)| ways.as_slice())
    }
}

impl Way {
    /// The value and whether it is stale; `None` if another provider has stored it.
    async fn open(&self, path: &[u8], stored: &Bytes) -> Result<Option<(Bytes, bool)>, String> {
        match self {
            Self::Local(Provider::Keys { prefix, keys }) => {
                let Some(rest) = stored.strip_prefix(prefix.as_bytes()) else { return Ok(None) };
                let mut errors = Vec::new();
                for (number, (name, cipher)) in keys.iter().enumerate() {
                    let Some(sealed) = rest.strip_prefix(name.as_bytes()) else { continue };
                    match cipher.open(sealed, path) {
                        Ok(value) => return Ok(Some((value.into(), number > 0))),
                        Err(error) => errors.push(error),
                    }
                }
                Err(if errors.is_empty() {
                    "no matching key was found for the provided transformer".into()
                } else {
                    errors.join(", ")
                })
            }
            Self::Local(_) => Ok((!stored.starts_with(ENCRYPTED)).then(|| (stored.clone(), false))),
            Self::Service { prefix, kms } => match stored.strip_prefix(prefix.as_bytes()) {
                Some(sealed) => kms.open(sealed, path).await.map(|(value, stale)| Some((value.into(), stale))),
                None => Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;

    fn encryption(rules: &[(&str, &str)]) -> Encryption {
        let entries: String = rules
            .iter()
            .map(|(resources, providers)| format!("- resources: [{resources}]\n  providers: [{providers}]\n"))
            .collect();
        let text =
            format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{entries}");
        let set = Set::new(config::parse(&text).unwrap(), [0; 32]).unwrap();
        let set = ArcSwap::from_pointee(set);
        Encryption { file: PathBuf::new(), follows: false, set, figures: Figures::default() }
    }

    fn keys(provider: &str, names: &[(&str, u8)]) -> String {
        let secret = |byte: u8| base64::engine::general_purpose::STANDARD.encode([byte; 32]);
        let keys = names.iter().map(|(name, byte)| format!("{{name: {name}, secret: {}}}", secret(*byte)));
        format!("{{{provider}: {{keys: [{}]}}}}", keys.collect::<Vec<_>>().join(", "))
    }

    const OWN: &str = "secrets/default/a";
    const PATH: &str = "/registry/secrets/default/a";

    #[tokio::test]
    async fn the_first_provider_writes_and_all_read() {
        let old = encryption(&[("secrets", &format!("{}, {{identity: {{}}}}", keys("aescbc", &[("k1", 1)])))]);
        let plain = Bytes::from_static(b"{}");
        assert_eq!(old.open(PATH, OWN, plain.clone()).await.unwrap(), (plain.clone(), true), "not encrypted yet");
        let sealed = old.seal(PATH, OWN, plain.clone()).await.unwrap();
        assert!(sealed.starts_with(b"k8s:enc:aescbc:v1:k1:"));
        assert_eq!(old.open(PATH, OWN, sealed.clone()).await.unwrap(), (plain.clone(), false));
        let turned = encryption(&[("secrets", &keys("aescbc", &[("k2", 2), ("k1", 1)]))]);
        assert_eq!(turned.open(PATH, OWN, sealed.clone()).await.unwrap(), (plain.clone(), true));
        assert_eq!(turned.open(PATH, OWN, plain.clone()).await.unwrap_err(), "no matching prefix found");
        let gone = encryption(&[("secrets", &keys("aescbc", &[("k2", 2)]))]);
        assert!(gone.open(PATH, OWN, sealed.clone()).await.unwrap_err().contains("no matching key"));
        let back = encryption(&[("secrets", &format!("{{identity: {{}}}}, {}", keys("aescbc", &[("k1", 1)])))]);
        assert_eq!(back.open(PATH, OWN, sealed.clone()).await.unwrap(), (plain.clone(), true));
        assert_eq!(back.seal(PATH, OWN, plain.clone()).await.unwrap(), plain);
        let other = "configmaps/default/a";
        assert!(back.open(PATH, other, sealed).await.unwrap_err().contains("tried to read encrypted data"));
        assert_eq!(old.seal(PATH, other, plain.clone()).await.unwrap(), plain);
    }

    #[tokio::test]
    async fn rules_cover_resources_by_how_much_they_say() {
        let key = |name: &str| keys("secretbox", &[(name, 3)]);
        let all = encryption(&[
            ("events", "{identity: {}}"),
            ("secrets", &key("exact")),
            ("'*.apps'", &key("group")),
            ("'*.*'", &key("all")),
        ]);
        let cases = [
            ("secrets/n/a", "k8s:enc:secretbox:v1:exact:"),
            ("deployments/n/a", "k8s:enc:secretbox:v1:group:"),
            ("configmaps/n/a", "k8s:enc:secretbox:v1:all:"),
            ("toys.example.org/bears/n/a", "k8s:enc:secretbox:v1:all:"),
            ("services/specs/n/a", "k8s:enc:secretbox:v1:all:"),
            ("events/n/a", "{}"),
            ("ranges/servicenodeports", "{}"),
        ];
        for (own, start) in cases {
            let sealed = all.seal(PATH, own, Bytes::from_static(b"{}")).await.unwrap();
            assert!(sealed.starts_with(start.as_bytes()), "{own}: {}", String::from_utf8_lossy(&sealed));
        }
    }
}
