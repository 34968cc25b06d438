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
            async move { network(context).await }.boxed()
        }),
        Phase::leaf("kube-proxy", "installs kube-proxy", |context| async move { proxy(context).await }.boxed()),
        Phase::leaf("cluster-dns", "installs DNS", |context| async move { dns(context).await }.boxed()),
    ],
);

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

async fn network(context: &InitContext) -> Result {
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
    Ok(ensure_all(context.api.as_ref(), &objects).await?.into())
}

async fn proxy(context: &InitContext) -> Result {
    let cluster = &context.settings.cluster;
    if cluster.without_proxy {
        return Ok(Outcome::Skipped("by proxy.disabled".into()));
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
    Ok(ensure_all(context.api.as_ref(), &objects).await?.into())
}

async fn dns(context: &InitContext) -> Result {
    let cluster = &context.settings.cluster;
    if cluster.dns.disabled {
        return Ok(Outcome::Skipped("by dns.disabled".into()));
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
    Ok(ensure_all(context.api.as_ref(), &objects).await?.into())
}
