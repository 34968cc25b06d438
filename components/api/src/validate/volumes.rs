//! Sources of volumes: those of a Pod's volumes, and those that a PersistentVolume has as well.

use std::collections::BTreeSet;

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{claims, complain, containers, list, metadata, paths, remote_volumes, signer, storage, str_of, text};
use crate::quantity::Quantity;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const ONE_TYPE: &str = "may not specify more than 1 volume type";
const CONFLICT: &str = "conflicting duplicate paths";
const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];

/// A kind of source: its field, its name in the paths of what is wrong in it, and the texts that it cannot do without.
struct Kind(&'static str, &'static str, &'static [&'static str]);

/// Every kind of source, in the order in which they are looked at.
const KINDS: &[Kind] = &[
    Kind("emptyDir", "emptyDir", &[]),
    Kind("hostPath", "hostPath", &["path"]),
    Kind("gitRepo", "gitRepo", &["repository"]),
    Kind("gcePersistentDisk", "persistentDisk", &["pdName"]),
    Kind("awsElasticBlockStore", "awsElasticBlockStore", &["volumeID"]),
    Kind("secret", "secret", &["secretName"]),
    Kind("nfs", "nfs", &["server", "path"]),
    Kind("iscsi", "iscsi", &["targetPortal", "iqn"]),
    Kind("glusterfs", "glusterfs", &["endpoints", "path"]),
    Kind("flocker", "flocker", &[]),
    Kind("persistentVolumeClaim", "persistentVolumeClaim", &["claimName"]),
    Kind("rbd", "rbd", &["image"]),
    Kind("cinder", "cinder", &["volumeID"]),
    Kind("cephfs", "cephfs", &[]),
    Kind("quobyte", "quobyte", &[]),
    Kind("downwardAPI", "downwardAPI", &[]),
    Kind("fc", "fc", &[]),
    Kind("flexVolume", "flexVolume", &["driver"]),
    Kind("configMap", "configMap", &["name"]),
    Kind("azureFile", "azureFile", &["secretName", "shareName"]),
    Kind("vsphereVolume", "vsphereVolume", &["volumePath"]),
    Kind("photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    Kind("portworxVolume", "portworxVolume", &["volumeID"]),
    Kind("azureDisk", "azureDisk", &["diskName", "diskURI"]),
    Kind("storageos", "storageos", &[]),
    Kind("projected", "projected", &[]),
    Kind("scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    Kind("local", "local", &["path"]),
    Kind("csi", "csi", &[]),
    Kind("ephemeral", "ephemeral", &[]),
    Kind("image", "image", &[]),
];

/// Whose source it is that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Pod,
    /// A template of Pods, where a little may be left for later.
    Template,
    PersistentVolume,
}

/// The kind of source that counts where there are several.
pub(super) fn first(volume: &Value) -> Option<&'static str> {
    KINDS.iter().find(|kind| volume[kind.0].is_object()).map(|kind| kind.0)
}

/// The one source that a volume has.
pub(super) fn source(volume: &Value, holder: Holder, path: &Path, errors: &mut Errors) {
    let persistent = holder == Holder::PersistentVolume;
    let mut any = false;
    for Kind(field, name, required) in KINDS {
        let source = &volume[*field];
        if !source.is_object() {
            continue;
        }
        // A PersistentVolume's may stand beside another, as upstream has it.
        if any && !(persistent && *field == "flexVolume") {
            let shown = match *field {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                field => field,
            };
            errors.push(Error::forbidden(&path.child(shown), ONE_TYPE));
            continue;
        }
        any = true;
        let path = path.child(name);
        for field in required.iter().filter(|field| str_of(source, field).is_empty()) {
            errors.push(Error::required(&path.child(field), ""));
        }
        details(field, source, holder, &path, errors);
        remote_volumes::details(field, source, persistent, &path, errors);
    }
    if !any {
        errors.push(Error::required(path, "must specify a volume type"));
    }
}

fn details(kind: &str, source: &Value, holder: Holder, path: &Path, errors: &mut Errors) {
    match kind {
        "emptyDir" if containers::quantity(&source["sizeLimit"]).is_some_and(|limit| limit < Quantity::ZERO) => {
            let text = "SizeLimit field must be a valid resource quantity";
            errors.push(Error::forbidden(&path.child("sizeLimit"), text));
        }
        "hostPath" if !str_of(source, "path").is_empty() => {
            paths::no_backsteps(str_of(source, "path"), &path.child("path"), errors);
            let kind = str_of(source, "type");
            if !HOST_PATH_TYPES.contains(&kind) {
                errors.push(Error::not_supported(&path.child("type"), kind, HOST_PATH_TYPES));
            }
        }
        "gitRepo" => paths::descending(str_of(source, "directory"), &path.child("directory"), errors),
        "local" => paths::no_backsteps(str_of(source, "path"), &path.child("path"), errors),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            if let Some(number) = source["partition"].as_i64().filter(|number| !(0..=255).contains(number)) {
                let text = "must be between 1 and 255, inclusive";
                errors.push(Error::invalid(&path.child("partition"), number, text));
            }
        }
        "nfs" if !str_of(source, "path").starts_with('/') => {
            errors.push(Error::invalid(&path.child("path"), str_of(source, "path"), "must be an absolute path"));
        }
        "rbd" | "cephfs" if list(source, "monitors").is_empty() => {
            errors.push(Error::required(&path.child("monitors"), ""));
        }
        "secret" | "configMap" => {
            mode(source, "defaultMode", path, errors);
            for (at, item) in list(source, "items").iter().enumerate() {
                key_to_path(item, &path.child("items").index(at), errors);
            }
        }
        "downwardAPI" => {
            mode(source, "defaultMode", path, errors);
            list(source, "items").iter().for_each(|file| downward(file, path, errors));
        }
        "projected" => {
            mode(source, "defaultMode", path, errors);
            projected(source, path, errors);
        }
        "csi" => csi(source, holder, path, errors),
        "ephemeral" => match source.get("volumeClaimTemplate") {
            Some(template) if template.is_object() => {
                let path = path.child("volumeClaimTemplate");
                metadata::of_template(&template["metadata"], &path.child("metadata"), errors);
                claims::spec(&template["spec"], &path.child("spec"), errors);
            }
            _ => errors.push(Error::required(&path.child("volumeClaimTemplate"), "")),
        },
        "image" => {
            if holder == Holder::Pod && str_of(source, "reference").is_empty() {
                errors.push(Error::required(&path.child("reference"), ""));
            }
            containers::pull_policy(source, "pullPolicy", path, errors);
        }
        _ => {}
    }
}

/// The name of a storage driver.
pub(super) fn driver(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if name.len() > 63 {
        errors.push(Error::too_long(path, 63));
    }
    complain(text::dns_subdomain(&name.to_lowercase()), name, path, errors);
}

fn csi(source: &Value, holder: Holder, path: &Path, errors: &mut Errors) {
    driver(str_of(source, "driver"), &path.child("driver"), errors);
    if holder == Holder::PersistentVolume {
        storage::secrets(source, path, errors);
        return;
    }
    let secret = &source["nodePublishSecretRef"];
    if secret.is_object() {
        match str_of(secret, "name") {
            "" => errors.push(Error::required(&path.child("nodePublishSecretRef.name"), "")),
            name => complain(text::dns_subdomain(name), name, &path.child("name"), errors),
        }
    }
}

fn mode(holder: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = holder[field].as_i64().filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(Error::invalid(&path.child(field), mode, MODE));
    }
}

fn key_to_path(item: &Value, path: &Path, errors: &mut Errors) {
    for field in ["key", "path"].into_iter().filter(|field| str_of(item, field).is_empty()) {
        errors.push(Error::required(&path.child(field), ""));
    }
    paths::local(str_of(item, "path"), &path.child("path"), errors);
    mode(item, "mode", path, errors);
}

fn downward(file: &Value, path: &Path, errors: &mut Errors) {
    if str_of(file, "path").is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
    }
    paths::local(str_of(file, "path"), &path.child("path"), errors);
    match (file["fieldRef"].is_object(), file["resourceFieldRef"].is_object()) {
        (false, false) => errors.push(Error::required(path, "one of fieldRef and resourceFieldRef is required")),
        (false, true) => super::env::resource(&file["resourceFieldRef"], true, &path.child("resourceFieldRef"), errors),
        (true, both) => {
            super::env::field(&file["fieldRef"], super::env::VOLUME_FIELDS, &path.child("fieldRef"), errors);
            if both {
                let text = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", text));
            }
        }
    }
    mode(file, "mode", path, errors);
}

fn projected<'a>(volume: &'a Value, path: &Path, errors: &mut Errors) {
    let mut taken = BTreeSet::new();
    let mut take = |file: &'a str, shown: &str, errors: &mut Errors| {
        if !file.is_empty() && !taken.insert(file) {
            errors.push(Error::invalid(path, shown, CONFLICT));
        }
    };
    for (at, source) in list(volume, "sources").iter().enumerate() {
        let of_source = path.child("sources").index(at);
        for kind in ["secret", "configMap"].into_iter().filter(|kind| source[*kind].is_object()) {
            let (source, path) = (&source[kind], of_source.child(kind));
            let name = str_of(source, "name");
            if name.is_empty() {
                errors.push(Error::required(&path.child("name"), ""));
            }
            for (at, item) in list(source, "items").iter().enumerate() {
                key_to_path(item, &path.child("items").index(at), errors);
                take(str_of(item, "path"), name, errors);
            }
        }
        for file in list(&source["downwardAPI"], "items") {
            downward(file, &of_source.child("downwardAPI"), errors);
            take(str_of(file, "path"), str_of(file, "path"), errors);
        }
        if source["serviceAccountToken"].is_object() {
            token(&source["serviceAccountToken"], &of_source.child("serviceAccountToken"), path, errors);
        }
        let bundle = &source["clusterTrustBundle"];
        if bundle.is_object() {
            trust_bundle(bundle, &of_source.child("clusterTrustBundle"), errors);
            take(str_of(bundle, "path"), str_of(bundle, "path"), errors);
        }
        let certificate = &source["podCertificate"];
        if certificate.is_object() {
            pod_certificate(certificate, &of_source.child("podCertificate"), errors);
            for field in CERTIFICATE_PATHS {
                take(str_of(certificate, field), str_of(certificate, field), errors);
            }
        }
        if source.as_object().is_some_and(|kinds| kinds.values().filter(|kind| kind.is_object()).count() > 1) {
            errors.push(Error::forbidden(&of_source, "may not specify more than 1 volume type per source"));
        }
    }
}

fn token(token: &Value, path: &Path, of_volume: &Path, errors: &mut Errors) {
    let seconds = token["expirationSeconds"].as_i64().unwrap_or_default();
    let of_seconds = path.child("expirationSeconds");
    if seconds < 600 {
        errors.push(Error::invalid(&of_seconds, seconds, "may not specify a duration less than 10 minutes"));
    } else if seconds > 1 << 32 {
        errors.push(Error::invalid(&of_seconds, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    // The file's path is looked for at the volume, not at the source.
    match str_of(token, "path") {
        "" => errors.push(Error::required(&of_volume.child("path"), "")),
        file => paths::local(file, &of_volume.child("path"), errors),
    }
}

fn trust_bundle(bundle: &Value, path: &Path, errors: &mut Errors) {
    match (bundle["name"].as_str(), bundle["signerName"].as_str()) {
        (Some(_), Some(_)) => {
            errors.push(Error::invalid(path, bundle.clone(), "only one of name and signerName may be used"));
        }
        (Some(name), None) => {
            if name.is_empty() {
                errors.push(Error::required(&path.child("name"), "must be a valid object name"));
            }
            if bundle["labelSelector"].is_object() {
                let text = "labelSelector must be unset if name is specified";
                errors.push(Error::invalid(&path.child("labelSelector"), bundle["labelSelector"].clone(), text));
            }
        }
        (None, Some(name)) => {
            if name.is_empty() {
                errors.push(Error::required(&path.child("signerName"), "must be a valid signer name"));
            }
            signer::name(name, &path.child("signerName"), errors);
            metadata::selector(&bundle["labelSelector"], &path.child("labelSelector"), errors);
        }
        (None, None) => errors.push(Error::required(path, "either name or signerName must be specified")),
    }
    if str_of(bundle, "path").is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
    }
    paths::local(str_of(bundle, "path"), &path.child("path"), errors);
}

const CERTIFICATE_PATHS: [&str; 3] = ["credentialBundlePath", "keyPath", "certificateChainPath"];

fn pod_certificate(certificate: &Value, path: &Path, errors: &mut Errors) {
    signer::name(str_of(certificate, "signerName"), &path.child("signerName"), errors);
    let kind = str_of(certificate, "keyType");
    if !KEY_TYPES.contains(&kind) {
        errors.push(Error::not_supported(&path.child("keyType"), kind, KEY_TYPES));
    }
    let of_kubernetes = str_of(certificate, "signerName").starts_with("kubernetes.io/");
    let most = if of_kubernetes { 86400 } else { 91 * 86400 };
    if let Some(seconds) = certificate["maxExpirationSeconds"].as_i64() {
        let path = path.child("maxExpirationSeconds");
        if seconds < 3600 {
            errors.push(Error::invalid(&path, seconds, "if provided, maxExpirationSeconds must be >= 3600"));
        }
        if seconds > most {
            errors.push(Error::invalid(&path, seconds, format!("if provided, maxExpirationSeconds must be <= {most}")));
        }
    }
    for field in CERTIFICATE_PATHS {
        paths::local(str_of(certificate, field), &path.child(field), errors);
    }
    if CERTIFICATE_PATHS.iter().all(|field| str_of(certificate, field).is_empty()) {
        let text = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(Error::required(path, text));
    }
}
