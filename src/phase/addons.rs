//! Phase `addon`: pod networking, kube-proxy and DNS.

use futures::FutureExt;
use serde_json::{Value, json};

use super::control_plane::BUILD;
use super::init::InitContext;
use super::upload_config::ensure_all;
use super::{Outcome, Phase, Result};
use crate::templates;

/// The phase.
pub const PHASE: Phase<InitContext> = Phase::node(
    "addon",
    "installs pod networking, kube-proxy and DNS",
    &[
        Phase::leaf("kinit-network", "installs pod networking", |context| {
            async move { install(context, network(context)?, "nothing").await }.boxed()
        }),
        Phase::leaf("kube-proxy", "installs kube-proxy", |context| {
            async move { install(context, proxy(context)?, "proxy.disabled").await }.boxed()
        }),
        Phase::leaf("cluster-dns", "installs DNS", |context| {
            async move { install(context, dns(context)?, "dns.disabled").await }.boxed()
        }),
    ],
);

/// What a part consists of; nothing where the configuration switches it off.
type Objects = fn(&InitContext) -> anyhow::Result<Vec<Value>>;

/// The parts, as in the phase.
const PARTS: &[(&str, Objects)] = &[("kinit-network", network), ("kube-proxy", proxy), ("cluster-dns", dns)];

/// A kubeconfig with the token that a pod is given, but an address that works before there is any service network.
fn pod_kubeconfig(context: &InitContext) -> anyhow::Result<String> {
    Ok(templates::render(templates::KUBE_PROXY_KUBECONFIG, json!({"server": context.settings.node_url()}))?)
}

/// Says in the pods of each workload which build of `component` they are of, so that another build replaces them.
fn stamp(context: &InitContext, component: &str, objects: &mut [Value]) -> anyhow::Result<()> {
    let Some(build) = context.binaries.build(component)? else { return Ok(()) };
    for object in objects {
        if let Some(template) = object.pointer_mut("/spec/template") {
            template["metadata"]["annotations"][BUILD] = json!(build);
        }
    }
    Ok(())
}

/// The objects of the part at `path`, or of all parts, as YAML.
pub fn manifest(context: &InitContext, path: &str) -> anyhow::Result<String> {
    let wanted = PARTS.iter().filter(|(name, _)| path == PHASE.name || path == format!("{}/{name}", PHASE.name));
    let mut documents = Vec::new();
    for (_, objects) in wanted {
        for object in objects(context)? {
            documents.push(serde_yaml::to_string(&object)?);
        }
    }
    Ok(documents.join("---\n"))
}

/// Makes the objects of a part be there; a part without any is switched off by `switch`.
async fn install(context: &InitContext, objects: Vec<Value>, switch: &str) -> Result {
    if objects.is_empty() {
        return Ok(Outcome::Skipped(format!("by {switch}")));
    }
    Ok(ensure_all(context.api.as_ref(), &objects).await?.into())
}

fn network(context: &InitContext) -> anyhow::Result<Vec<Value>> {
    let cluster = &context.settings.cluster;
    let mut objects = templates::objects(
        templates::NETWORK,
        json!({
            "image": cluster.image("kinit-network"),
            "kubeconfig": pod_kubeconfig(context)?,
            "pod_subnet": cluster.pod_subnet.to_string(),
        }),
    )?;
    stamp(context, "kinit-network", &mut objects)?;
    Ok(objects)
}

fn proxy(context: &InitContext) -> anyhow::Result<Vec<Value>> {
    let cluster = &context.settings.cluster;
    if cluster.without_proxy {
        return Ok(Vec::new());
    }
    let values = json!({"pod_subnet": cluster.pod_subnet.to_string()});
    let mut config = templates::objects(templates::KUBE_PROXY_CONFIG, values)?.swap_remove(0);
    if let Some(over) = &cluster.proxy {
        templates::merge(&mut config, over);
    }
    let mut objects = templates::objects(
        templates::KUBE_PROXY,
        json!({
            "image": cluster.image("kube-proxy"),
            "config": serde_yaml::to_string(&config)?,
            "kubeconfig": pod_kubeconfig(context)?,
        }),
    )?;
    stamp(context, "kube-proxy", &mut objects)?;
    Ok(objects)
}

fn dns(context: &InitContext) -> anyhow::Result<Vec<Value>> {
    let cluster = &context.settings.cluster;
    if cluster.dns.disabled {
        return Ok(Vec::new());
    }
    let mut objects = templates::objects(
        templates::CLUSTER_DNS,
        json!({
            "image": cluster.image("cluster-dns"),
            "dns_address": cluster.dns_address(),
            "dns_domain": cluster.dns_domain,
        }),
    )?;
    // kubeadm's users know the DNS Deployment by the name that it has there.
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        context.settings.patches.apply("corednsdeployment", object)?;
    }
    stamp(context, "cluster-dns", &mut objects)?;
    Ok(objects)
}
