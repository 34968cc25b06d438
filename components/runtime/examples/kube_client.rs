//! One deed with kube-rs as anybody uses it: `kube_client NAME`, against the API server of `KUBECONFIG`. A deed that does not
//! hold ends with an error.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, ObjectMeta, Patch, PatchParams,
    PostParams, WatchEvent, WatchParams,
};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(data.iter().map(pair).collect::<BTreeMap<_, _>>()),
        ..ConfigMap::default()
    }
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    Ok(serde_json::from_value(value)?)
}

async fn typed(client: Client, space: &str) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client, space);
    let made = api
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": "d"}, "spec": {"replicas": 2,
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "example.com/c"}]}}}}))?,
        )
        .await?;
    ensure!(made.metadata.generation == Some(1), "{made:?}");
    let mut read = api.get("d").await?;
    read.spec.as_mut().context("it has no spec")?.replicas = Some(3);
    ensure!(api.replace("d", &PostParams::default(), &read).await?.metadata.generation == Some(2));
    let stale = api.replace("d", &PostParams::default(), &read).await;
    ensure!(matches!(&stale, Err(kube::Error::Api(status)) if status.code == 409), "{stale:?}");
    ensure!(api.get_scale("d").await?.spec.and_then(|spec| spec.replicas) == Some(3));
    let scaled = api.patch_scale("d", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 1}}))).await?;
    ensure!(scaled.spec.and_then(|spec| spec.replicas) == Some(1));
    ensure!(api.get_metadata("d").await?.metadata.generation == Some(3));
    api.delete("d", &DeleteParams::background()).await?;
    ensure!(api.get_opt("d").await?.is_none(), "it is still there");
    Ok(())
}

async fn paged(client: Client, space: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, space);
    for number in 0..5 {
        api.create(&PostParams::default(), &config_map(&format!("page-{number}"), &[])).await?;
    }
    let (mut names, mut params) = (Vec::new(), ListParams::default().limit(2));
    loop {
        let page = api.list(&params).await?;
        let token = page.metadata.continue_.clone().unwrap_or_default();
        names.extend(page.items.iter().map(ResourceExt::name_any));
        if token.is_empty() {
            break;
        }
        params.continue_token = Some(token);
    }
    ensure!(names == (0..5).map(|number| format!("page-{number}")).collect::<Vec<_>>(), "{names:?}");
    Ok(())
}

async fn watched(client: Client, space: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, space);
    let start = api.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    api.create(&PostParams::default(), &config_map("seen", &[("a", "1")])).await?;
    api.patch("seen", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await?;
    api.delete("seen", &DeleteParams::default()).await?;
    let mut events = api.watch(&WatchParams::default().fields("metadata.name=seen").timeout(10), &start).await?.boxed();
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await? {
        let (kind, map) = match event {
            WatchEvent::Added(map) => ("added", map),
            WatchEvent::Modified(map) => ("modified", map),
            WatchEvent::Deleted(map) => ("deleted", map),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(error) => bail!("{error:?}"),
        };
        seen.push((kind, map.data.unwrap_or_default().remove("a").unwrap_or_default()));
        if kind == "deleted" {
            break;
        }
    }
    let wanted = [("added", "1"), ("modified", "2"), ("deleted", "2")].map(|(kind, data)| (kind, data.to_owned()));
    ensure!(seen == wanted, "{seen:?}");
    Ok(())
}

/// The watcher that controllers use, which lists by watching.
async fn streamed(client: Client, space: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, space);
    api.create(&PostParams::default(), &config_map("before", &[])).await?;
    let config = watcher::Config::default().streaming_lists();
    let mut events = watcher::watcher(api.clone(), config).boxed();
    let mut before = false;
    while let Some(event) = events.try_next().await? {
        match event {
            Event::InitApply(map) => before = before || map.name_any() == "before",
            Event::InitDone => {
                ensure!(before, "what was there was not told of");
                api.create(&PostParams::default(), &config_map("after", &[])).await?;
            }
            Event::Apply(map) if map.name_any() == "after" => return Ok(()),
            _ => {}
        }
    }
    bail!("the watch ended")
}

async fn applied(client: Client, space: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, space);
    let apply = |value: &str, manager: &str, force: bool| {
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": {"a": value}});
        let (api, params) = (api.clone(), PatchParams { force, ..PatchParams::apply(manager) });
        async move { api.patch("owned", &params, &Patch::Apply(body)).await }
    };
    apply("1", "one", false).await?;
    let refused = apply("2", "two", false).await;
    ensure!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409), "{refused:?}");
    let taken = apply("2", "two", true).await?;
    ensure!(taken.data.is_some_and(|data| data["a"] == "2"));
    Ok(())
}

async fn custom(client: Client, space: &str) -> Result<()> {
    let group = format!("{space}.example.com");
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer", "default": 7, "x-kubernetes-validations": [{"rule": "self < 10"}]}}}}});
    let definition: CustomResourceDefinition = from(json!({"metadata": {"name": format!("toys.{group}")}, "spec": {
        "group": group, "scope": "Namespaced", "names": {"plural": "toys", "singular": "toy", "kind": "Toy", "listKind": "ToyList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = definition.name_any();
    definitions.create(&PostParams::default(), &definition).await?;
    let is = kube::runtime::conditions::is_crd_established();
    kube::runtime::wait::await_condition(definitions.clone(), &name, is).await?;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, "v1", "Toy"), "toys");
    let toys: Api<DynamicObject> = Api::namespaced_with(client, space, &resource);
    let toy = DynamicObject::new("t", &resource).data(json!({"spec": {}}));
    let made = toys.create(&PostParams::default(), &toy).await?;
    ensure!(made.data["spec"] == json!({"size": 7}), "{made:?}");
    let wrong = toys.patch("t", &PatchParams::default(), &Patch::Merge(json!({"spec": {"size": 10}}))).await;
    ensure!(matches!(&wrong, Err(kube::Error::Api(status)) if status.code == 422), "{wrong:?}");
    definitions.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

async fn discovered(client: Client, _space: &str) -> Result<()> {
    ensure!(client.apiserver_version().await?.minor == "36");
    let found = kube::discovery::Discovery::new(client).run_aggregated().await?;
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (resource, abilities) = found.resolve_gvk(&kind).context("there are no Deployments")?;
    ensure!(resource.plural == "deployments" && abilities.supports_operation("watch"), "{resource:?} {abilities:?}");
    Ok(())
}

async fn refused(client: Client, space: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), space);
    let made = maps.create(&PostParams::default(), &config_map("Not_A_Name", &[])).await;
    ensure!(matches!(&made, Err(kube::Error::Api(status)) if status.reason == "Invalid"), "{made:?}");
    let pods: Api<Pod> = Api::namespaced(client, space);
    let read = pods.get("nowhere").await;
    ensure!(matches!(&read, Err(kube::Error::Api(status)) if status.reason == "NotFound"), "{read:?}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let deed = std::env::args().nth(1).context("which deed?")?;
    let client = Client::try_default().await?;
    let spaces: Api<Namespace> = Api::all(client.clone());
    let space =
        spaces.create(&PostParams::default(), &from(json!({"metadata": {"generateName": "kube-rs-"}}))?).await?;
    let space = space.name_any();
    match deed.as_str() {
        "typed" => typed(client, &space).await,
        "paged" => paged(client, &space).await,
        "watched" => watched(client, &space).await,
        "streamed" => streamed(client, &space).await,
        "applied" => applied(client, &space).await,
        "custom" => custom(client, &space).await,
        "discovered" => discovered(client, &space).await,
        "refused" => refused(client, &space).await,
        other => bail!("there is no deed {other}"),
    }
}
