//! What private registries are shown: the pull secrets of a pod. Pure, but for reading the secrets.

use std::collections::BTreeMap;

use base64::Engine;
use k8s_openapi::api::core::v1::Pod;
use kinit_cri::v1::AuthConfig;
use serde::Deserialize;

use super::{env, facts};
use crate::context::Context;

/// The registry of images that name none.
const DEFAULT_REGISTRY: &str = "docker.io";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

/// Host and path of what an image or a key of a configuration names, without scheme and tag.
fn place(text: &str) -> (String, String) {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let (host, path) = match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        None if text.contains(['.', ':']) || text == "localhost" => (text, ""),
        _ => (DEFAULT_REGISTRY, text),
    };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    // The old name of a registry's interface is no part of any image's name.
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    (host.to_owned(), path.to_owned())
}

/// The name of an image without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    match image.rfind(':') {
        Some(at) if !image[at..].contains('/') && image.contains('/') => &image[..at],
        _ => image,
    }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len()
        && pattern.iter().zip(&host).all(|(wanted, found)| match wanted.strip_suffix('*') {
            Some(begin) => found.starts_with(begin),
            None => wanted == found,
        })
}

/// What of a document is for an image, the closest match first.
fn matching(document: &[u8], image: &str) -> Vec<AuthConfig> {
    // A `.dockercfg` has the entries at its top.
    let auths = match serde_json::from_slice::<DockerConfig>(document) {
        Ok(config) if !config.auths.is_empty() => config.auths,
        _ => serde_json::from_slice(document).unwrap_or_default(),
    };
    let (host, path) = place(repository(image));
    let mut found: Vec<(usize, AuthConfig)> = auths
        .into_iter()
        .filter_map(|(key, entry)| {
            let (of_host, of_path) = place(&key);
            let inside = of_path.is_empty() || path == of_path || path.starts_with(&format!("{of_path}/"));
            (host_matches(&of_host, &host) && inside).then(|| (of_path.len(), config(entry, &of_host)))
        })
        .collect();
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, config)| config).collect()
}

fn config(entry: Entry, host: &str) -> AuthConfig {
    let decoded = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((username, password)) => (username.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (entry.username, entry.password),
    };
    let identity_token = entry.identitytoken;
    AuthConfig { username, password, identity_token, server_address: host.to_owned(), ..AuthConfig::default() }
}

/// What is tried for an image, in order. A secret that is not there is passed over, as upstream does.
pub async fn of(context: &Context, pod: &Pod, image: &str) -> Vec<AuthConfig> {
    let mut all = Vec::new();
    for reference in pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()) {
        match env::secret(context, facts::namespace(pod), &reference.name, false).await {
            Ok(data) => {
                let documents = [".dockerconfigjson", ".dockercfg"].into_iter().filter_map(|key| data.get(key));
                all.extend(documents.flat_map(|document| matching(document, image)));
            }
            Err(error) => tracing::warn!(pod = facts::full_name(pod), %error, "a pull secret cannot be read"),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_entry_comes_first() {
        let document = br#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
            "r.example:5000": {"username": "all", "password": "p"},
            "r.example:5000/team": {"username": "team", "password": "p"},
            "*.wild.example": {"username": "wild", "password": "p"}}}"#;
        for (image, wanted) in [
            ("busybox", vec!["hub"]),
            ("library/busybox:1", vec!["hub"]),
            ("docker.io/a/b@sha256:0", vec!["hub"]),
            ("r.example:5000/team/x:1", vec!["team", "all"]),
            ("r.example:5000/teamx/x", vec!["all"]),
            ("a.wild.example/x", vec!["wild"]),
            ("a.b.wild.example/x", vec![]),
            ("other.example/x", vec![]),
        ] {
            let names: Vec<String> = matching(document, image).into_iter().map(|one| one.username).collect();
            assert_eq!(names, wanted, "{image}");
        }
        assert_eq!(matching(br#"{"r.example": {"username": "old"}}"#, "r.example/x")[0].username, "old");
        assert!(matching(b"nonsense", "x").is_empty());
        assert_eq!(matching(document, "x")[0].password, "secret");
    }
}
