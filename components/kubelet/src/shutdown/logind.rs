//! systemd's logind, by its own tools: holding a shutdown up, and hearing that one begins.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const NAME: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const INTERFACE: &str = "org.freedesktop.login1.Manager";
/// Where logind is told how long it may be held up.
const DROP_IN: &str = "/etc/systemd/logind.conf.d/99-kubelet.conf";

/// What logind tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A shutdown begins when nobody holds it up any more.
    Begins,
    /// It does not take place.
    CalledOff,
}

/// Holds a shutdown up as long as it lives.
pub struct Delay {
    _holder: Child,
}

impl Delay {
    /// Begins to.
    pub fn take() -> io::Result<Self> {
        let holder = Command::new("systemd-inhibit")
            .args(["--what=shutdown", "--mode=delay", "--who=kubelet", "--why=pods are to end in order"])
            .args(["sleep", "infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { _holder: holder })
    }
}

/// The news.
pub struct Logind {
    lines: Lines<BufReader<ChildStdout>>,
    _monitor: Child,
}

impl Logind {
    /// Begins to listen.
    pub fn watch() -> io::Result<Self> {
        let rule = format!("type='signal',interface='{INTERFACE}',member='PrepareForShutdown'");
        let mut monitor = Command::new("busctl")
            .args(["monitor", "--json=short", &format!("--match={rule}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let out = monitor.stdout.take().ok_or_else(|| io::Error::other("busctl has no output"))?;
        Ok(Self { lines: BufReader::new(out).lines(), _monitor: monitor })
    }

    /// The next; `None` when nothing is told any more.
    pub async fn next(&mut self) -> io::Result<Option<News>> {
        while let Some(line) = self.lines.next_line().await? {
            if let Some(news) = read(&line) {
                return Ok(Some(news));
            }
        }
        Ok(None)
    }
}

/// Reads a message as busctl shows it.
fn read(line: &str) -> Option<News> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["member"] != "PrepareForShutdown" {
        return None;
    }
    match message["payload"]["data"][0].as_bool()? {
        true => Some(News::Begins),
        false => Some(News::CalledOff),
    }
}

/// Has logind let itself be held up for so long.
pub async fn allow(time: Duration) -> io::Result<()> {
    if allowed().await? >= time {
        return Ok(());
    }
    let folder = Path::new(DROP_IN).parent().unwrap_or(Path::new("/"));
    tokio::fs::create_dir_all(folder).await?;
    let text = format!(
        "# The kubelet ends pods in order when the host is shut down.\n[Login]\nInhibitDelayMaxSec={}\n",
        time.as_secs()
    );
    tokio::fs::write(DROP_IN, text).await?;
    tell(&["kill", "-s", "HUP", "systemd-logind.service"]).await?;
    let allowed = allowed().await?;
    if allowed < time {
        tracing::warn!(?allowed, ?time, "logind lets itself be held up for less than is configured");
    }
    Ok(())
}

async fn tell(arguments: &[&str]) -> io::Result<()> {
    let done = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output().await?;
    if done.status.success() {
        Ok(())
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
    }
}

async fn allowed() -> io::Result<Duration> {
    let arguments = ["get-property", NAME, PATH, INTERFACE, "InhibitDelayMaxUSec"];
    let answer = Command::new("busctl").args(arguments).stdin(Stdio::null()).output().await?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let micros = text.trim().strip_prefix("t ").and_then(|number| number.parse().ok());
    let said =
        || io::Error::other(format!("logind does not answer: {}", String::from_utf8_lossy(&answer.stderr).trim()));
    micros.map(Duration::from_micros).ok_or_else(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shutdowns_are_news() {
        let line = |member: &str, is: bool| {
            format!(r#"{{"type":"signal","member":"{member}","payload":{{"type":"b","data":[{is}]}}}}"#)
        };
        for (line, wanted) in [
            (line("PrepareForShutdown", true), Some(News::Begins)),
            (line("PrepareForShutdown", false), Some(News::CalledOff)),
            (line("PrepareForSleep", true), None),
            ("Monitoring bus message stream.".to_owned(), None),
        ] {
            assert_eq!(read(&line), wanted, "{line}");
        }
    }
}
