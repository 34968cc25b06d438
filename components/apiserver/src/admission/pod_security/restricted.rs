//! The checks of the level `restricted`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::checks::{Found, Pod, found, named, plural, quoted, set_seccomp, setters, text};

pub(super) fn escalation(pod: &Pod<'_>) -> Found {
    if pod.minor >= 25 && pod.windows() {
        return None;
    }
    let containers = pod.named_where(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if containers.is_empty() {
        return None;
    }
    let text = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&containers));
    found("allowPrivilegeEscalation != false", text)
}

pub(super) fn capabilities(pod: &Pod<'_>) -> Found {
    if pod.minor >= 25 && pod.windows() {
        return None;
    }
    let list = |container: &Value, field: &str| -> Vec<String> {
        container["securityContext"]["capabilities"][field].as_array().into_iter().flatten().map(text).collect()
    };
    let keeping = pod.named_where(|container| !list(container, "drop").contains(&"ALL".to_owned()));
    let added = |container: &Value| -> Vec<String> {
        list(container, "add").into_iter().filter(|one| one != "NET_BIND_SERVICE").collect()
    };
    let adding = pod.named_where(|container| !added(container).is_empty());
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeping)));
    }
    if !adding.is_empty() {
        let all: BTreeSet<String> = pod.containers().flat_map(added).collect();
        let (who, what) = (named(&adding), quoted(&all));
        details.push(format!("{who} must not include {what} in securityContext.capabilities.add"));
    }
    if details.is_empty() { None } else { found("unrestricted capabilities", details.join("; ")) }
}

pub(super) fn volumes(pod: &Pod<'_>) -> Found {
    const ALLOWED: &[&str] = &[
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let fields = volume.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let fields: Vec<&str> = fields.map(|(field, _)| field.as_str()).filter(|field| *field != "name").collect();
        if fields.iter().any(|field| ALLOWED.contains(field)) {
            continue;
        }
        names.push(text(&volume["name"]));
        kinds.insert(fields.first().copied().unwrap_or("unknown").to_owned());
    }
    if names.is_empty() {
        return None;
    }
    let uses = if names.len() == 1 { "uses" } else { "use" };
    let (volumes, what) = (plural("volume", names.len()), plural("restricted volume type", kinds.len()));
    found("restricted volume types", format!("{volumes} {} {uses} {what} {}", quoted(&names), quoted(&kinds)))
}

pub(super) fn non_root(pod: &Pod<'_>) -> Found {
    const REASON: &str = "runAsNonRoot != true";
    if pod.minor >= 35 && pod.has_own_users() {
        return None;
    }
    let field = |holder: &Value| holder["securityContext"]["runAsNonRoot"].as_bool();
    let of_pod = field(pod.spec);
    let explicit = pod.named_where(|container| field(container) == Some(false));
    if let Some(who) = setters(of_pod == Some(false), &explicit) {
        return found(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit = pod.named_where(|container| field(container).is_none() && of_pod != Some(true));
    if implicit.is_empty() {
        return None;
    }
    found(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&implicit)))
}

pub(super) fn user(pod: &Pod<'_>) -> Found {
    if pod.minor >= 35 && pod.has_own_users() {
        return None;
    }
    let root = |holder: &Value| holder["securityContext"]["runAsUser"].as_i64() == Some(0);
    let who = setters(root(pod.spec), &pod.named_where(root))?;
    found("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Found {
    if pod.minor >= 25 && pod.windows() {
        return None;
    }
    if let Some(wrong) = set_seccomp(pod) {
        return Some(wrong);
    }
    let set = |holder: &Value| !holder["securityContext"]["seccompProfile"].is_null();
    let implicit = pod.named_where(|container| !set(container) && !set(pod.spec));
    if implicit.is_empty() {
        return None;
    }
    let who = named(&implicit);
    let text =
        format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    found("seccompProfile", text)
}
