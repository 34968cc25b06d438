//! The environment of a container.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret, Service,
};
use kinit_cri::v1::KeyValue;
use kube::Api;

use super::facts;
use crate::context::Context;
use crate::error::{Error, Result};

/// Replaces `$(NAME)` by the variable's value; `$$` is a dollar sign, and an unknown name stays as it stands.
pub fn expand(text: &str, variables: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// All variables of a container, in order.
pub async fn variables(
    context: &Context,
    pod: &Pod,
    container: &Container,
    ips: &[String],
) -> Result<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let services = context.services.borrow().clone();
    for (name, value) in services.iter().flat_map(|all| service_variables(all, facts::namespace(pod), links)) {
        put(&mut all, name, value);
    }
    let namespace = facts::namespace(pod);
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        let mut data = BTreeMap::new();
        if let Some(source) = &from.config_map_ref {
            data = config_map(context, namespace, &source.name, source.optional.unwrap_or(false)).await?;
        } else if let Some(source) = &from.secret_ref {
            data = secret(context, namespace, &source.name, source.optional.unwrap_or(false)).await?;
        }
        for (key, value) in data {
            put(&mut all, format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
        }
    }
    let mut so_far: HashMap<String, String> = all.iter().cloned().collect();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) => Some(expand(value, &so_far)),
            (None, None) => Some(String::new()),
            (None, Some(source)) => {
                if let Some(field) = &source.field_ref {
                    Some(field_value(context, pod, field, ips)?)
                } else if let Some(field) = &source.resource_field_ref {
                    Some(resource_value(pod, container, field, context)?)
                } else if let Some(key) = &source.config_map_key_ref {
                    let optional = key.optional.unwrap_or(false);
                    one(
                        config_map(context, namespace, &key.name, optional).await?,
                        &key.key,
                        optional,
                        &key.name,
                        "ConfigMap",
                    )?
                } else if let Some(key) = &source.secret_key_ref {
                    let optional = key.optional.unwrap_or(false);
                    one(
                        secret(context, namespace, &key.name, optional).await?,
                        &key.key,
                        optional,
                        &key.name,
                        "Secret",
                    )?
                } else {
                    return Err(Error::container(
                        &container.name,
                        format!("variable {} has a source that is not known here", variable.name),
                    ));
                }
            }
        };
        if let Some(value) = value {
            so_far.insert(variable.name.clone(), value.clone());
            put(&mut all, variable.name.clone(), value);
        }
    }
    Ok(all)
}

/// Adds a variable in place of an earlier one of its name.
fn put(all: &mut Vec<(String, String)>, name: String, value: String) {
    all.retain(|(other, _)| *other != name);
    all.push((name, value));
}

/// The runtime's form.
pub fn to_wire(all: Vec<(String, String)>) -> Vec<KeyValue> {
    all.into_iter().map(|(key, value)| KeyValue { key, value }).collect()
}

fn one(
    mut data: BTreeMap<String, Vec<u8>>,
    key: &str,
    optional: bool,
    name: &str,
    kind: &str,
) -> Result<Option<String>> {
    match data.remove(key) {
        Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        None if optional => Ok(None),
        None => Err(Error::container(name, format!("{kind} {name} has no key {key}"))),
    }
}

/// A ConfigMap's data, text and binary; empty when it is optional and not there.
pub async fn config_map(
    context: &Context,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let api: Api<ConfigMap> = Api::namespaced(context.client()?, namespace);
    match api.get_opt(name).await? {
        Some(map) => {
            let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
            let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
            Ok(text.chain(binary).collect())
        }
        None if optional => Ok(BTreeMap::new()),
        None => Err(Error::container(name, format!("ConfigMap {namespace}/{name} is not there"))),
    }
}

/// A Secret's data; empty when it is optional and not there.
pub async fn secret(
    context: &Context,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let api: Api<Secret> = Api::namespaced(context.client()?, namespace);
    match api.get_opt(name).await? {
        Some(secret) => Ok(secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()),
        None if optional => Ok(BTreeMap::new()),
        None => Err(Error::container(name, format!("Secret {namespace}/{name} is not there"))),
    }
}

/// The value of a field of the pod.
pub fn field_value(context: &Context, pod: &Pod, field: &ObjectFieldSelector, ips: &[String]) -> Result<String> {
    let path = field.field_path.as_str();
    let spec = pod.spec.as_ref();
    let host = context.node_ip.to_string();
    let own: &[String] = if facts::host_network(pod) { std::slice::from_ref(&host) } else { ips };
    let entry = |all: &Option<BTreeMap<String, String>>, key: &str| {
        all.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default()
    };
    Ok(match path {
        "metadata.name" => facts::name(pod).to_owned(),
        "metadata.namespace" => facts::namespace(pod).to_owned(),
        "metadata.uid" => facts::uid(pod).to_owned(),
        "metadata.labels" => lines(&pod.metadata.labels),
        "metadata.annotations" => lines(&pod.metadata.annotations),
        "spec.nodeName" => context.node_name.clone(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => host.clone(),
        "status.podIP" => own.first().cloned().unwrap_or_default(),
        "status.podIPs" => own.join(","),
        _ => match path.strip_suffix("']").and_then(|path| path.split_once("['")) {
            Some(("metadata.labels", key)) => entry(&pod.metadata.labels, key),
            Some(("metadata.annotations", key)) => entry(&pod.metadata.annotations, key),
            _ => {
                return Err(Error::container(facts::name(pod), format!("field {path} cannot be given to a container")));
            }
        },
    })
}

fn lines(all: &Option<BTreeMap<String, String>>) -> String {
    let all = all.iter().flatten().map(|(key, value)| format!("{key}={}", serde_json::Value::from(value.as_str())));
    all.collect::<Vec<_>>().join("\n")
}

/// The value of a resource of a container.
pub fn resource_value(
    pod: &Pod,
    container: &Container,
    field: &ResourceFieldSelector,
    context: &Context,
) -> Result<String> {
    let spec = pod.spec.as_ref();
    let named = field.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&container.name);
    let container = spec.and_then(|spec| facts::containers(spec).find(|one| one.name == named)).unwrap_or(container);
    let resources = container.resources.clone().unwrap_or_default();
    let (kind, name) = field.resource.split_once('.').unwrap_or(("", &field.resource));
    let all = if kind == "requests" { resources.requests } else { resources.limits };
    let value = all.and_then(|all| all.get(name).and_then(|quantity| facts::milli(&quantity.0)));
    let value = value.unwrap_or_else(|| match (kind, name) {
        // Without a limit it is what the node has.
        ("limits", "cpu") => std::thread::available_parallelism().map_or(1000, |count| count.get() as i64 * 1000),
        ("limits", "memory") => context.memory as i64 * 1000,
        _ => 0,
    });
    let divisor = field
        .divisor
        .as_ref()
        .and_then(|divisor| facts::milli(&divisor.0))
        .filter(|divisor| *divisor > 0)
        .unwrap_or(1000);
    Ok(value.div_euclid(divisor).saturating_add(i64::from(value % divisor != 0)).to_string())
}

/// `NAME_SERVICE_HOST` and its relatives: for the services of the namespace if `links`, and always for `kubernetes`.
fn service_variables(
    services: &HashMap<(String, String), Service>,
    namespace: &str,
    links: bool,
) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for ((of, name), service) in services {
        let is_master = of == "default" && name == "kubernetes";
        if !(is_master || links && of == namespace) {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { continue };
        let prefix = name.to_uppercase().replace('-', "_");
        let ports = spec.ports.as_deref().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        out.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
        out.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
        for port in ports {
            if let Some(name) = &port.name {
                out.push((
                    format!("{prefix}_SERVICE_PORT_{}", name.to_uppercase().replace('-', "_")),
                    port.port.to_string(),
                ));
            }
        }
        let url = |port: i32, protocol: &str| format!("{}://{ip}:{port}", protocol.to_lowercase());
        out.push((format!("{prefix}_PORT"), url(first.port, first.protocol.as_deref().unwrap_or("TCP"))));
        for port in ports {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let name = format!("{prefix}_PORT_{}_{protocol}", port.port);
            out.push((name.clone(), url(port.port, protocol)));
            out.push((format!("{name}_PROTO"), protocol.to_lowercase()));
            out.push((format!("{name}_PORT"), port.port.to_string()));
            out.push((format!("{name}_ADDR"), ip.to_owned()));
        }
    }
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_expanded() {
        let known = HashMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, wanted) in
            [("$(A)", "1"), ("x$(A)y$(B)", "x1y$(B)"), ("$$(A)", "$(A)"), ("$", "$"), ("$(A", "$(A"), ("a$b", "a$b")]
        {
            assert_eq!(expand(text, &known), wanted, "{text}");
        }
    }

    #[test]
    fn services_become_variables() {
        let service = |ip: &str| -> Service {
            serde_json::from_value(json!({"spec": {"clusterIP": ip, "ports": [{"port": 443, "name": "https"}]}}))
                .unwrap()
        };
        let all = HashMap::from([
            (("default".to_owned(), "kubernetes".to_owned()), service("10.96.0.1")),
            (("other".to_owned(), "a-b".to_owned()), service("10.96.0.2")),
            (("other".to_owned(), "headless".to_owned()), service("None")),
        ]);
        let names = |namespace, links| -> Vec<String> {
            service_variables(&all, namespace, links)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        assert!(names("x", false).contains(&"KUBERNETES_SERVICE_HOST=10.96.0.1".to_owned()));
        assert!(names("other", true).contains(&"A_B_PORT_443_TCP_ADDR=10.96.0.2".to_owned()));
        assert!(!names("other", false).iter().any(|line| line.starts_with("A_B")));
        assert!(!names("other", true).iter().any(|line| line.starts_with("HEADLESS")));
    }
}
