//! Everything that kinit writes as text: the files in `templates/`, rendered strictly. A name that a template uses and
//! nobody gives is an error, and every value goes in as a JSON scalar, so that no value can change the document around
//! it.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

macro_rules! templates {
    ($($constant:ident = $path:literal;)*) => {
        $(#[doc = concat!("`templates/", $path, "`")] pub const $constant: &str = $path;)*
        const SOURCES: &[(&str, &str)] = &[$(($path, include_str!(concat!("../templates/", $path)))),*];
    };
}

templates! {
    STATIC_POD = "static-pod.yaml";
    KUBELET_SERVICE = "kubelet/kubelet.service";
    KUBELET_DROP_IN = "kubelet/10-kubeadm.conf";
    KUBELET_CONFIG = "kubelet/config.yaml";
    ENCRYPTION = "apiserver/encryption.yaml";
    AUTHENTICATION = "apiserver/authentication.yaml";
    AUDIT_POLICY = "apiserver/audit-policy.yaml";
    CLUSTER_ADMINS = "rbac/cluster-admins.yaml";
    CONFIG_MAPS = "rbac/config-maps.yaml";
    BOOTSTRAP = "rbac/bootstrap.yaml";
    UPLOAD_CERTS = "rbac/upload-certs.yaml";
    KUBE_PROXY = "addons/kube-proxy.yaml";
    KUBE_PROXY_CONFIG = "addons/kube-proxy-config.yaml";
    KUBE_PROXY_KUBECONFIG = "addons/kube-proxy-kubeconfig.yaml";
    NETWORK = "addons/kinit-network.yaml";
    CLUSTER_DNS = "addons/cluster-dns.yaml";
    AGENT_SERVICE = "agent/kinit-agent.service";
    SNAPSHOT_SERVICE = "etcd/snapshot.service";
    SNAPSHOT_TIMER = "etcd/snapshot.timer";
}

/// A template that could not be rendered, or whose result is not YAML: always a defect of kinit.
#[derive(Debug, thiserror::Error)]
#[error("template {name}: {reason}")]
pub struct Error {
    name: String,
    reason: String,
}

/// Renders a template to text.
pub fn render(name: &str, values: impl Serialize) -> Result<String, Error> {
    let fail = |error: minijinja::Error| Error { name: name.to_owned(), reason: format!("{error:#}") };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(fail)?);
    for (path, source) in SOURCES {
        environment.add_template(path, source).map_err(fail)?;
    }
    environment.get_template(name).and_then(|template| template.render(Serde(&values))).map_err(fail)
}

/// Renders a template to the YAML documents in it.
pub fn objects(name: &str, values: impl Serialize) -> Result<Vec<Value>, Error> {
    let text = render(name, values)?;
    parse(&text).map_err(|reason| Error { name: name.to_owned(), reason })
}

/// The documents of a YAML stream, without empty ones.
pub fn parse(text: &str) -> Result<Vec<Value>, String> {
    use serde::Deserialize;
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| error.to_string())?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// Lays `over` over `under`: objects are merged field by field, everything else is replaced.
pub fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_template_parses_and_wants_its_values() {
        for (name, _) in SOURCES {
            // Those without a value to give must render; the others must refuse to render without theirs.
            match render(name, json!({})) {
                Ok(text) => assert!(!text.contains("{{"), "{name}"),
                Err(error) => assert!(error.reason.contains("undefined"), "{error}"),
            }
        }
    }

    #[test]
    fn values_cannot_leave_their_place() {
        let evil = "x\"\n  evil: true";
        let all = objects(KUBE_PROXY_CONFIG, json!({"pod_subnet": evil})).unwrap();
        assert_eq!(all[0]["clusterCIDR"], evil);
        assert!(all[0].get("evil").is_none());
    }

    #[test]
    fn merging_goes_field_by_field() {
        let mut under = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut under, &json!({"a": {"c": [3]}, "e": 2}));
        assert_eq!(under, json!({"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}));
    }
}
