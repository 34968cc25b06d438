//! The table of checks, and those of the level `baseline`. What a check finds is a reason and a detail.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Level, restricted};

/// A Pod or a template of one, and the minor version whose rules are meant.
pub(super) struct Pod<'a> {
    pub annotations: &'a Value,
    pub spec: &'a Value,
    pub minor: u64,
}

pub(super) type Found = Option<(String, String)>;
type Check = fn(&Pod<'_>) -> Found;

/// A row: the level, the first version that has the check, the baseline check that it takes the place of, and itself.
struct Row {
    level: Level,
    id: &'static str,
    since: u64,
    overrides: &'static str,
    check: Check,
}

const fn baseline(id: &'static str, since: u64, check: Check) -> Row {
    Row { level: Level::Baseline, id, since, overrides: "", check }
}

const fn strict(id: &'static str, since: u64, overrides: &'static str, check: Check) -> Row {
    Row { level: Level::Restricted, id, since, overrides, check }
}

/// All checks in the order in which what they find is told.
const CHECKS: &[Row] = &[
    baseline("appArmorProfile", 0, app_armor),
    baseline("capabilities_baseline", 0, capabilities),
    baseline("hostNamespaces", 0, host_namespaces),
    baseline("hostPathVolumes", 0, host_paths),
    baseline("hostPorts", 0, host_ports),
    baseline("hostProbesAndHostLifecycle", 34, probe_hosts),
    baseline("privileged", 0, privileged),
    baseline("procMount", 0, proc_mount),
    baseline("seLinuxOptions", 0, selinux),
    baseline("seccompProfile_baseline", 0, seccomp),
    baseline("sysctls", 0, sysctls),
    baseline("windowsHostProcess", 0, host_process),
    strict("allowPrivilegeEscalation", 8, "", restricted::escalation),
    strict("capabilities_restricted", 22, "capabilities_baseline", restricted::capabilities),
    strict("procMount_restricted", 35, "procMount", any_proc_mount),
    strict("restrictedVolumes", 0, "hostPathVolumes", restricted::volumes),
    strict("runAsNonRoot", 0, "", restricted::non_root),
    strict("runAsUser", 23, "", restricted::user),
    strict("seccompProfile_restricted", 19, "seccompProfile_baseline", restricted::seccomp),
];

/// Everything of the Pod that is against the level.
pub(super) fn run(level: Level, pod: &Pod<'_>) -> Vec<(String, String)> {
    let applies = |row: &&Row| row.level <= level && row.since <= pod.minor;
    let overridden: Vec<&str> = CHECKS.iter().filter(applies).map(|row| row.overrides).collect();
    let rows = CHECKS.iter().filter(applies).filter(|row| !overridden.contains(&row.id));
    rows.filter_map(|row| (row.check)(pod)).collect()
}

impl<'a> Pod<'a> {
    /// All containers, in the order in which they are told.
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(move |field| spec[field].as_array().into_iter().flatten())
    }

    /// Names of the containers that something is so with.
    pub(super) fn named_where(&self, is: impl Fn(&Value) -> bool) -> Vec<String> {
        self.containers().filter(|container| is(container)).map(name).collect()
    }

    pub(super) fn windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Whether the Pod's users are not the host's, so that its root is not either.
    pub(super) fn has_own_users(&self) -> bool {
        self.spec["hostUsers"] == false
    }
}

fn name(container: &Value) -> String {
    container["name"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The items between quotes; what they have of quotes themselves stays as it is.
pub(super) fn quoted<'a>(list: impl IntoIterator<Item = &'a String>) -> String {
    list.into_iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn named(names: &[String]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

pub(super) fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// Who set something wrong: the Pod, containers of it, or both.
pub(super) fn setters(pod: bool, containers: &[String]) -> Option<String> {
    let mut all = Vec::new();
    if pod {
        all.push("pod".to_owned());
    }
    if !containers.is_empty() {
        all.push(named(containers));
    }
    (!all.is_empty()).then(|| all.join(" and "))
}

pub(super) fn found(reason: &str, detail: String) -> Found {
    Some((reason.to_owned(), detail))
}

fn app_armor(pod: &Pod<'_>) -> Found {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let wrong = |holder: &Value| {
        let profile = &holder["securityContext"]["appArmorProfile"];
        let kind = text(&profile["type"]);
        (!profile.is_null() && !matches!(kind.as_str(), "RuntimeDefault" | "Localhost")).then_some(kind)
    };
    let of_pod = wrong(pod.spec);
    let mut kinds: BTreeSet<String> = of_pod.iter().cloned().collect();
    kinds.extend(pod.containers().filter_map(wrong));
    let containers = pod.named_where(|container| wrong(container).is_some());
    let annotations = pod.annotations.as_object().into_iter().flatten().filter(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        let fine = value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        key.starts_with(ANNOTATION) && !fine
    });
    let annotations: BTreeSet<String> = annotations.map(|(key, value)| format!("{key}={:?}", text(value))).collect();
    let mut who: Vec<String> = setters(of_pod.is_some(), &containers).into_iter().collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", annotations.len()));
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = kinds.into_iter().chain(annotations).collect();
    let reason = plural("forbidden AppArmor profile", values.len());
    found(&reason, format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values)))
}

fn capabilities(pod: &Pod<'_>) -> Found {
    const ALLOWED: &[&str] = &[
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let added = |container: &Value| -> Vec<String> {
        let all = container["securityContext"]["capabilities"]["add"].as_array().into_iter().flatten();
        all.map(text).filter(|one| !ALLOWED.contains(&one.as_str())).collect()
    };
    let containers = pod.named_where(|container| !added(container).is_empty());
    let all: BTreeSet<String> = pod.containers().flat_map(added).collect();
    if containers.is_empty() {
        return None;
    }
    let text = format!("{} must not include {} in securityContext.capabilities.add", named(&containers), quoted(&all));
    found("non-default capabilities", text)
}

fn host_namespaces(pod: &Pod<'_>) -> Found {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let list: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    if list.is_empty() { None } else { found("host namespaces", list.join(", ")) }
}

fn host_paths(pod: &Pod<'_>) -> Found {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<String> = volumes.filter(|volume| !volume["hostPath"].is_null()).map(name).collect();
    if names.is_empty() {
        return None;
    }
    found("hostPath volumes", format!("{} {}", plural("volume", names.len()), quoted(&names)))
}

fn host_ports(pod: &Pod<'_>) -> Found {
    let used = |container: &Value| -> Vec<String> {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports
            .filter_map(|port| port["hostPort"].as_u64())
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
            .collect()
    };
    let containers = pod.named_where(|container| !used(container).is_empty());
    let ports: BTreeSet<String> = pod.containers().flat_map(used).collect();
    if containers.is_empty() {
        return None;
    }
    let uses = if containers.len() == 1 { "uses" } else { "use" };
    let list = ports.iter().cloned().collect::<Vec<_>>().join(", ");
    found("hostPort", format!("{} {uses} {} {list}", named(&containers), plural("hostPort", ports.len())))
}

fn probe_hosts(pod: &Pod<'_>) -> Found {
    const HANDLERS: &[&str] =
        &["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
    let hosts = |container: &Value| -> Vec<String> {
        let handlers = HANDLERS.iter().filter_map(|path| container.pointer(path));
        let both =
            handlers.flat_map(|handler| [text(&handler["httpGet"]["host"]), text(&handler["tcpSocket"]["host"])]);
        both.filter(|host| !host.is_empty()).collect()
    };
    let containers: BTreeSet<String> = pod.named_where(|container| !hosts(container).is_empty()).into_iter().collect();
    let containers: Vec<String> = containers.into_iter().collect();
    let all: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    if containers.is_empty() {
        return None;
    }
    let uses = if containers.len() == 1 { "uses" } else { "use" };
    let what = plural("probe or lifecycle host", all.len());
    found("probe or lifecycle host", format!("{} {uses} {what} {}", named(&containers), quoted(&all)))
}

fn privileged(pod: &Pod<'_>) -> Found {
    let containers = pod.named_where(|container| container["securityContext"]["privileged"] == true);
    if containers.is_empty() {
        return None;
    }
    found("privileged", format!("{} must not set securityContext.privileged=true", named(&containers)))
}

fn proc_mount(pod: &Pod<'_>) -> Found {
    if pod.minor >= 35 && pod.has_own_users() {
        return None;
    }
    any_proc_mount(pod)
}

fn any_proc_mount(pod: &Pod<'_>) -> Found {
    let other = |container: &Value| {
        let mount = &container["securityContext"]["procMount"];
        (!mount.is_null() && mount != "Default").then(|| text(mount))
    };
    let containers = pod.named_where(|container| other(container).is_some());
    let kinds: BTreeSet<String> = pod.containers().filter_map(other).collect();
    if containers.is_empty() {
        return None;
    }
    found("procMount", format!("{} must not set securityContext.procMount to {}", named(&containers), quoted(&kinds)))
}

fn selinux(pod: &Pod<'_>) -> Found {
    let allowed = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || kind == "container_engine_t" && pod.minor >= 31
    };
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut wrong = |holder: &Value| {
        let options = &holder["securityContext"]["seLinuxOptions"];
        let (kind, has_user, has_role) =
            (text(&options["type"]), !text(&options["user"]).is_empty(), !text(&options["role"]).is_empty());
        let bad = !allowed(&kind);
        user |= has_user;
        role |= has_role;
        if bad {
            types.insert(kind);
        }
        bad || has_user || has_role
    };
    let of_pod = wrong(pod.spec);
    let containers: Vec<String> = pod.containers().filter(|container| wrong(container)).map(name).collect();
    let who = setters(of_pod, &containers)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", types.len()), quoted(&types)));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    let what = what.join("; ");
    found("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {what}"))
}

/// The type of a seccomp profile that is set to something that no level allows.
pub(super) fn bad_seccomp(holder: &Value) -> Option<String> {
    let profile = &holder["securityContext"]["seccompProfile"];
    let kind = text(&profile["type"]);
    (!profile.is_null() && !matches!(kind.as_str(), "Localhost" | "RuntimeDefault")).then_some(kind)
}

/// What is said of profiles that are set wrong.
pub(super) fn set_seccomp(pod: &Pod<'_>) -> Found {
    let of_pod = bad_seccomp(pod.spec);
    let containers = pod.named_where(|container| bad_seccomp(container).is_some());
    let mut kinds: BTreeSet<String> = pod.containers().filter_map(bad_seccomp).collect();
    let who = setters(of_pod.is_some(), &containers)?;
    kinds.extend(of_pod);
    found("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(&kinds)))
}

fn seccomp(pod: &Pod<'_>) -> Found {
    const OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    if pod.minor >= 19 {
        return set_seccomp(pod);
    }
    let fine = |value: &str| matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
    let keys = pod.containers().map(|one| format!("container.seccomp.security.alpha.kubernetes.io/{}", name(one)));
    let keys = [OF_POD.to_owned()].into_iter().chain(keys);
    let wrong = keys.filter_map(|key| Some((pod.annotations[&key].as_str()?.to_owned(), key)));
    let wrong = wrong.filter(|(value, _)| !fine(value));
    let list: BTreeSet<String> = wrong.map(|(value, key)| format!("{key}={value:?}")).collect();
    if list.is_empty() {
        return None;
    }
    let shown = list.iter().cloned().collect::<Vec<_>>().join(", ");
    found("seccompProfile", format!("forbidden {} {shown}", plural("annotation", list.len())))
}

fn sysctls(pod: &Pod<'_>) -> Found {
    /// Names, and the version that first allows them.
    const ALLOWED: &[(&str, u64)] = &[
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ];
    let all = pod.spec["securityContext"]["sysctls"].as_array().into_iter().flatten().map(name);
    let fine = |own: &String| ALLOWED.iter().any(|(name, since)| name == own && *since <= pod.minor);
    let list: Vec<String> = all.filter(|own| !fine(own)).collect();
    if list.is_empty() { None } else { found("forbidden sysctls", list.join(", ")) }
}

fn host_process(pod: &Pod<'_>) -> Found {
    let is = |holder: &Value| holder["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let who = setters(is(pod.spec), &pod.named_where(is))?;
    found("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
