//! Sources of volumes that storage systems elsewhere give: names and addresses in the forms of each.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, list, str_of, text};

/// Looks at a source of one of these kinds. A PersistentVolume, which is said by `persistent`, names what it refers to in full.
pub(super) fn details(kind: &str, source: &Value, persistent: bool, path: &Path, errors: &mut Errors) {
    match kind {
        "iscsi" => iscsi(source, persistent, path, errors),
        "fc" => fibre_channel(source, path, errors),
        "flocker" => flocker(source, path, errors),
        "quobyte" => quobyte(source, path, errors),
        "azureDisk" => azure_disk(source, path, errors),
        "flexVolume" => reserved_options(source, path, errors),
        "storageos" => {
            match str_of(source, "volumeName") {
                "" => errors.push(Error::required(&path.child("volumeName"), "")),
                name => complain(text::dns_label(name), name, &path.child("volumeName"), errors),
            }
            let namespace = str_of(source, "volumeNamespace");
            if !namespace.is_empty() {
                complain(text::dns_label(namespace), namespace, &path.child("volumeNamespace"), errors);
            }
            secret(source, persistent, path, errors);
        }
        "cinder" => secret(source, persistent, path, errors),
        "glusterfs" if persistent => {
            let of_namespace = path.child("endpointsNamespace");
            match source["endpointsNamespace"].as_str() {
                Some("") => {
                    let text = "if the endpointnamespace is set, it must be a valid namespace name";
                    errors.push(Error::invalid(&of_namespace, "", text));
                }
                Some(name) => complain(text::dns_label(name), name, &of_namespace, errors),
                None => {}
            }
        }
        "azureFile" if persistent && source["secretNamespace"] == "" => {
            errors.push(Error::required(&path.child("secretNamespace"), ""));
        }
        _ => {}
    }
}

/// The Secret of a source, where it has one.
fn secret(source: &Value, in_full: bool, path: &Path, errors: &mut Errors) {
    let fields: &[&str] = if in_full { &["name", "namespace"] } else { &["name"] };
    for field in fields.iter().filter(|field| source["secretRef"].is_object() && secret_lacks(source, field)) {
        errors.push(Error::required(&path.child("secretRef").child(field), ""));
    }
}

fn secret_lacks(source: &Value, field: &str) -> bool {
    str_of(&source["secretRef"], field).is_empty()
}

fn iscsi(source: &Value, persistent: bool, path: &Path, errors: &mut Errors) {
    const FORM: &str = "must be valid format";
    let unknown = if persistent { FORM } else { "must be valid format starting with iqn, eui, or naa" };
    let named = |name: &str, path: &Path, errors: &mut Errors| {
        let text = match name.get(..3) {
            Some("iqn") => (!is_qualified(name)).then_some(FORM),
            Some("eui") => (!is_number(name, 16)).then_some(FORM),
            Some("naa") => (!is_number(name, 32)).then_some(FORM),
            _ => Some(unknown),
        };
        errors.extend(text.map(|text| Error::invalid(path, name, text)));
    };
    let target = str_of(source, "iqn");
    if !target.is_empty() {
        named(target, &path.child("iqn"), errors);
    }
    if let Some(number) = source["lun"].as_i64().filter(|number| !(0..=255).contains(number)) {
        errors.push(Error::invalid(&path.child("lun"), number, "must be between 0 and 255, inclusive"));
    }
    let asks = source["chapAuthDiscovery"] == true || source["chapAuthSession"] == true;
    if asks && !source["secretRef"].is_object() {
        errors.push(Error::required(&path.child("secretRef"), ""));
    }
    if persistent && source["secretRef"].is_object() && secret_lacks(source, "name") {
        errors.push(Error::required(&path.child("secretRef.name"), ""));
    }
    if let Some(name) = source["initiatorName"].as_str() {
        named(name, &path.child("initiatorname"), errors);
    }
}

/// A name that begins with a month and a domain: `iqn.2001-04.com.example:storage`. It may end one that begins otherwise.
fn is_qualified(name: &str) -> bool {
    name.match_indices("iqn.").any(|(at, head)| {
        let Some((date, rest)) = name[at + head.len()..].split_once('.') else { return false };
        let Some((domain, last)) = rest.split_once(':') else { return false };
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2))
            && !domain.is_empty()
            && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
            && !last.is_empty()
            && !last.chars().any(|letter| ",;*&$| \t\n\x0c\r".contains(letter))
    })
}

/// Three letters, a sign and so many letters and digits.
fn is_number(name: &str, length: usize) -> bool {
    name.char_indices()
        .nth(4)
        .is_some_and(|(at, _)| name.len() - at == length && name[at..].bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut Errors) {
    let (names, ids) = (list(source, "targetWWNs"), list(source, "wwids"));
    let of_names = path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.push(Error::required(&of_names, "must specify either targetWWNs or wwids, but not both"));
    }
    if !names.is_empty() && !ids.is_empty() {
        let text = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&of_names, source["targetWWNs"].clone(), text));
    }
    if names.is_empty() {
        return;
    }
    match source["lun"].as_i64() {
        None => errors.push(Error::required(&path.child("lun"), "lun is required if targetWWNs is specified")),
        Some(number) if !(0..=255).contains(&number) => {
            errors.push(Error::invalid(&path.child("lun"), number, "must be between 0 and 255, inclusive"));
        }
        Some(_) => {}
    }
}

fn flocker(source: &Value, path: &Path, errors: &mut Errors) {
    let name = str_of(source, "datasetName");
    match (name.is_empty(), str_of(source, "datasetUUID").is_empty()) {
        (true, true) => errors.push(Error::required(path, "one of datasetName and datasetUUID is required")),
        (false, false) => {
            let text = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(Error::invalid(path, "resource", text));
        }
        _ => {}
    }
    if name.contains('/') {
        errors.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

fn quobyte(source: &Value, path: &Path, errors: &mut Errors) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, of_registry) = (str_of(source, "registry"), path.child("registry"));
    if registry.is_empty() {
        errors.push(Error::required(&of_registry, PAIRS));
    } else if str_of(source, "tenant").len() >= 65 {
        let text = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(Error::required(&path.child("tenant"), text));
    } else {
        let wrong = registry.split(',').filter(|pair| !is_host_and_port(pair));
        errors.extend(wrong.map(|_| Error::invalid(&of_registry, registry, PAIRS)));
    }
    if str_of(source, "volume").is_empty() {
        errors.push(Error::required(&path.child("volume"), ""));
    }
}

/// Whether a text is a host, perhaps in brackets, a colon, and whatever is the port.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inside = match host.strip_prefix('[') {
        Some(rest) => match rest.strip_suffix(']') {
            Some(inside) => inside,
            None => return false,
        },
        None if host.contains(':') => return false,
        None => host,
    };
    !format!("{inside}{port}").contains(['[', ']'])
}

fn azure_disk(source: &Value, path: &Path, errors: &mut Errors) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let known: [(&str, &[&str]); 2] =
        [("cachingMode", &["None", "ReadOnly", "ReadWrite"]), ("kind", &["Dedicated", "Managed", "Shared"])];
    for (field, known) in known {
        if let Some(value) = source[field].as_str().filter(|value| !known.contains(value)) {
            errors.push(Error::not_supported(&path.child(field), value, known));
        }
    }
    let uri = str_of(source, "diskURI");
    let (form, start) = match source["kind"].as_str() {
        Some("Managed") => (MANAGED, "/subscriptions/"),
        Some(_) => (BLOB, "https://"),
        None => return,
    };
    if !uri.starts_with(start) {
        errors.push(Error::not_supported(&path.child("diskURI"), uri, &[form]));
    }
}

/// Options of Kubernetes' own are not for users to give.
fn reserved_options(source: &Value, path: &Path, errors: &mut Errors) {
    for option in source["options"].as_object().into_iter().flatten().map(|(option, _)| option) {
        let domain = option.split_once('/').map_or(option.as_str(), |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let path = path.child("options").key(option);
            errors.push(Error::invalid(&path, option.as_str(), "kubernetes.io and k8s.io namespaces are reserved"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_iscsi_have_the_forms_of_the_standards() {
        for good in ["iqn.2001-04.com.example:storage.disk1", "iqn-x-iqn.2001-04.a:b"] {
            assert!(is_qualified(good), "{good}");
        }
        for bad in ["iqn", "iqn.2001-04.com.example", "iqn.01-04.com:a", "iqn.2001-04.com:a b", "iqn.2001-04.:a"] {
            assert!(!is_qualified(bad), "{bad}");
        }
        assert!(is_number("eui.0123456789abcdef", 16) && !is_number("eui.0123", 16));
    }

    #[test]
    fn a_pair_has_one_colon_unless_it_is_in_brackets() {
        let good = ["a:1", "a:", ":1", "[::1]:80", "10.0.0.1:x"];
        let bad = ["a", "", "a:b:c", "::1", "[::1]", "[a]b:1"];
        assert!(good.into_iter().all(is_host_and_port) && !bad.into_iter().any(is_host_and_port));
    }
}
