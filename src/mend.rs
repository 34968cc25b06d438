//! `kinit preflight --fix`: mending what preflight finds. [`plan`] is pure over the host's files and tells every step
//! before any is taken; [`run`] takes them.

use std::path::Path;

use kinit_preflight::Finding;

use crate::host::{self, Command, Host};
use crate::phase::host_settings;
use crate::report::Reporter;

const FSTAB: &str = "/etc/fstab";

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Swap is switched off.
    SwapOff,
    /// Lines of swap in fstab are commented out.
    Fstab,
    /// Kernel modules and settings.
    Kernel,
    /// Forwarding of IPv6 packets.
    Forward6,
    /// A program's package is installed.
    Install(&'static str),
    /// containerd is started, now and at each boot.
    StartRuntime,
    /// A name is added to /etc/hosts.
    Hosts(String),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SwapOff => f.write_str("switch swap off"),
            Self::Fstab => write!(f, "comment swap out in {FSTAB}"),
            Self::Kernel => f.write_str("load kernel modules and switch packet forwarding on, now and at each boot"),
            Self::Forward6 => f.write_str("switch forwarding of IPv6 packets on, now and at each boot"),
            Self::Install(package) => write!(f, "install {package} with apt-get"),
            Self::StartRuntime => f.write_str("start containerd, now and at each boot"),
            Self::Hosts(name) => write!(f, "add {name} to /etc/hosts"),
        }
    }
}

/// What mends the findings, in order; findings that nothing mends have no step.
pub fn plan(host: &dyn Host, findings: &[Finding]) -> Result<Vec<Step>, host::Error> {
    let mut steps: Vec<Step> = Vec::new();
    let mut add = |step: Step| {
        if !steps.contains(&step) {
            steps.push(step);
        }
    };
    for finding in findings {
        match finding.name.as_str() {
            "Swap" => {
                add(Step::SwapOff);
                let table = host.read(Path::new(FSTAB))?.unwrap_or_default();
                if without_swap(&String::from_utf8_lossy(&table)).is_some() {
                    add(Step::Fstab);
                }
            }
            "CRI" => {
                if host.read(Path::new("/usr/bin/containerd"))?.is_none() {
                    add(Step::Install("containerd"));
                }
                add(Step::StartRuntime);
            }
            "CNIPlugin" => add(Step::Install("containernetworking-plugins")),
            "Hostname" if finding.message.contains("does not resolve") => {
                let name = finding.message.split('"').nth(1).unwrap_or_default();
                add(Step::Hosts(name.to_owned()));
            }
            name if name.starts_with("FileContent--proc-sys-net-ipv6") => add(Step::Forward6),
            name if name.starts_with("FileContent-") => add(Step::Kernel),
            name => {
                let program = name.strip_prefix("FileExisting-");
                let package = program.and_then(kinit_preflight::checks::package_of);
                if let Some(package) = package {
                    add(Step::Install(package));
                }
            }
        }
    }
    // What init and join switch on by themselves is no finding, but who asks for mending wants it, too.
    if host_settings::are_off(host)? {
        add(Step::Kernel);
    }
    Ok(steps)
}

/// fstab with its lines of swap commented out; `None` if it has none.
pub fn without_swap(table: &str) -> Option<String> {
    let is_swap = |line: &str| !line.trim_start().starts_with('#') && line.split_whitespace().nth(2) == Some("swap");
    if !table.lines().any(is_swap) {
        return None;
    }
    Some(table.lines().map(|line| if is_swap(line) { format!("# {line}\n") } else { format!("{line}\n") }).collect())
}

/// Takes the steps. What others' files held before is kept for reset.
pub async fn run(host: &dyn Host, steps: &[Step], reporter: &dyn Reporter) -> anyhow::Result<()> {
    for step in steps {
        reporter.info(&format!("[fix] {step}"));
        take(host, step, reporter).await?;
    }
    Ok(())
}

async fn take(host: &dyn Host, step: &Step, reporter: &dyn Reporter) -> anyhow::Result<()> {
    match step {
        Step::SwapOff => {
            host::run(host, Command::new("swapoff", &["-a"])).await?;
        }
        Step::Fstab => {
            let table = host.read(Path::new(FSTAB))?.unwrap_or_default();
            if let Some(text) = without_swap(&String::from_utf8_lossy(&table)) {
                host.preserve(Path::new(FSTAB))?;
                host.write(Path::new(FSTAB), text.as_bytes(), 0o644)?;
            }
        }
        Step::Kernel => {
            host_settings::apply(host, false, reporter).await?;
        }
        Step::Forward6 => {
            host_settings::apply(host, true, reporter).await?;
        }
        Step::Install(package) => {
            host::run(host, Command::new("apt-get", &["install", "-y", "--no-install-recommends", package])).await?;
        }
        Step::StartRuntime => {
            host::run(host, Command::new("systemctl", &["enable", "--now", "--quiet", "containerd.service"])).await?;
        }
        Step::Hosts(name) => {
            let path = Path::new("/etc/hosts");
            let table = host.read(path)?.unwrap_or_default();
            let mut text = String::from_utf8_lossy(&table).into_owned();
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("127.0.1.1 {name}\n"));
            host.preserve(path)?;
            host.write(path, text.as_bytes(), 0o644)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MemoryHost;
    use crate::report::Silent;

    const TABLE: &str = "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n# /swap none swap sw 0 0\n";

    fn found(name: &str) -> Finding {
        Finding::error(name, "it is \"cp1\" and does not resolve", "do it")
    }

    #[test]
    fn each_finding_has_its_steps() {
        let host = MemoryHost::empty().unwrap();
        host.write(Path::new(FSTAB), TABLE.as_bytes(), 0o644).unwrap();
        for (name, wanted) in [
            ("Swap", vec![Step::SwapOff, Step::Fstab]),
            ("CRI", vec![Step::Install("containerd"), Step::StartRuntime]),
            ("FileContent--proc-sys-net-ipv4-ip_forward", vec![Step::Kernel]),
            ("FileContent--proc-sys-net-ipv6-conf-default-forwarding", vec![Step::Forward6]),
            ("FileExisting-conntrack", vec![Step::Install("conntrack")]),
            ("Hostname", vec![Step::Hosts("cp1".into())]),
            ("NumCPU", vec![]),
        ] {
            assert_eq!(plan(&host, &[found(name), found(name)]).unwrap(), wanted, "{name}");
        }
    }

    #[test]
    fn settings_that_are_off_are_switched_on_without_a_finding() {
        let host = MemoryHost::empty().unwrap();
        let path = Path::new("/proc/sys/net/ipv4/ip_forward");
        host.write(path, b"1\n", 0o644).unwrap();
        assert_eq!(plan(&host, &[]).unwrap(), []);
        host.write(path, b"0\n", 0o644).unwrap();
        assert_eq!(plan(&host, &[]).unwrap(), [Step::Kernel]);
    }

    #[tokio::test]
    async fn swap_goes_out_of_fstab_and_nothing_else_does() {
        let host = MemoryHost::empty().unwrap();
        host.write(Path::new(FSTAB), TABLE.as_bytes(), 0o644).unwrap();
        run(&host, &plan(&host, &[found("Swap")]).unwrap(), &Silent).await.unwrap();
        let text = String::from_utf8(host.read(Path::new(FSTAB)).unwrap().unwrap()).unwrap();
        assert_eq!(text, TABLE.replace("\n/dev/sda2", "\n# /dev/sda2"));
        assert_eq!(plan(&host, &[found("Swap")]).unwrap(), [Step::SwapOff]);
    }
}
