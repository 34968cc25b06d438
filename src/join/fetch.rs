//! Asking a control plane over SSH for what joining needs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::JoinOverrides;
use crate::host::{Host, RealHost, record};
use crate::images::{Binaries, COMPONENTS, HOST_BINARIES};
use crate::report::Reporter;
use crate::ssh::{Credentials, KnownHosts, Session, Target, Unknown};

/// The file in which init notes where kinit and the components are.
pub const HOME_FILE: &str = "/var/lib/kinit/home.json";

/// Where kinit and the components are on a control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Home {
    kinit: PathBuf,
    binaries: PathBuf,
}

/// Notes where this host's kinit and components are, for nodes that ask over SSH.
pub fn write_home(host: &dyn Host, binaries: &Binaries) -> anyhow::Result<()> {
    let kinit = std::env::current_exe()?;
    let kubelet = binaries.find("kubelet")?;
    let folder = kubelet.parent().unwrap_or(Path::new("/")).canonicalize()?;
    let text = serde_json::to_string(&Home { kinit, binaries: folder })?;
    host.write(Path::new(HOME_FILE), text.as_bytes(), 0o600)?;
    Ok(())
}

/// Whether a path may stand in a command line there: only what needs no quoting may.
fn is_plain(path: &Path) -> bool {
    let text = path.display().to_string();
    path.is_absolute() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c))
}

/// What `kinit token create --print-join-command -o json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ticket {
    /// `host:port` of the API.
    pub endpoint: String,
    /// A token.
    pub token: String,
    /// Hash of the cluster's CA.
    pub ca_cert_hash: String,
}

/// Fetches a ticket, and the binaries that this host lacks.
pub async fn fetch(
    target: &Target,
    credentials: &Credentials,
    unknown: Unknown,
    binaries: &Binaries,
    reporter: &dyn Reporter,
) -> anyhow::Result<JoinOverrides> {
    let session = Session::open(target, credentials, &KnownHosts::of_user(), unknown).await?;
    let files = session.files().await?;
    let home = files.read(HOME_FILE).await.map_err(|error| {
        anyhow::anyhow!(
            "{error}\nhint: is {target} a control plane that kinit init made, and are you root there?\ncode: Ssh"
        )
    })?;
    let home: Home = serde_json::from_slice(&home).with_context(|| format!("{target}: {HOME_FILE}"))?;
    if !is_plain(&home.kinit) {
        anyhow::bail!("{target}: kinit there is at {:?}, which is no plain path\ncode: Ssh", home.kinit);
    }
    let kinit = home.kinit.display();
    let command = format!("{kinit} token create --ttl 30m --description joined-over-ssh --print-join-command -o json");
    let ran = session.run(&command, |_| {}).await?;
    if ran.code != Some(0) {
        anyhow::bail!("{target}: making a token failed: {}", ran.stderr.trim_start_matches("error: "));
    }
    let ticket: Ticket =
        serde_json::from_str(&ran.stdout).with_context(|| format!("{target}: the answer is not understood"))?;
    let host = RealHost::new()?;
    let wanted = COMPONENTS.iter().filter(|component| component.on_workers).map(|component| component.name);
    for name in wanted.chain(HOST_BINARIES.iter().copied()) {
        if binaries.find(name).is_ok() {
            continue;
        }
        reporter.info(&format!("[fetch] copies {name} from {target}"));
        let to: PathBuf = Path::new(Binaries::INSTALLED).join(name);
        host.stage(Path::new(Binaries::INSTALLED))?;
        std::fs::create_dir_all(Binaries::INSTALLED).context(Binaries::INSTALLED)?;
        host.note(record::Entry::File { path: to.clone() })?;
        let temporary = to.with_extension("new");
        files.download(&home.binaries.join(name).display().to_string(), &temporary).await?;
        std::fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        std::fs::rename(&temporary, &to)?;
    }
    drop(files);
    session.close().await;
    Ok(JoinOverrides {
        endpoint: Some(ticket.endpoint),
        token: Some(ticket.token),
        hashes: vec![ticket.ca_cert_hash],
        ..JoinOverrides::default()
    })
}
