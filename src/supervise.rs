//! Keeping the kubelet running where no systemd does: a small supervisor of our own.
//!
//! `kinit supervise` runs the kubelet with the flags that its files give, starts it again when it ends, ever slower up to
//! ten seconds, and ends it when it is itself told to end. SIGHUP restarts the kubelet.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::host::{self, Command, Host};
use crate::phase::kubelet::{KUBELET, KUBELET_DIR};
use crate::phase::wait::until;
use crate::report::Outcome;

const PID_FILE: &str = "/run/kinit/kubelet-supervisor.pid";
const LOG_FILE: &str = "/var/log/kinit/kubelet.log";
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A kubelet that ran this long did not end for the reason that the one before did.
const HEALTHY: Duration = Duration::from_secs(30);

/// Starts a supervisor in the background, or has the one that runs restart the kubelet.
pub async fn start(host: &dyn Host) -> anyhow::Result<Outcome> {
    if let Some(pid) = running(host)? {
        kill(pid, Signal::SIGHUP).context("signalling the supervisor")?;
        return Ok(Outcome::Changed);
    }
    let kinit = std::env::current_exe().context("finding kinit's own path")?;
    let kinit = kinit.display().to_string();
    host::run(host, Command::new(&kinit, &["supervise", "--background"])).await?;
    Ok(Outcome::Changed)
}

/// Ends the supervisor and the kubelet.
pub async fn stop(host: &dyn Host) -> anyhow::Result<()> {
    let Some(pid) = running(host)? else { return Ok(()) };
    kill(pid, Signal::SIGTERM).context("signalling the supervisor")?;
    until(Duration::from_secs(30), || async {
        if is_supervisor(host, pid) { Err("it still runs".to_owned()) } else { Ok(()) }
    })
    .await
    .map_err(|last| anyhow::anyhow!("the supervisor of the kubelet does not end: {last}"))?;
    host.remove(Path::new(PID_FILE))?;
    Ok(())
}

fn running(host: &dyn Host) -> anyhow::Result<Option<Pid>> {
    let Some(text) = host.read(Path::new(PID_FILE))? else { return Ok(None) };
    let pid = String::from_utf8_lossy(&text).trim().parse().ok().map(Pid::from_raw);
    Ok(pid.filter(|pid| is_supervisor(host, *pid)))
}

/// A process id alone may be somebody else's by now.
fn is_supervisor(host: &dyn Host, pid: Pid) -> bool {
    let path = format!("/proc/{pid}/cmdline");
    matches!(host.read(Path::new(&path)), Ok(Some(line)) if line.split(|byte| *byte == 0).any(|part| part == b"supervise"))
}

/// Starts this program again, cut off from the terminal and from whoever started it.
pub fn background() -> anyhow::Result<()> {
    for file in [PID_FILE, LOG_FILE] {
        if let Some(folder) = Path::new(file).parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
    }
    let log = fs::OpenOptions::new().append(true).create(true).open(LOG_FILE).context(LOG_FILE)?;
    std::process::Command::new(std::env::current_exe()?)
        .arg("supervise")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("starting the supervisor")?;
    Ok(())
}

/// Runs the kubelet until told to end.
pub async fn run() -> anyhow::Result<()> {
    // It fails only for a process that leads its group already, which is as good.
    let _ = nix::unistd::setsid();
    fs::write(PID_FILE, format!("{}\n", std::process::id())).context(PID_FILE)?;
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut restart = signal(SignalKind::hangup())?;
    let mut pause = FIRST_PAUSE;
    let mut agent = start_agent();
    loop {
        let begin = Instant::now();
        let mut child = tokio::process::Command::new(KUBELET).args(arguments()?).spawn().context(KUBELET)?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let stop = tokio::select! {
            _ = child.wait() => None,
            _ = end.recv() => Some(true),
            _ = interrupt.recv() => Some(true),
            _ = restart.recv() => Some(false),
        };
        if let Some(for_good) = stop {
            if let Some(pid) = pid {
                let _ = kill(pid, Signal::SIGTERM);
            }
            child.wait().await?;
            if for_good {
                return Ok(());
            }
            // Whoever asked for a restart may have told the agent something else, too.
            agent.abort();
            agent = start_agent();
            pause = FIRST_PAUSE;
            continue;
        }
        pause = if begin.elapsed() > HEALTHY { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = restart.recv() => pause = FIRST_PAUSE,
            _ = end.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        }
    }
}

/// The agent, started again whenever it ends.
fn start_agent() -> tokio::task::JoinHandle<()> {
    tokio::spawn(async {
        let reporter = crate::report::for_stderr(0);
        while Path::new(crate::agent::CONFIG).exists() {
            if let Err(error) = crate::agent::run(reporter.clone()).await {
                reporter.warn(&format!("the agent ended: {error:#}"));
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    })
}

/// What the unit's drop-in gives the kubelet.
fn arguments() -> anyhow::Result<Vec<String>> {
    let mut all: Vec<String> = [
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--config=/var/lib/kubelet/config.yaml",
    ]
    .map(str::to_owned)
    .into();
    let path = Path::new(KUBELET_DIR).join("kubeadm-flags.env");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    all.extend(flags_of(&text));
    Ok(all)
}

/// The flags in an environment file of one variable.
fn flags_of(text: &str) -> Vec<String> {
    let value = text.trim().strip_prefix("KUBELET_KUBEADM_ARGS=").unwrap_or_default();
    value.trim_matches('"').split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn flags_are_taken_from_the_environment_file() {
        let flags = super::flags_of("KUBELET_KUBEADM_ARGS=\"--a=b --c=d\"\n");
        assert_eq!(flags, ["--a=b", "--c=d"]);
        assert!(super::flags_of("").is_empty());
    }
}
