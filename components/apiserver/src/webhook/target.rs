//! Where a webhook is: its configuration's `clientConfig`, read and led to an endpoint of its Service.

use base64::Engine;
use bytes::Bytes;
use kinit_api::object::Object;
use rand::seq::IndexedRandom;
use serde_json::Value;
use url::Url;

use super::client::{Target, Trust};
use crate::cache::{Cache, within};

/// A `clientConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    place: Place,
    pub authorities: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Url { host: String, port: u16, authority: String, path: String },
    Service { namespace: String, name: String, port: u16, path: String },
    Wrong(String),
}

impl ClientConfig {
    /// Reads the field of a webhook, or of a conversion.
    pub fn new(config: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let bundle = base64::engine::general_purpose::STANDARD.decode(text(&config["caBundle"])).unwrap_or_default();
        let service = &config["service"];
        let place = if service.is_object() {
            let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
            let path = text(&service["path"]);
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            Place::Service { namespace: text(&service["namespace"]), name: text(&service["name"]), port, path }
        } else {
            match Url::parse(&text(&config["url"])) {
                Ok(url) => Place::Url {
                    host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
                    port: url.port_or_known_default().unwrap_or(443),
                    authority: authority(&text(&config["url"])),
                    path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
                },
                Err(_) if config["url"].is_null() => {
                    Place::Wrong("webhook configuration must have either service or URL".into())
                }
                Err(error) => Place::Wrong(format!("Unparsable URL: {error}")),
            }
        };
        Self { place, authorities: bundle.into() }
    }

    /// Where a call goes now, and its path.
    pub fn resolve(&self, cache: &Cache) -> Result<(Target, &str), String> {
        let trust = Trust::Authorities(self.authorities.clone());
        match &self.place {
            Place::Wrong(why) => Err(why.clone()),
            Place::Url { host, port, authority, path } => {
                let (address, server_name) = (Ok((host.clone(), *port)), host.clone());
                Ok((Target { address, authority: authority.clone(), server_name, trust }, path))
            }
            Place::Service { namespace, name, port, path } => {
                Ok((of_service(cache, namespace, name, *port, trust), path))
            }
        }
    }
}

/// Where a Service's port leads: to one of its ready endpoints.
pub fn of_service(cache: &Cache, namespace: &str, name: &str, port: u16, trust: Trust) -> Target {
    let address = (|| {
        let service = cache.find("", "services", namespace, name).and_then(|entry| entry.object());
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
        let all = endpoints(&service, &slices_of(cache, namespace, name), port)?;
        let address = all.choose(&mut rand::rng()).cloned();
        address.ok_or_else(|| format!("no endpoints available for service {name:?}"))
    })();
    let server_name = format!("{name}.{namespace}.svc");
    Target { address, authority: format!("{server_name}:{port}"), server_name, trust }
}

/// Host and port of a URL as they are written in it.
fn authority(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
}

/// The slices of a Service.
pub fn slices_of(cache: &Cache, namespace: &str, name: &str) -> Vec<Object> {
    let slices = cache.all("discovery.k8s.io", "endpointslices");
    within(&slices, namespace)
        .filter(|(_, entry)| entry.labels().get("kubernetes.io/service-name").is_some_and(|service| service == name))
        .filter_map(|(_, entry)| entry.object())
        .collect()
}

/// All ready endpoints behind a Service's port.
fn endpoints(service: &Object, slices: &[Object], port: u16) -> Result<Vec<(String, u16)>, String> {
    let name = service.name();
    if service.str(&["spec", "type"]) == "ExternalName" {
        return Ok(vec![(service.str(&["spec", "externalName"]).to_owned(), port)]);
    }
    let declared = service.get(&["spec", "ports"]).and_then(Value::as_array);
    let declared = declared.into_iter().flatten().find(|one| one["port"] == port);
    let declared = declared.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let port_name = declared["name"].as_str().unwrap_or_default();
    let mut all = Vec::new();
    for slice in slices {
        let ports = slice.get(&["ports"]).and_then(Value::as_array).into_iter().flatten();
        let mut named = ports.filter(|one| one["name"].as_str().unwrap_or_default() == port_name);
        let Some(port) = named.find_map(|one| u16::try_from(one["port"].as_u64()?).ok()) else { continue };
        let hosts = slice.get(&["endpoints"]).and_then(Value::as_array).into_iter().flatten();
        let ready = hosts.filter(|one| one["conditions"]["ready"] != false);
        all.extend(ready.filter_map(|one| Some((one["addresses"].get(0)?.as_str()?.to_owned(), port))));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configurations_say_where_a_webhook_is() {
        let url = ClientConfig::new(&json!({"url": "https://A.example/x?y=1", "caBundle": "YQ=="}));
        assert_eq!(url.authorities, "a");
        assert_eq!(
            url.place,
            Place::Url { host: "a.example".into(), port: 443, authority: "A.example".into(), path: "/x?y=1".into() }
        );
        let service = ClientConfig::new(&json!({"service": {"namespace": "n", "name": "s", "path": "p"}}));
        let place = Place::Service { namespace: "n".into(), name: "s".into(), port: 443, path: "/p".into() };
        assert_eq!(service.place, place);
        assert!(matches!(ClientConfig::new(&json!({})).place, Place::Wrong(_)));
    }

    #[test]
    fn services_lead_to_what_is_ready() {
        let service =
            Object::from_value(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 443}]}})).unwrap();
        let slice = json!({"ports": [{"port": 8443}], "endpoints": [{"addresses": ["10.0.0.1"]},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]});
        let slices = [Object::from_value(slice).unwrap()];
        assert_eq!(endpoints(&service, &slices, 443).unwrap(), [("10.0.0.1".to_owned(), 8443)]);
        assert!(endpoints(&service, &slices, 444).unwrap_err().contains("no service port 444"));
    }
}
