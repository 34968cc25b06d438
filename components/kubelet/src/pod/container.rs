//! What the runtime is told of a container.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use kinit_cri::v1::{
    Capability, ContainerConfig, ContainerMetadata, Image, ImageSpec, Int64Value, LinuxContainerConfig,
    LinuxContainerResources, LinuxContainerSecurityContext, Mount, SeLinuxOption,
};

use super::actions::hash;
use super::env::{expand, to_wire};
use super::facts::{self, Qos};
use super::resize::RESOURCES;
use super::state::{CONTAINER_HASH, CONTAINER_NAME, GRACE_PERIOD, MESSAGE_PATH, RESTART_COUNT};
use super::{sandbox, state};
use crate::error::{Error, Result};

/// What the kernel shows and containers should not see.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What containers may see and not change.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const CPU_PERIOD: i64 = 100_000;
const LEAST_QUOTA: i64 = 1000;
const LEAST_SHARES: i64 = 2;

/// File of a container's log, below the pod's folder of logs.
pub fn log_path(name: &str, restarts: u32) -> String {
    format!("{name}/{restarts}.log")
}

/// Where a container leaves its last words, unless it says otherwise.
pub fn message_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/dev/termination-log")
}

/// The configuration of a container.
pub fn config(
    pod: &Pod,
    container: &Container,
    image: &str,
    variables: Vec<(String, String)>,
    mounts: Vec<Mount>,
    restarts: u32,
    memory: u64,
) -> Result<ContainerConfig> {
    let known: HashMap<String, String> = variables.iter().cloned().collect();
    let expanded =
        |all: &Option<Vec<String>>| all.iter().flatten().map(|text| expand(text, &known)).collect::<Vec<_>>();
    let mut labels = sandbox::labels(pod);
    labels.insert(CONTAINER_NAME.into(), container.name.clone());
    let annotations = HashMap::from([
        (CONTAINER_HASH.to_owned(), hash(container)),
        (RESTART_COUNT.to_owned(), restarts.to_string()),
        (MESSAGE_PATH.to_owned(), message_path(container).to_owned()),
        (GRACE_PERIOD.to_owned(), facts::grace_period(pod).to_string()),
        (RESOURCES.to_owned(), serde_json::json!(container.resources.clone().unwrap_or_default()).to_string()),
    ]);
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: restarts }),
        image: Some(ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: to_wire(variables),
        mounts,
        labels,
        annotations,
        log_path: log_path(&container.name, restarts),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(resources(pod, container, memory)),
            security_context: Some(security(pod, container)?),
        }),
    })
}

/// What a container may use, in the runtime's form; `memory` is the host's.
pub fn resources(pod: &Pod, container: &Container, memory: u64) -> LinuxContainerResources {
    let resources = container.resources.clone().unwrap_or_default();
    let get =
        |all: &Option<std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>,
         name: &str| {
            all.as_ref().and_then(|all| all.get(name)).and_then(|quantity| facts::milli(&quantity.0))
        };
    let cpu_limit = get(&resources.limits, "cpu");
    let cpu = get(&resources.requests, "cpu").or(cpu_limit).unwrap_or(0);
    let memory_limit = get(&resources.limits, "memory").map(|milli| milli / 1000);
    let memory_request = get(&resources.requests, "memory").map(|milli| milli / 1000).or(memory_limit).unwrap_or(0);
    LinuxContainerResources {
        cpu_period: if cpu_limit.is_some() { CPU_PERIOD } else { 0 },
        cpu_quota: cpu_limit.map_or(0, |milli| (milli * CPU_PERIOD / 1000).max(LEAST_QUOTA)),
        cpu_shares: (cpu * 1024 / 1000).max(LEAST_SHARES),
        memory_limit_in_bytes: memory_limit.unwrap_or(0),
        oom_score_adj: oom_score(pod, memory_request, memory),
    }
}

/// How soon the kernel ends a container when memory runs out: the more of the node it asked for, the later.
fn oom_score(pod: &Pod, request: i64, memory: u64) -> i64 {
    const FIRST: i64 = 1000;
    const LAST: i64 = -997;
    let critical = pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|priority| priority >= 2_000_000_000);
    match facts::qos(pod) {
        _ if critical => LAST,
        Qos::Guaranteed => LAST,
        Qos::BestEffort => FIRST,
        Qos::Burstable => (FIRST - FIRST * request / (memory.max(1) as i64)).clamp(3, FIRST - 1),
    }
}

/// Refuses a container that must not run as root and would.
pub fn check_user(pod: &Pod, container: &Container, image: &Image) -> Result<()> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let must_not = own.and_then(|own| own.run_as_non_root).or_else(|| of_pod?.run_as_non_root);
    if must_not != Some(true) {
        return Ok(());
    }
    let user = own.and_then(|own| own.run_as_user).or_else(|| of_pod?.run_as_user);
    let refuse = |why: String| {
        Err(Error::Told(format!("{why} (pod: {:?}, container: {})", facts::runtime_name(pod), container.name)))
    };
    match (user, &image.uid, image.username.as_str()) {
        (Some(0), ..) => refuse("container's runAsUser breaks non-root policy".into()),
        (Some(_), ..) => Ok(()),
        (None, Some(uid), _) if uid.value == 0 => {
            refuse("container has runAsNonRoot and image will run as root".into())
        }
        (None, None, "") => refuse("container has runAsNonRoot and image will run as root".into()),
        (None, None, name) if name != "0" => refuse(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        )),
        _ => Ok(()),
    }
}

fn security(pod: &Pod, container: &Container) -> Result<LinuxContainerSecurityContext> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(of_pod.run_as_user);
    let privileged = own.privileged.unwrap_or(false);
    let paths =
        |all: &[&str]| if privileged { Vec::new() } else { all.iter().map(|path| (*path).to_owned()).collect() };
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let mut groups = of_pod.supplemental_groups.unwrap_or_default();
    groups.extend(of_pod.fs_group);
    let capabilities = own.capabilities.map(|all| Capability {
        add_capabilities: all.add.unwrap_or_default(),
        drop_capabilities: all.drop.unwrap_or_default(),
    });
    Ok(LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(sandbox::namespaces(pod)),
        run_as_user: user.map(|value| Int64Value { value }),
        run_as_group: own.run_as_group.or(of_pod.run_as_group).map(|value| Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups,
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: if unmasked { Vec::new() } else { paths(MASKED) },
        readonly_paths: if unmasked { Vec::new() } else { paths(READ_ONLY) },
        seccomp: Some(sandbox::seccomp(
            own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()).filter(|_| !privileged),
        )),
        apparmor: own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref()).map(|profile| {
            let localhost = profile.localhost_profile.as_deref();
            sandbox::profile(Some(profile.type_.as_str()), localhost.unwrap_or_default().to_owned())
        }),
        selinux_options: own.se_linux_options.or(of_pod.se_linux_options).map(|options| SeLinuxOption {
            user: options.user.unwrap_or_default(),
            role: options.role.unwrap_or_default(),
            r#type: options.type_.unwrap_or_default(),
            level: options.level.unwrap_or_default(),
        }),
        ..Default::default()
    })
}

/// The container of a name, ephemeral ones included.
pub fn find(pod: &Pod, name: &str) -> Option<Container> {
    let spec = pod.spec.as_ref()?;
    if let Some(container) = facts::containers(spec).find(|container| container.name == name) {
        return Some(container.clone());
    }
    let ephemeral = spec.ephemeral_containers.iter().flatten().find(|container| container.name == name)?;
    // The two kinds have the same fields but one.
    serde_json::from_value(serde_json::to_value(ephemeral).ok()?).ok()
}

/// The label by which a container's things are found.
pub const NAME_LABEL: &str = state::CONTAINER_NAME;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(spec: serde_json::Value) -> ContainerConfig {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap();
        let container = pod.spec.as_ref().unwrap().containers[0].clone();
        let variables = vec![("A".to_owned(), "1".to_owned())];
        config(&pod, &container, "image", variables, Vec::new(), 2, 8 << 30).unwrap()
    }

    #[test]
    fn resources_become_shares_and_quota() {
        let config = made(json!({"containers": [{"name": "a", "args": ["$(A)"], "resources":
            {"requests": {"cpu": "250m", "memory": "4Gi"}, "limits": {"cpu": "500m", "memory": "8Gi"}}}]}));
        let resources = config.linux.unwrap().resources.unwrap();
        assert_eq!((resources.cpu_shares, resources.cpu_quota, resources.cpu_period), (256, 50_000, 100_000));
        assert_eq!((resources.memory_limit_in_bytes, resources.oom_score_adj), (8 << 30, 500));
        assert_eq!((config.args, config.log_path), (vec!["1".to_owned()], "a/2.log".to_owned()));
    }

    #[test]
    fn security_is_taken_over() {
        let config = made(
            json!({"securityContext": {"runAsUser": 1, "fsGroup": 9}, "containers": [{"name": "a", "securityContext":
            {"runAsUser": 5, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true}}]}),
        );
        let security = config.linux.unwrap().security_context.unwrap();
        assert_eq!(security.run_as_user, Some(Int64Value { value: 5 }));
        assert_eq!(
            (security.no_new_privs, security.readonly_rootfs, security.supplemental_groups),
            (true, true, vec![9])
        );
        assert!(security.masked_paths.contains(&"/proc/kcore".to_owned()));
        assert_eq!(security.capabilities.unwrap().drop_capabilities, ["ALL"]);
    }
}
