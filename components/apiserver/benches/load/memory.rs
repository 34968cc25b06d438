//! What the server keeps in memory for many Pods.

use anyhow::Result;

use crate::client::Client;
use crate::pods;
use crate::stats::Server;

pub async fn run(client: &Client, server: &Server, count: usize) -> Result<()> {
    let before = server.memory();
    let measured = server.begin();
    let begun = std::time::Instant::now();
    pods::fill(client, "load-memory", count).await?;
    measured.end(&format!("fill with {count} pods"), vec![begun.elapsed() / u32::try_from(count.max(1))?; count]);
    println!("    {before} MB before, {} MB after", server.memory());
    Ok(())
}
