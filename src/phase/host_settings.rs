//! Phase `host-settings`: kernel modules and settings that pod networking needs.

use std::path::Path;

use futures::FutureExt;

use super::init::InitContext;
use super::{Phase, Result};
use crate::config::Settings;
use crate::host::{Change, Command, Host, record};
use crate::report::Reporter;

const MODULES: &[&str] = &["overlay", "br_netfilter"];
const MODULES_FILE: &str = "/etc/modules-load.d/kinit.conf";
const SETTINGS: &[&str] =
    &["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"];
/// What a cluster with IPv6 addresses needs beside these. Forwarding makes a host ignore what routers tell it, so it is not
/// switched on for nothing.
const SETTINGS_6: &[&str] = &["net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding"];
const SETTINGS_FILE: &str = "/etc/sysctl.d/99-kinit.conf";

/// The phase.
pub const PHASE: Phase<InitContext> = Phase::leaf(
    "host-settings",
    "loads kernel modules and switches packet forwarding on, now and at each boot",
    |context| {
        async move {
            let six = has_six(&context.settings.cluster);
            apply(context.host.as_ref(), six, context.reporter.as_ref()).await
        }
        .boxed()
    },
);

/// Whether a cluster has IPv6 addresses.
pub fn has_six(cluster: &Settings) -> bool {
    cluster.pod_subnet.iter().chain(cluster.service_subnet.iter()).any(|range| range.address().is_ipv6())
}

/// Applies all that this host lets; `six` says whether IPv6 packets are to be forwarded, too.
pub async fn apply(host: &dyn Host, six: bool, reporter: &dyn Reporter) -> Result {
    let mut change = Change::Unchanged;
    for module in MODULES {
        let folder = Path::new("/sys/module").join(module);
        if !host.list(&folder)?.is_empty() || has_effect(host, module)? {
            continue;
        }
        // A kernel that has it built in refuses to load it; whether it works is seen by its settings below.
        match host.run(Command::new("modprobe", &[module])).await {
            Ok(output) if output.success => host.note(record::Entry::Module { name: (*module).into() })?,
            _ => reporter.info(&format!("[host-settings] module {module} could not be loaded; taken to be built in")),
        }
    }
    let mut kept = Vec::new();
    for name in SETTINGS.iter().chain(SETTINGS_6.iter().filter(|_| six)) {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let Some(value) = host.read(&path)? else { continue };
        kept.push(*name);
        let value = String::from_utf8_lossy(&value).trim().to_owned();
        if value == "1" {
            continue;
        }
        host.note(record::Entry::Sysctl { path: path.clone(), before: value })?;
        match host.run(Command::new("sysctl", &["-qw", &format!("{name}=1")])).await {
            Ok(output) if output.success => change = Change::Changed,
            _ => reporter
                .warn(&format!("{name} could not be set to 1 here; set it where the host gets its settings from")),
        }
    }
    let modules = MODULES.iter().map(|name| format!("{name}\n")).collect::<String>();
    let settings = kept.iter().map(|name| format!("{name} = 1\n")).collect::<String>();
    change = change.or(host.write(Path::new(MODULES_FILE), modules.as_bytes(), 0o644)?);
    Ok(change.or(host.write(Path::new(SETTINGS_FILE), settings.as_bytes(), 0o644)?).into())
}

/// Whether a setting that there is has another value than pods need.
pub fn are_off(host: &dyn Host) -> std::result::Result<bool, crate::host::Error> {
    for name in SETTINGS {
        let value = host.read(&Path::new("/proc/sys").join(name.replace('.', "/")))?;
        if value.is_some_and(|value| value.trim_ascii() != b"1") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the kernel shows what the module brings, loaded or built in.
fn has_effect(host: &dyn Host, module: &str) -> anyhow::Result<bool> {
    Ok(match module {
        "overlay" => {
            let known = host.read(Path::new("/proc/filesystems"))?.unwrap_or_default();
            String::from_utf8_lossy(&known).lines().any(|line| line.ends_with("\toverlay"))
        }
        _ => host.read(Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables"))?.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MemoryHost;

    #[tokio::test]
    async fn forwarding_of_ipv6_is_for_clusters_that_have_it() {
        for six in [false, true] {
            let host = MemoryHost::empty().unwrap();
            for name in SETTINGS.iter().chain(SETTINGS_6) {
                host.write(&Path::new("/proc/sys").join(name.replace('.', "/")), b"0\n", 0o644).unwrap();
            }
            apply(&host, six, &crate::report::Silent).await.unwrap();
            let text = String::from_utf8(host.read(Path::new(SETTINGS_FILE)).unwrap().unwrap()).unwrap();
            assert_eq!(text.contains("net.ipv6.conf.default.forwarding = 1"), six);
            assert!(text.contains("net.ipv4.ip_forward = 1"));
        }
    }
}
