//! Watchers and writers for a long time, with etcd disturbed in between: in the end every watcher knows exactly what is stored,
//! and has heard of every change once and in its order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::Method;
use rand::Rng;
use serde_json::{Value, json};

use crate::client::{Body, Client};
use crate::pods::{self, JSON};

const NAMESPACE: &str = "load-soak";
const WATCHERS: usize = 200;
const WRITERS: usize = 50;
const MERGE: &str = "application/merge-patch+json";
/// How long nothing may come before a watcher that has not got everything is said to have missed it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a watcher believes: the version of each object.
type State = BTreeMap<String, u64>;

#[derive(Default)]
struct Counts {
    written: AtomicUsize,
    refused: AtomicUsize,
    resumed: AtomicUsize,
    relisted: AtomicUsize,
    heard: AtomicUsize,
}

pub async fn run(client: &Client, objects: usize, time: Duration, disturb: Option<&str>) -> Result<()> {
    pods::namespace(client, NAMESPACE).await?;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    pods::each(objects, 200, |at| {
        let (client, path) = (client.clone(), path.clone());
        async move {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{at}")}});
            let (status, bytes) = client.ask(Method::POST, &path, JSON, Some(pods::body(&map))).await?;
            ensure!(matches!(status, 201 | 409), "{status} {}", String::from_utf8_lossy(&bytes));
            Ok(())
        }
    })
    .await?;
    let counts = Arc::new(Counts::default());
    let done = Arc::new(AtomicBool::new(false));
    let target = Arc::new(std::sync::OnceLock::<State>::new());
    let watchers: Vec<_> = (0..WATCHERS)
        .map(|_| {
            let (client, path) = (client.clone(), path.clone());
            let (counts, target) = (counts.clone(), target.clone());
            tokio::spawn(async move { watch(&client, &path, &counts, &target).await })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (client, path) = (client.clone(), path.clone());
            let (counts, done) = (counts.clone(), done.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    write(&client, &path, objects, &counts).await;
                }
            })
        })
        .collect();
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep((time / 5).min(Duration::from_secs(60))).await;
        if let Some(command) = disturb.filter(|_| begun.elapsed() < time * 9 / 10) {
            let status = tokio::process::Command::new("sh").args(["-c", command]).status().await?;
            println!("    disturbed after {} s: {status}", begun.elapsed().as_secs());
        }
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await?;
    }
    let (state, _) = list(client, &path).await?;
    let stored = state.len();
    target.set(state).ok();
    let mut wrong = 0;
    for watcher in watchers {
        if let Err(error) = watcher.await? {
            wrong += 1;
            println!("    {error:#}");
        }
    }
    let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "soak of {} s: {} writes, {} refused; {} events to {WATCHERS} watchers, {} watches resumed, {} lists; {stored} objects, \
         {wrong} watchers wrong",
        time.as_secs(),
        of(&counts.written),
        of(&counts.refused),
        of(&counts.heard),
        of(&counts.resumed),
        of(&counts.relisted),
    );
    ensure!(wrong == 0, "{wrong} watchers do not know what is stored");
    Ok(())
}

/// One write: mostly a change, sometimes a removal and a new object of the same name.
async fn write(client: &Client, path: &str, objects: usize, counts: &Counts) {
    let (at, dice) = {
        let mut random = rand::rng();
        (random.random_range(0..objects), random.random_range(0..20))
    };
    let one = format!("{path}/m{at}");
    let value = format!("{:x}", rand::rng().random::<u64>());
    let answer = match dice {
        0 => client.ask(Method::DELETE, &one, JSON, None).await,
        1 | 2 => {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{at}")}});
            client.ask(Method::POST, path, JSON, Some(pods::body(&map))).await
        }
        _ => {
            let bytes = Bytes::from(json!({"data": {"v": value}}).to_string());
            client.ask(Method::PATCH, &one, JSON, Some(Body { kind: MERGE, bytes })).await
        }
    };
    match answer {
        Ok((200..=299 | 404 | 409, _)) => drop(counts.written.fetch_add(1, Ordering::Relaxed)),
        _ => {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn number(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn list(client: &Client, path: &str) -> Result<(State, u64)> {
    for _ in 0..600 {
        if let Ok((200, bytes)) = client.ask(Method::GET, path, JSON, None).await {
            let list: Value = serde_json::from_slice(&bytes)?;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            return Ok((items.iter().map(|item| (name(item), number(item))).collect(), number(&list)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("no list in two minutes")
}

/// Lists, watches, and starts a broken watch again where it was, until the state is the one that all have to come to.
async fn watch(client: &Client, path: &str, counts: &Counts, target: &std::sync::OnceLock<State>) -> Result<()> {
    let (mut state, mut seen) = list(client, path).await?;
    let mut last = Instant::now();
    loop {
        let url = format!("{path}?watch=true&allowWatchBookmarks=true&resourceVersion={seen}");
        let mut stream = match client.watch(&url).await {
            Ok(stream) => stream,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                ensure!(target.get().is_none() || last.elapsed() < PATIENCE, "no watch can be made any more");
                continue;
            }
        };
        counts.resumed.fetch_add(1, Ordering::Relaxed);
        loop {
            if target.get().is_some_and(|target| *target == state) {
                return Ok(());
            }
            let line = match tokio::time::timeout(Duration::from_secs(1), stream.line()).await {
                Err(_) => {
                    if let Some(target) = target.get().filter(|_| last.elapsed() > PATIENCE) {
                        let differ = target.iter().filter(|(name, version)| state.get(*name) != Some(*version)).count();
                        bail!("{differ} objects are not as stored, {} are known of {}", state.len(), target.len());
                    }
                    continue;
                }
                Ok(Ok(Some(line))) => line,
                Ok(_) => break,
            };
            last = Instant::now();
            let event: Value = serde_json::from_slice(&line)?;
            let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
            if kind == "ERROR" {
                ensure!(object["code"] == 410, "the watch ended with {object}");
                counts.relisted.fetch_add(1, Ordering::Relaxed);
                (state, seen) = list(client, path).await?;
                break;
            }
            let version = number(object);
            ensure!(version >= seen, "an event of {version} came after {seen}");
            seen = version;
            if kind == "BOOKMARK" {
                continue;
            }
            counts.heard.fetch_add(1, Ordering::Relaxed);
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let before = state.get(&name).copied();
            match kind {
                "ADDED" => {
                    ensure!(before.is_none(), "{name} was added twice, at {before:?} and {version}");
                    state.insert(name, version);
                }
                "MODIFIED" => {
                    ensure!(
                        before.is_some_and(|before| before < version),
                        "{name} changed from {before:?} to {version}"
                    );
                    state.insert(name, version);
                }
                "DELETED" => {
                    ensure!(before.is_some(), "{name} was removed and was not there");
                    state.remove(&name);
                }
                other => bail!("an event of type {other}"),
            }
        }
    }
}
