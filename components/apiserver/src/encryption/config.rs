//! `EncryptionConfiguration`: which resources are kept under which providers. Pure.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::ciphers::Cipher;
use crate::reload::check_kind;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    resources: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<ProviderEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderEntry {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Identity>,
    kms: Option<KmsEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Name: {}, Secret: [REDACTED]", self.name)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KmsEntry {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    endpoint: String,
    timeout: Option<String>,
    #[serde(rename = "cachesize")]
    cache_size: Option<i32>,
}

/// A group's resource; a star stands for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupResource {
    pub group: String,
    pub resource: String,
}

impl GroupResource {
    fn parse(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Self { group: group.to_owned(), resource: resource.to_owned() }
    }

    /// The same group's rule for all of its resources.
    fn whole_group(&self) -> Self {
        Self { group: self.group.clone(), resource: "*".into() }
    }

    fn shown(&self) -> String {
        match (&*self.resource, &*self.group) {
            ("*", "") => "*.".into(),
            (resource, "") => resource.into(),
            (resource, group) => format!("{resource}.{group}"),
        }
    }

    /// How much the rule says of a resource; `None` where it says nothing.
    pub fn covers(&self, group: &str, resource: &str) -> Option<u8> {
        match (&*self.group, &*self.resource) {
            ("*", "*") => Some(1),
            (own, "*") if own == group => Some(2),
            (own, named) if own == group && named == resource => Some(3),
            _ => None,
        }
    }
}

/// A way to keep values.
pub enum Provider {
    /// What values begin with, and the keys by the names that follow it.
    Keys {
        prefix: &'static str,
        keys: Vec<(String, Cipher)>,
    },
    Kms(KmsConfig),
    /// As they are.
    Identity,
}

/// How a key service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsConfig {
    pub name: String,
    /// The path of its socket; one that begins with `@` has no file.
    pub socket: String,
    pub timeout: Duration,
}

/// One entry: what it is about, and its providers, the one that writes first.
pub struct Rule {
    pub resources: Vec<GroupResource>,
    pub providers: Vec<Provider>,
}

/// Reads the file's text; the error names the fields that are wrong.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let file: File = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    check_kind(&file.kind, &file.api_version, "EncryptionConfiguration", &["v1"])?;
    let mut wrong = Vec::new();
    if file.resources.is_empty() {
        wrong.push("resources: Required value: at least one resources is required".to_owned());
    }
    let mut rules = Vec::new();
    let (mut services, mut known) = (HashSet::new(), HashSet::new());
    for (index, entry) in file.resources.iter().enumerate() {
        let path = format!("resources[{index}]");
        check_resources(entry, &path, &mut wrong);
        let resources: Vec<GroupResource> = entry.resources.iter().map(|text| GroupResource::parse(text)).collect();
        for own in &resources {
            let everything = GroupResource { group: "*".into(), resource: "*".into() };
            for earlier in [own.whole_group(), everything] {
                if known.contains(&earlier) {
                    wrong.push(format!("resource {:?} is masked by earlier rule {:?}", own.shown(), earlier.shown()));
                }
            }
        }
        known.extend(resources.iter().cloned());
        if entry.providers.is_empty() {
            wrong.push(format!("{path}.providers: Required value: at least one {path}.providers is required"));
        }
        let mut providers = Vec::new();
        for (number, provider) in entry.providers.iter().enumerate() {
            let path = format!("{path}.providers[{number}]");
            providers.extend(read_provider(provider, &path, &mut services, &mut wrong));
        }
        rules.push(Rule { resources, providers });
    }
    if wrong.is_empty() { Ok(rules) } else { Err(wrong.join(", ")) }
}

fn check_resources(entry: &Entry, path: &str, wrong: &mut Vec<String>) {
    let path = format!("{path}.resources");
    if entry.resources.is_empty() {
        wrong.push(format!("{path}: Required value: at least one {path} is required"));
    }
    let parsed: Vec<GroupResource> = entry.resources.iter().map(|text| GroupResource::parse(text)).collect();
    let pairs = || parsed.iter().enumerate().flat_map(|(at, a)| parsed.iter().skip(at + 1).map(move |b| (a, b)));
    if pairs().any(|(a, b)| a == b) {
        let listed = serde_json::json!(entry.resources);
        wrong.push(format!("{path}: Invalid value: {listed}: the same resource cannot be specified multiple times"));
    }
    let everything = |one: &GroupResource| one.group == "*" && one.resource == "*";
    let masks = |a: &GroupResource, b: &GroupResource| {
        everything(a) || everything(b) || a.group == b.group && (a.resource == "*" || b.resource == "*")
    };
    if pairs().any(|(a, b)| a != b && masks(a, b)) {
        let listed = serde_json::json!(entry.resources);
        wrong.push(format!(
            "{path}: Invalid value: {listed}: using overlapping resources such as 'secrets' and '*.' in the same resource list is \
             not allowed as they will be masked"
        ));
    }
    for (index, (text, own)) in entry.resources.iter().zip(&parsed).enumerate() {
        let why = match (text.as_str(), own.group.as_str()) {
            _ if text.to_lowercase() != *text => "resource name should not contain capital letters",
            ("*", _) => "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
            ("apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations", _) => {
                "resources which do not have REST API/s cannot be encrypted"
            }
            (_, "events.k8s.io") => {
                "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
                 config file"
            }
            (_, "extensions") => "'extensions' group has been removed and cannot be used for encryption",
            (_, "*") if own.resource != "*" => "encrypting the same resource across groups is not supported",
            _ => continue,
        };
        wrong.push(format!("{path}[{index}]: Invalid value: {text:?}: {why}"));
    }
}

fn read_provider(
    entry: &ProviderEntry,
    path: &str,
    services: &mut HashSet<String>,
    wrong: &mut Vec<String>,
) -> Option<Provider> {
    let given = [entry.kms.is_some(), entry.aesgcm.is_some(), entry.aescbc.is_some(), entry.secretbox.is_some()];
    match given.into_iter().filter(|given| *given).count() + usize::from(entry.identity.is_some()) {
        0 => {
            wrong.push(format!(
                "{path}: Invalid value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, \
                 Secretbox, Identity"
            ));
            return None;
        }
        1 => {}
        _ => {
            let why = "more than one provider specified in a single element, should split into different list elements";
            wrong.push(format!("{path}: Invalid value: {why}"));
            return None;
        }
    }
    const AES: &[usize] = &[16, 24, 32];
    if let Some(keys) = &entry.aesgcm {
        let keys = read_keys(keys, &format!("{path}.aesgcm.keys"), AES, wrong, |key| Ok(Cipher::Gcm(key)));
        return Some(Provider::Keys { prefix: "k8s:enc:aesgcm:v1:", keys });
    }
    if let Some(keys) = &entry.aescbc {
        let keys = read_keys(keys, &format!("{path}.aescbc.keys"), AES, wrong, |key| Ok(Cipher::Cbc(key)));
        return Some(Provider::Keys { prefix: "k8s:enc:aescbc:v1:", keys });
    }
    if let Some(keys) = &entry.secretbox {
        let make = |key: Vec<u8>| Cipher::secretbox(&key);
        let keys = read_keys(keys, &format!("{path}.secretbox.keys"), &[32], wrong, make);
        return Some(Provider::Keys { prefix: "k8s:enc:secretbox:v1:", keys });
    }
    match &entry.kms {
        Some(kms) => read_service(kms, &format!("{path}.kms"), services, wrong).map(Provider::Kms),
        None => Some(Provider::Identity),
    }
}

fn read_keys(
    keys: &Keys,
    path: &str,
    sizes: &[usize],
    wrong: &mut Vec<String>,
    make: impl Fn(Vec<u8>) -> Result<Cipher, String>,
) -> Vec<(String, Cipher)> {
    if keys.keys.is_empty() {
        wrong.push(format!("{path}: Required value: at least one keys is required"));
    }
    let mut read = Vec::new();
    for (index, key) in keys.keys.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if key.name.is_empty() {
            wrong.push(format!("{path}.name: Required value: name is a mandatory field for a key"));
        }
        if key.secret.is_empty() {
            wrong.push(format!("{path}.secret: Required value: secret is a mandatory field for a key"));
            continue;
        }
        let Ok(secret) = STANDARD.decode(&key.secret) else {
            wrong.push(format!("{path}.secret: Invalid value: \"REDACTED\": secrets must be base64 encoded"));
            continue;
        };
        let size = secret.len();
        match make(secret) {
            Ok(cipher) if sizes.contains(&size) => read.push((format!("{}:", key.name), cipher)),
            _ => wrong.push(format!(
                "{path}.secret: Invalid value: \"REDACTED\": secret is not of the expected length, got {size}, expected \
                 one of {}",
                format!("{sizes:?}").replace(',', "")
            )),
        }
    }
    read
}

fn read_service(
    entry: &KmsEntry,
    path: &str,
    services: &mut HashSet<String>,
    wrong: &mut Vec<String>,
) -> Option<KmsConfig> {
    let before = wrong.len();
    match entry.api_version.as_str() {
        "v2" => {}
        // Without a version it is the first, as in upstream, where it is switched off.
        "" | "v1" => wrong.push(format!(
            "{path}.apiVersion: Invalid value: \"v1\": KMSv1 is deprecated and is not served; use KMSv2 (apiVersion: v2)"
        )),
        other => wrong.push(format!(
            "{path}.apiVersion: Invalid value: {other:?}: unsupported apiVersion apiVersion for KMS provider, only v1 and \
             v2 are supported"
        )),
    }
    if entry.name.is_empty() {
        wrong.push(format!("{path}.name: Required value: name is a mandatory field for a provider"));
    }
    if entry.name.contains(':') {
        let why = format!("invalid KMS provider name {}, must not contain ':'", entry.name);
        wrong.push(format!("{path}.name: Invalid value: {:?}: {why}", entry.name));
    }
    if !services.insert(entry.name.clone()) {
        let why = format!("duplicate KMS provider name {}, names must be unique", entry.name);
        wrong.push(format!("{path}.name: Invalid value: {:?}: {why}", entry.name));
    }
    if let Some(size) = entry.cache_size {
        wrong.push(format!("{path}.cachesize: Invalid value: {size}: cachesize is not supported in v2"));
    }
    let timeout = entry.timeout.as_deref().unwrap_or("3s");
    let timeout = kinit_duration::parse(timeout).ok().filter(|timeout| !timeout.is_zero()).unwrap_or_else(|| {
        let given = entry.timeout.as_deref().unwrap_or_default();
        wrong.push(format!("{path}.timeout: Invalid value: {given:?}: timeout should be a positive value"));
        Duration::ZERO
    });
    let socket = match entry.endpoint.split_once("://") {
        Some(("unix", socket)) if !socket.is_empty() => socket.to_owned(),
        _ if entry.endpoint.is_empty() => {
            wrong.push(format!("{path}.endpoint: Required value: endpoint is a mandatory field for a kms"));
            String::new()
        }
        other => {
            let scheme = other.map(|(scheme, _)| scheme).unwrap_or_default();
            let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
            wrong.push(format!("{path}.endpoint: Invalid value: {:?}: {why}", entry.endpoint));
            String::new()
        }
    };
    (wrong.len() == before).then(|| KmsConfig { name: entry.name.clone(), socket, timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(resources: &str, providers: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: \
             {resources}\n  providers: {providers}\n"
        )
    }

    #[test]
    fn a_file_is_read_in_order() {
        let key = STANDARD.encode([1; 32]);
        let providers = format!(
            "[{{aescbc: {{keys: [{{name: k1, secret: {key}}}, {{name: k2, secret: {key}}}]}}}}, {{kms: {{apiVersion: v2, \
             name: svc, endpoint: 'unix:///run/kms.sock', timeout: 5s}}}}, {{identity: {{}}}}]"
        );
        let rules = parse(&file("[secrets, '*.apps', pandas.bears.example]", &providers)).unwrap();
        let [Provider::Keys { prefix, keys }, Provider::Kms(kms), Provider::Identity] = rules[0].providers.as_slice()
        else {
            panic!("three providers")
        };
        assert_eq!((*prefix, keys[0].0.as_str(), keys.len()), ("k8s:enc:aescbc:v1:", "k1:", 2));
        assert_eq!((kms.socket.as_str(), kms.timeout.as_secs()), ("/run/kms.sock", 5));
        let covers = |group: &str, resource: &str| {
            rules[0].resources.iter().filter_map(|rule| rule.covers(group, resource)).max()
        };
        assert_eq!(covers("", "secrets"), Some(3));
        assert_eq!(covers("apps", "deployments"), Some(2));
        assert_eq!(covers("bears.example", "pandas"), Some(3));
        assert_eq!(covers("", "configmaps"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let secretbox = |secret: &str| format!("[{{secretbox: {{keys: [{{name: a, secret: {secret}}}]}}}}]");
        let kms = |fields: &str| format!("[{{kms: {{{fields}}}}}]");
        let cases = [
            (file("[secrets]", "[]"), "resources[0].providers: Required value"),
            (file("[]", "[{identity: {}}]"), "resources[0].resources: Required value"),
            (file("['*']", "[{identity: {}}]"), "resources[0].resources[0]: Invalid value: \"*\": use '*.'"),
            (file("[Secrets]", "[{identity: {}}]"), "capital letters"),
            (
                file("[secrets, '*.']", "[{identity: {}}]"),
                "Invalid value: [\"secrets\",\"*.\"]: using overlapping resources",
            ),
            (
                file("[secrets, secrets]", "[{identity: {}}]"),
                "Invalid value: [\"secrets\",\"secrets\"]: the same resource",
            ),
            (file("['secrets.*']", "[{identity: {}}]"), "across groups"),
            (file("[events.events.k8s.io]", "[{identity: {}}]"), "Use 'events' instead"),
            (file("[secrets]", "[{}]"), "does not contain any"),
            (file("[secrets]", "[{identity: {}, kms: {}}]"), "more than one provider"),
            (file("[secrets]", &secretbox("YQ==")), "got 1, expected one of [32]"),
            (file("[secrets]", &secretbox("'?'")), "must be base64"),
            (file("[secrets]", &secretbox("YQ==").replace("secretbox", "aescbc")), "got 1, expected one of [16 24 32]"),
            (
                file("[secrets]", &kms("apiVersion: v2, name: a, cachesize: 5, endpoint: 'unix:///x'")),
                "kms.cachesize: Invalid value: 5: cachesize is not supported in v2",
            ),
            (
                file("[secrets]", &kms("apiVersion: v2, name: a, timeout: 0s, endpoint: 'unix:///x'")),
                "kms.timeout: Invalid value: \"0s\": timeout should be a positive value",
            ),
            (file("[secrets]", "[{aesgcm: {keys: []}}]"), "aesgcm.keys: Required value"),
            (file("[secrets]", &kms("name: a, endpoint: 'unix:///x'")), "KMSv1 is deprecated"),
            (file("[secrets]", &kms("apiVersion: v2, name: a, endpoint: 'tcp://x'")), "unsupported scheme \"tcp\""),
            (file("[secrets]", &kms("apiVersion: v2, name: 'a:b', endpoint: 'unix:///x'")), "must not contain ':'"),
            (file("[secrets]", "[{aes: {}}]"), "unknown field"),
            ("apiVersion: v1\nkind: Secret\n".to_owned(), "no kind \"Secret\""),
        ];
        for (text, wanted) in cases {
            let error = parse(&text).err().unwrap_or_default();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let masked = format!(
            "{}- resources: [configmaps]\n  providers: [{{identity: {{}}}}]\n",
            file("['*.*']", "[{identity: {}}]")
        );
        assert!(parse(&masked).err().unwrap().contains("\"configmaps\" is masked by earlier rule \"*.*\""));
    }
}
