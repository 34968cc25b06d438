//! Many watchers of one resource while a hundred objects a second change: how late each hears of each change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::client::{Body, Client};
use crate::pods::{self, JSON};
use crate::stats::Server;

const NAMESPACE: &str = "load-watches";
const RATE: u32 = 100;
const SECONDS: u32 = 10;
const MERGE: &str = "application/merge-patch+json";
/// Only some watchers keep times, so that the generator has time for the others.
const TIMED: usize = 100;
const MARK: &[u8] = b"\"at\":\"";

pub async fn run(client: &Client, server: &Server, count: usize) -> Result<()> {
    pods::namespace(client, NAMESPACE).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"at": "0"}});
    let (status, _) = client.ask(Method::POST, &path, JSON, Some(pods::body(&map))).await?;
    anyhow::ensure!(matches!(status, 201 | 409), "the object cannot be made: {status}");
    let epoch = Instant::now();
    let (open, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let mut watchers = Vec::with_capacity(count);
    for at in 0..count {
        let (client, path) = (client.clone(), format!("{path}?watch=true"));
        let (open, heard, stop) = (open.clone(), heard.clone(), stop.clone());
        watchers.push(tokio::spawn(async move {
            let mut times = Vec::new();
            let mut stream = client.watch(&path).await?;
            open.fetch_add(1, Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_secs(5), stream.line()).await;
                let Ok(line) = next else { continue };
                let Some(line) = line? else { break };
                heard.fetch_add(1, Ordering::Relaxed);
                if at < TIMED
                    && let Some(sent) = sent_at(&line)
                {
                    times.push(epoch.elapsed().saturating_sub(Duration::from_micros(sent)));
                }
            }
            Ok::<_, anyhow::Error>(times)
        }));
        // Not all at once: what is measured is not how fast connections are made.
        if at % 200 == 199 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    while open.load(Ordering::Relaxed) < count && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::ensure!(open.load(Ordering::Relaxed) == count, "only {} watches are open", open.load(Ordering::Relaxed));
    heard.store(0, Ordering::Relaxed);
    let measured = server.begin();
    let mut beat = tokio::time::interval(Duration::from_secs(1) / RATE);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..RATE * SECONDS {
        beat.tick().await;
        let (client, path) = (client.clone(), format!("{path}/m"));
        tokio::spawn(async move {
            let now = epoch.elapsed().as_micros();
            let bytes = Bytes::from(json!({"data": {"at": now.to_string()}}).to_string());
            client.must(Method::PATCH, &path, JSON, Some(Body { kind: MERGE, bytes })).await
        });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let events = heard.load(Ordering::Relaxed);
    let wanted = count * (RATE * SECONDS) as usize;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for watcher in watchers {
        times.extend(watcher.await??);
    }
    measured.end(&format!("{count} watchers, {RATE} writes/s"), times);
    println!("    {events} of {wanted} events heard");
    Ok(())
}

/// When the change that a line tells of was sent, in microseconds of the run.
fn sent_at(line: &[u8]) -> Option<u64> {
    let from = line.windows(MARK.len()).position(|part| part == MARK)? + MARK.len();
    let end = line[from..].iter().position(|byte| *byte == b'"')? + from;
    std::str::from_utf8(&line[from..end]).ok()?.parse().ok()
}
