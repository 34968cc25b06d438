//! What volumes of files hold.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccount, ServiceAccountTokenProjection, Volume,
};
use kube::Api;
use kube::api::PostParams;

use super::writer::{File, Files};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::pod::env::{config_map, field_value, resource_value, secret};
use crate::pod::facts;

const DEFAULT_MODE: i32 = 0o644;
const DEFAULT_TOKEN_LIFE: i64 = 3600;
/// Seconds after which any token is renewed.
const LONGEST_USE: i64 = 24 * 3600;

/// The files of a volume. `path` is where they were written before: a token that still lives is kept.
pub async fn of(context: &Context, pod: &Pod, volume: &Volume, ips: &[String], path: &Path) -> Result<Files> {
    let namespace = facts::namespace(pod);
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let data = config_map(context, namespace, &source.name, source.optional.unwrap_or(false)).await?;
        add(&mut files, data, source.items.as_deref(), source.default_mode, &volume.name, source.optional)?;
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let data = secret(context, namespace, name, source.optional.unwrap_or(false)).await?;
        add(&mut files, data, source.items.as_deref(), source.default_mode, &volume.name, source.optional)?;
    }
    if let Some(source) = &volume.downward_api {
        downward(context, pod, source.items.as_deref().unwrap_or_default(), source.default_mode, ips, &mut files)?;
    }
    let Some(projected) = &volume.projected else { return Ok(files) };
    let mode = projected.default_mode;
    for source in projected.sources.iter().flatten() {
        if let Some(source) = &source.config_map {
            let data = config_map(context, namespace, &source.name, source.optional.unwrap_or(false)).await?;
            add(&mut files, data, source.items.as_deref(), mode, &volume.name, source.optional)?;
        } else if let Some(source) = &source.secret {
            let data = secret(context, namespace, &source.name, source.optional.unwrap_or(false)).await?;
            add(&mut files, data, source.items.as_deref(), mode, &volume.name, source.optional)?;
        } else if let Some(source) = &source.downward_api {
            downward(context, pod, source.items.as_deref().unwrap_or_default(), mode, ips, &mut files)?;
        } else if let Some(source) = &source.service_account_token {
            let token = token(context, pod, source, path).await?;
            let (mode, user) = of_token(pod, file_mode(None, mode));
            files.insert(source.path.clone(), File { contents: token, mode, user });
        } else {
            return Err(Error::volume(&volume.name, "it has a source that is not there yet"));
        }
    }
    Ok(files)
}

/// A token's mode and owner: where it is known who reads it, nobody else may.
fn of_token(pod: &Pod, mode: u32) -> (u32, Option<u32>) {
    let user = only_user(pod);
    let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
    (if user.is_some() || group.is_some() { 0o600 } else { mode }, user)
}

/// The user as whom all of a Pod's containers run, if they all say the same.
fn only_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let own = spec.init_containers.iter().flatten().chain(&spec.containers).map(|one| &one.security_context);
    let temporary = spec.ephemeral_containers.iter().flatten().map(|one| &one.security_context);
    let mut users =
        own.chain(temporary).map(|context| context.as_ref().and_then(|context| context.run_as_user).or(of_pod));
    let first = users.next()??;
    if users.all(|user| user == Some(first)) { u32::try_from(first).ok() } else { None }
}

fn file_mode(own: Option<i32>, default: Option<i32>) -> u32 {
    own.or(default).unwrap_or(DEFAULT_MODE) as u32
}

fn add(
    files: &mut Files,
    data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    volume: &str,
    optional: Option<bool>,
) -> Result<()> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(
            data.into_iter().map(|(key, contents)| (key, File { contents, mode: file_mode(None, mode), user: None })),
        );
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(contents) => {
                if item.path.split('/').any(|part| part == "..") || item.path.starts_with('/') {
                    return Err(Error::volume(volume, format!("path {} must stay inside", item.path)));
                }
                files.insert(
                    item.path.clone(),
                    File { contents: contents.clone(), mode: file_mode(item.mode, mode), user: None },
                );
            }
            None if optional == Some(true) => {}
            None => return Err(Error::volume(volume, format!("its source has no key {}", item.key))),
        }
    }
    Ok(())
}

fn downward(
    context: &Context,
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
    ips: &[String],
    files: &mut Files,
) -> Result<()> {
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            field_value(context, pod, field, ips)?
        } else if let Some(field) = &item.resource_field_ref {
            resource_value(pod, &Container::default(), field, context)?
        } else {
            continue;
        };
        files.insert(
            item.path.clone(),
            File { contents: text.into_bytes(), mode: file_mode(item.mode, mode), user: None },
        );
    }
    Ok(())
}

/// When a token is to be renewed, in seconds since 1970: when four fifths of its life are over, and after a day at the
/// latest. A token that lives on for clients which never read it again says itself when it would have ended.
fn renewal(token: &[u8]) -> Option<i64> {
    use base64::Engine;
    let payload = token.split(|byte| *byte == b'.').nth(1)?;
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    let begin = claims["iat"].as_i64()?;
    let end = claims["kubernetes.io"]["warnafter"].as_i64().or_else(|| claims["exp"].as_i64())?;
    Some(begin + ((end - begin) / 5 * 4).min(LONGEST_USE))
}

/// A token for the pod's service account, bound to the pod; a new one when four fifths of the old one's life are over.
async fn token(context: &Context, pod: &Pod, source: &ServiceAccountTokenProjection, path: &Path) -> Result<Vec<u8>> {
    let life = source.expiration_seconds.unwrap_or(DEFAULT_TOKEN_LIFE);
    if let Ok(contents) = std::fs::read(path.join(&source.path))
        && renewal(&contents).is_some_and(|at| at > jiff::Timestamp::now().as_second())
    {
        return Ok(contents);
    }
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_else(|| "default".into());
    let audience = source.audience.clone().filter(|audience| !audience.is_empty());
    let request: TokenRequest = serde_json::from_value(serde_json::json!({
        "spec": {
            "audiences": audience.into_iter().collect::<Vec<_>>(),
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": facts::name(pod), "uid": facts::uid(pod)},
            "expirationSeconds": life,
        },
    }))
    .map_err(|error| Error::volume(&source.path, error))?;
    let api: Api<ServiceAccount> = Api::namespaced(context.client()?, facts::namespace(pod));
    let answer = api.create_token_request(&account, &PostParams::default(), &request).await?;
    let token = answer.status.and_then(|status| status.token).unwrap_or_default();
    Ok(token.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;

    #[test]
    fn a_token_is_for_whom_it_is_known_to_be() {
        let pod = |context: serde_json::Value, first: serde_json::Value, second: serde_json::Value| -> Pod {
            serde_json::from_value(serde_json::json!({"spec": {"securityContext": context,
                "initContainers": [{"name": "a", "securityContext": first}],
                "containers": [{"name": "b", "securityContext": second}]}}))
            .unwrap()
        };
        let (none, user) = (serde_json::json!({}), |id: i64| serde_json::json!({"runAsUser": id}));
        let group = serde_json::json!({"fsGroup": 9});
        for (pod, wanted) in [
            (pod(none.clone(), none.clone(), none.clone()), (0o644, None)),
            (pod(user(5), none.clone(), none.clone()), (0o600, Some(5))),
            (pod(none.clone(), user(5), user(5)), (0o600, Some(5))),
            (pod(none.clone(), user(5), none.clone()), (0o644, None)),
            (pod(user(5), user(6), none.clone()), (0o644, None)),
            (pod(group, none.clone(), none), (0o600, None)),
        ] {
            assert_eq!(of_token(&pod, 0o644), wanted, "{pod:?}");
        }
    }

    #[test]
    fn a_token_says_when_it_is_renewed() {
        let token = |claims: serde_json::Value| {
            let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims.to_string());
            renewal(format!("head.{payload}.signature").as_bytes())
        };
        assert_eq!(token(serde_json::json!({"iat": 1000, "exp": 2000})), Some(1800));
        let extended = serde_json::json!({"iat": 1000, "exp": 99_999_999, "kubernetes.io": {"warnafter": 2000}});
        assert_eq!(token(extended), Some(1800));
        assert_eq!(token(serde_json::json!({"iat": 0, "exp": 99_999_999})), Some(LONGEST_USE));
        assert_eq!(renewal(b"nonsense"), None);
    }
}
