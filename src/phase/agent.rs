//! Phase `agent`: the program that stays on the node beside the kubelet.

use std::path::{Path, PathBuf};

use futures::FutureExt;
use serde_json::json;

use super::init::InitContext;
use super::{Outcome, Phase, Result};
use crate::agent::renewal::Work;
use crate::agent::{Balanced, CONFIG, Config};
use crate::host::{self, Change, Command, Host, record};
use crate::images::Binaries;
use crate::templates;

/// The agent's unit.
pub const UNIT: &str = "kinit-agent.service";
const UNIT_FILE: &str = "/etc/systemd/system/kinit-agent.service";

/// The phase.
pub const PHASE: Phase<InitContext> =
    Phase::leaf("agent", "starts the way to the API servers and the renewal of certificates", |context| {
        async move {
            let settings = &context.settings;
            let own = crate::config::net::host_port(&settings.advertise_address.to_string(), settings.bind_port);
            let folder = settings.cluster.certificates_dir.clone();
            let config = Config {
                balancer: settings.cluster.balanced.then(|| Balanced {
                    own: Some(own.clone()),
                    servers: vec![own],
                    ca: folder.join("ca.crt"),
                }),
                renewal: Some(Work { folder, algorithm: settings.cluster.issuance.algorithm.to_string() }),
                snapshots: None,
            };
            start(context.host.as_ref(), &config).await
        }
        .boxed()
    });

/// Writes what the agent is to do, and has it do that. What an agent that was here before has learned is kept.
pub async fn start(host: &dyn Host, config: &Config) -> Result {
    let mut config = config.clone();
    if let Some(present) = host.read(Path::new(CONFIG))? {
        let present: Config = serde_json::from_slice(&present)?;
        config.snapshots = present.snapshots;
        if let (Some(new), Some(old)) = (&mut config.balancer, present.balancer) {
            new.servers.extend(old.servers);
            new.servers.sort();
            new.servers.dedup();
        }
    }
    let change = host.write(Path::new(CONFIG), config.to_text()?.as_bytes(), 0o600)?;
    run(host, change).await
}

/// The agent of this build in place of the one that runs, if one does.
pub async fn replace(host: &dyn Host) -> Result {
    if host.read(Path::new(CONFIG))?.is_none() {
        return Ok(Outcome::Skipped("there is none on this node".into()));
    }
    run(host, Change::Unchanged).await
}

/// The agent anew, because its file says something else: it reads that once.
pub async fn restart(host: &dyn Host) -> Result {
    if host.read(Path::new(CONFIG))?.is_none() {
        return Ok(Outcome::Skipped("there is none on this node".into()));
    }
    run(host, Change::Changed).await
}

/// Starts the agent; where systemd does not run, the kubelet's supervisor does that.
async fn run(host: &dyn Host, mut change: Change) -> Result {
    if !host::has_systemd(host) {
        return Ok(change.into());
    }
    let program = PathBuf::from(Binaries::INSTALLED).join("kinit");
    let own = std::env::current_exe()?;
    change = change.or(host.install(&own, &program, 0o755)?);
    let digest = crate::images::digest_of_file(&own)?;
    let build: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
    let text = templates::render(templates::AGENT_SERVICE, json!({"kinit": program, "build": build}))?;
    host.note(record::Entry::Unit { name: UNIT.into() })?;
    change = change.or(host.write(Path::new(UNIT_FILE), text.as_bytes(), 0o644)?);
    host::run(host, Command::new("systemctl", &["daemon-reload"])).await?;
    host::run(host, Command::new("systemctl", &["enable", "--quiet", UNIT])).await?;
    let verb = if change == Change::Changed { "restart" } else { "start" };
    host::run(host, Command::new("systemctl", &[verb, UNIT])).await?;
    Ok(change.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::MemoryHost;

    #[tokio::test]
    async fn what_the_agent_learned_is_kept() {
        let host = MemoryHost::empty().unwrap();
        let config = |server: &str| Config {
            balancer: Some(Balanced { own: None, servers: vec![server.into()], ca: "/ca".into() }),
            ..Config::default()
        };
        assert_eq!(start(&host, &config("b:1")).await.unwrap(), Outcome::Changed);
        assert_eq!(start(&host, &config("a:1")).await.unwrap(), Outcome::Changed);
        assert_eq!(start(&host, &config("b:1")).await.unwrap(), Outcome::Unchanged);
        let text = host.read(Path::new(CONFIG)).unwrap().unwrap();
        let kept: Config = serde_json::from_slice(&text).unwrap();
        assert_eq!(kept.balancer.unwrap().servers, ["a:1", "b:1"]);
    }
}
