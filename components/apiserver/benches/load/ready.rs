//! How long a server takes from its start until it is ready, over whatever is in its etcd.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http::Method;

use crate::client::Client;

pub async fn run(kubeconfig: &Path, start: Option<&str>) -> Result<()> {
    let command = start.context("--start says how the server is started")?;
    let mut times = Vec::new();
    for _ in 0..3 {
        let begun = Instant::now();
        // The shell becomes the server, so that ending the one ends the other.
        let mut server = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let client = Client::load(kubeconfig, 1)?;
        loop {
            if let Ok((200, _)) = client.ask(Method::GET, "/readyz", "*/*", None).await {
                break;
            }
            if begun.elapsed() > Duration::from_secs(120) {
                server.kill()?;
                bail!("the server is not ready after two minutes");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        times.push(begun.elapsed());
        server.kill()?;
        server.wait()?;
    }
    times.sort_unstable();
    println!(
        "from start to ready: {:.0} ms (median of {})",
        times[times.len() / 2].as_secs_f64() * 1000.0,
        times.len()
    );
    Ok(())
}
