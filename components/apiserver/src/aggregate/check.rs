//! Whether the server of an APIService can be reached at all, from its Service and its slices: upstream's reasons and words; pure.

use kinit_api::object::Object;
use serde_json::Value;

/// Why it cannot: the condition's reason and message.
pub type Refusal = (&'static str, String);

/// Looks at the Service `name` of `namespace`, which is asked on `port`. A Service of another type than ClusterIP has nothing
/// that could be looked at.
pub fn check(
    (namespace, name, port): (&str, &str, u64),
    service: Option<&Object>,
    slices: &[Object],
) -> Result<(), Refusal> {
    let place = format!("service/{name} in {namespace:?}");
    let Some(service) = service else { return Err(("ServiceNotFound", format!("{place} is not present"))) };
    if !matches!(service.str(&["spec", "type"]), "" | "ClusterIP") {
        return Ok(());
    }
    let ports = service.get(&["spec", "ports"]).and_then(Value::as_array);
    let Some(declared) = ports.into_iter().flatten().find(|own| own["port"] == port) else {
        return Err(("ServicePortError", format!("{place} is not listening on port {port}")));
    };
    if slices.is_empty() {
        return Err(("EndpointsNotFound", format!("cannot find endpointslices for {place}")));
    }
    let port_name = declared["name"].as_str().unwrap_or_default();
    if slices.iter().any(|slice| answers(slice, port_name)) {
        return Ok(());
    }
    let message = format!("endpointslices for {place} have no addresses with port name {port_name:?}");
    Err(("MissingEndpoints", message))
}

/// Whether a slice has the port and an endpoint that is ready.
fn answers(slice: &Object, port_name: &str) -> bool {
    let list = |field: &str| slice.get(&[field]).and_then(Value::as_array).into_iter().flatten();
    list("ports").any(|port| port["name"].as_str().unwrap_or_default() == port_name)
        && list("endpoints").any(|endpoint| endpoint["conditions"]["ready"] != false)
}

/// Where upstream says that the Service is asked: by its address, or by the name that stands outside of the cluster.
pub fn authority(service: &Object, port: u64) -> String {
    let host = match service.str(&["spec", "type"]) {
        "ExternalName" => service.str(&["spec", "externalName"]),
        _ => service.str(&["spec", "clusterIP"]),
    };
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    #[test]
    fn what_is_missing_is_told_with_upstreams_reasons() {
        let service = object(
            json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 443, "name": "h"}]}}),
        );
        let outside = object(json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}));
        let slice =
            |port: &str, endpoints: Value| vec![object(json!({"ports": [{"name": port}], "endpoints": endpoints}))];
        let one = json!([{"addresses": ["10.1.1.1"]}]);
        let unready = json!([{"addresses": ["10.1.1.1"], "conditions": {"ready": false}}]);
        let none = "endpointslices for service/s in \"d\" have no addresses with port name \"h\"";
        for (service, port, slices, wanted) in [
            (None, 443, vec![], Err(("ServiceNotFound", "service/s in \"d\" is not present"))),
            (Some(&service), 444, vec![], Err(("ServicePortError", "service/s in \"d\" is not listening on port 444"))),
            (
                Some(&service),
                443,
                vec![],
                Err(("EndpointsNotFound", "cannot find endpointslices for service/s in \"d\"")),
            ),
            (Some(&service), 443, slice("h", json!([])), Err(("MissingEndpoints", none))),
            (Some(&service), 443, slice("h", unready), Err(("MissingEndpoints", none))),
            (Some(&service), 443, slice("x", one.clone()), Err(("MissingEndpoints", none))),
            (Some(&service), 443, slice("h", one), Ok(())),
            (Some(&outside), 443, vec![], Ok(())),
        ] {
            let found = check(("d", "s", port), service, &slices);
            assert_eq!(
                found.as_ref().map_err(|(reason, message)| (*reason, message.as_str())),
                wanted.as_ref().map_err(|it| *it)
            );
        }
        assert_eq!((authority(&service, 443), authority(&outside, 1)), ("10.0.0.1:443".into(), "a.b:1".into()));
    }
}
