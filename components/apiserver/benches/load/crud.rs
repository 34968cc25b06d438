//! create, get, update, patch and delete of Pods, with one client and with many.

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::client::{Body, Client};
use crate::pods::{self, JSON};
use crate::stats::Server;

const NAMESPACE: &str = "load-crud";
const MERGE: &str = "application/strategic-merge-patch+json";

pub async fn run(client: &Client, server: &Server, clients: Option<usize>) -> Result<()> {
    pods::namespace(client, NAMESPACE).await?;
    for clients in clients.map_or_else(|| vec![1, 100], |clients| vec![clients]) {
        let count = if clients < 10 { 500 } else { 50 * clients };
        pods::clear(client, NAMESPACE).await?;
        let path = pods::path(NAMESPACE);
        let one = |at: usize| format!("{path}/p{at}");
        let row = |verb: &str| format!("{verb} pods, {clients} clients");

        let measured = server.begin();
        let times = pods::each(count, clients, |at| {
            let (client, path) = (client.clone(), path.clone());
            async move {
                let sent = pods::body(&pods::pod(&format!("p{at}")));
                client.must(Method::POST, &path, JSON, Some(sent)).await.map(drop)
            }
        });
        measured.end(&row("create"), times.await?);

        let measured = server.begin();
        let times = pods::each(count, clients, |at| {
            let (client, path) = (client.clone(), one(at));
            async move { client.must(Method::GET, &path, JSON, None).await.map(drop) }
        });
        measured.end(&row("get"), times.await?);

        let list: Value = serde_json::from_slice(&client.must(Method::GET, &path, JSON, None).await?)?;
        let found = list["items"].as_array().cloned().unwrap_or_default();
        let measured = server.begin();
        let times = pods::each(found.len(), clients, |at| {
            let mut pod = found[at].clone();
            pod["metadata"]["annotations"] = json!({"load.example.org/round": "1"});
            let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let (client, path) = (client.clone(), format!("{path}/{name}"));
            async move { client.must(Method::PUT, &path, JSON, Some(pods::body(&pod))).await.map(drop) }
        });
        measured.end(&row("update"), times.await?);

        let measured = server.begin();
        let times = pods::each(count, clients, |at| {
            let (client, path) = (client.clone(), one(at));
            async move {
                let bytes = Bytes::from_static(br#"{"metadata":{"annotations":{"load.example.org/round":"2"}}}"#);
                client.must(Method::PATCH, &path, JSON, Some(Body { kind: MERGE, bytes })).await.map(drop)
            }
        });
        measured.end(&row("patch"), times.await?);

        let measured = server.begin();
        let times = pods::each(count, clients, |at| {
            let (client, path) = (client.clone(), format!("{}?gracePeriodSeconds=0", one(at)));
            async move { client.must(Method::DELETE, &path, JSON, None).await.map(drop) }
        });
        measured.end(&row("delete"), times.await?);
    }
    Ok(())
}
