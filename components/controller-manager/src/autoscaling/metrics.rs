//! What the servers of metrics say.

use std::collections::BTreeMap;

use kinit_api::quantity::Quantity;
use serde_json::Value;

/// Asks one of the APIs of metrics; the error says why there is no answer.
async fn get(client: &kube::Client, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
    let pairs: Vec<String> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", encode(value)))
        .collect();
    let separator = if pairs.is_empty() { "" } else { "?" };
    let request = http::Request::get(format!("{path}{separator}{}", pairs.join("&"))).body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    client.request::<Value>(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    })
}

/// Everything but letters, digits and `-._~` by its code.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn milli(value: &Value) -> Option<i64> {
    value.as_str()?.parse::<Quantity>().ok().map(Quantity::milli_value)
}

/// What pods use of a resource, by name, in thousandths; with `container` that one of each alone.
pub async fn of_resource(
    client: &kube::Client,
    namespace: &str,
    selector: &str,
    resource: &str,
    container: Option<&str>,
) -> Result<BTreeMap<String, i64>, String> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let list = get(client, &path, &[("labelSelector", selector)]).await;
    let list = list.map_err(|error| format!("unable to fetch metrics from resource metrics API: {error}"))?;
    let all = usage(&list, resource, container);
    if all.is_empty() { Err("no metrics returned from resource metrics API".into()) } else { Ok(all) }
}

/// The sums of a PodMetricsList; pods of which a container has no figure are left out. Pure.
fn usage(list: &Value, resource: &str, container: Option<&str>) -> BTreeMap<String, i64> {
    let pods = list["items"].as_array().into_iter().flatten();
    pods.filter_map(|pod| {
        let containers = pod["containers"].as_array()?;
        let mut wanted = containers.iter().filter(|one| container.is_none_or(|name| one["name"] == name)).peekable();
        wanted.peek()?;
        let used: Option<i64> = wanted.map(|one| milli(&one["usage"][resource])).sum();
        Some((pod["metadata"]["name"].as_str()?.to_owned(), used?))
    })
    .collect()
}

/// What a custom metric says of things, by name, in thousandths.
pub async fn of_objects(
    client: &kube::Client,
    namespace: &str,
    objects: &str,
    metric: &str,
    (selector, of_metric): (&str, &str),
) -> Result<BTreeMap<String, i64>, String> {
    let path = format!("/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/{objects}/{metric}");
    let list = get(client, &path, &[("labelSelector", selector), ("metricLabelSelector", of_metric)]).await;
    let list = list.map_err(|error| format!("unable to fetch metrics from custom metrics API: {error}"))?;
    let values = list["items"].as_array().into_iter().flatten();
    let all: BTreeMap<String, i64> = values
        .filter_map(|one| Some((one["describedObject"]["name"].as_str()?.to_owned(), milli(&one["value"])?)))
        .collect();
    if all.is_empty() { Err("no metrics returned from custom metrics API".into()) } else { Ok(all) }
}

/// The sum of an external metric, in thousandths.
pub async fn external(client: &kube::Client, namespace: &str, metric: &str, selector: &str) -> Result<i64, String> {
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
    let list = get(client, &path, &[("labelSelector", selector)]).await;
    let list = list.map_err(|error| format!("unable to fetch metrics from external metrics API: {error}"))?;
    let values: Vec<i64> =
        list["items"].as_array().into_iter().flatten().filter_map(|one| milli(&one["value"])).collect();
    if values.is_empty() {
        Err("no metrics returned from external metrics API".into())
    } else {
        Ok(values.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_whose_containers_all_have_figures_count() {
        let list = json!({"items": [
            {"metadata": {"name": "a"}, "containers": [
                {"name": "x", "usage": {"cpu": "250m"}}, {"name": "y", "usage": {"cpu": "1"}}]},
            {"metadata": {"name": "b"}, "containers": [{"name": "x", "usage": {"memory": "1Mi"}}]}]});
        assert_eq!(usage(&list, "cpu", None), BTreeMap::from([("a".to_owned(), 1250)]));
        assert_eq!(usage(&list, "cpu", Some("y")), BTreeMap::from([("a".to_owned(), 1000)]));
        assert_eq!(encode("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
