//! Lists of 10,000 Pods, whole and by pages, in both encodings.

use anyhow::Result;
use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::pods::{self, JSON, PROTOBUF};
use crate::stats::Server;

const NAMESPACE: &str = "load-lists";
const PODS: usize = 10_000;

pub async fn run(client: &Client, server: &Server) -> Result<()> {
    pods::fill(client, NAMESPACE, PODS).await?;
    let path = pods::path(NAMESPACE);
    for (encoding, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
        // The first is apart: a server may keep what it makes for it.
        for (how, query, count, at_once) in
            [("the first", "", 1, 1), ("consistent", "", 20, 4), ("from the cache", "?resourceVersion=0", 20, 4)]
        {
            let measured = server.begin();
            let times = pods::each(count, at_once, |_| {
                let (client, path) = (client.clone(), format!("{path}{query}"));
                async move { client.must(Method::GET, &path, accept, None).await.map(drop) }
            });
            measured.end(&format!("list of 10,000 pods, {encoding}, {how}"), times.await?);
        }
    }
    let measured = server.begin();
    let times = pods::each(5, 1, |_| {
        let (client, path) = (client.clone(), path.clone());
        async move { pages(&client, &path).await }
    });
    measured.end("list of 10,000 pods, JSON, pages of 500", times.await?);
    Ok(())
}

async fn pages(client: &Client, path: &str) -> Result<()> {
    let (mut next, mut seen) = (String::new(), 0);
    loop {
        let bytes = client.must(Method::GET, &format!("{path}?limit=500&continue={next}"), JSON, None).await?;
        let page: Value = serde_json::from_slice(&bytes)?;
        seen += page["items"].as_array().map_or(0, Vec::len);
        match page["metadata"]["continue"].as_str() {
            Some(token) if !token.is_empty() => token.clone_into(&mut next),
            _ => break,
        }
    }
    anyhow::ensure!(seen >= PODS, "the pages have {seen} pods");
    Ok(())
}
