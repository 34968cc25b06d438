//! What a Service asks for, made plain before it is validated: what an update leaves out it keeps, the two fields of its
//! addresses agree, and the families of its addresses follow from its policy. Pure.

use kinit_api::object::Object;
use kinit_api::status::Status;
use kinit_api::validate::field::{self, Error, Errors, Path};
use serde_json::Value;

use super::{change, strings};

const POLICY: [&str; 2] = ["spec", "ipFamilyPolicy"];
const ADDRESS: [&str; 2] = ["spec", "clusterIP"];
const SINGLE: &str = "SingleStack";

/// Settles `service` on a cluster that has these families, of which the first is its own. `old` is the stored one.
pub fn settle(service: &mut Object, old: Option<&Object>, configured: &[&str]) -> Result<(), Status> {
    if let Some(old) = old {
        keep(service, old);
    }
    agree(service, old);
    if service.str(&["spec", "type"]) == "ExternalName" || old.is_some_and(|old| prefers_as_before(service, old)) {
        return Ok(());
    }
    policy(service, old);
    let unread = |address: &String| address != "None" && address.parse::<std::net::IpAddr>().is_err();
    let families = strings(service, "ipFamilies");
    let unknown =
        |(at, family): (usize, &String)| !matches!(family.as_str(), "IPv4" | "IPv6") || families[..at].contains(family);
    if strings(service, "clusterIPs").iter().any(unread) || families.iter().enumerate().any(unknown) {
        // Validation says what is wrong with them.
        return Ok(());
    }
    let mut errors = Errors::new();
    if let Some(old) = old {
        reduce(service, old, &mut errors);
    }
    plural(service, &mut errors);
    infer(service, configured, &mut errors);
    refuse(service, &errors)?;
    complete(service, configured, &mut errors);
    refuse(service, &errors)
}

fn refuse(service: &Object, errors: &[Error]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(field::status("", "Service", service.name(), errors)) }
}

/// What was given to the Service stays with it if the update does not name it.
fn keep(service: &mut Object, old: &Object) {
    if change::has_cluster_ip(old) && change::has_cluster_ip(service) {
        if service.str(&ADDRESS).is_empty() && !old.str(&ADDRESS).is_empty() {
            service.set(&ADDRESS, old.str(&ADDRESS));
        }
        if strings(service, "clusterIPs").is_empty() && !strings(old, "clusterIPs").is_empty() {
            service.set(&["spec", "clusterIPs"], strings(old, "clusterIPs"));
        }
    }
    if change::has_node_ports(old) && change::has_node_ports(service) {
        keep_ports(service, old);
    }
    let health = ["spec", "healthCheckNodePort"];
    let unset = service.get(&health).and_then(Value::as_i64).unwrap_or(0) == 0;
    if change::has_health_port(old)
        && change::has_health_port(service)
        && unset
        && let Some(port) = old.get(&health).cloned()
    {
        service.set(&health, port);
    }
}

/// A port keeps its node port by its name, unless another one has it now.
fn keep_ports(service: &mut Object, old: &Object) {
    let before = old.get(&["spec", "ports"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(ports) = service.get_mut(&["spec", "ports"]).and_then(Value::as_array_mut) else { return };
    let taken: Vec<u64> = ports.iter().filter_map(|port| port["nodePort"].as_u64()).collect();
    for port in ports.iter_mut().filter(|port| port["nodePort"].as_u64().unwrap_or(0) == 0) {
        let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
        let own = before.iter().rev().find(|own| name(own) == name(port)).and_then(|own| own["nodePort"].as_u64());
        if let Some(number) = own.filter(|number| *number != 0 && !taken.contains(number)) {
            port["nodePort"] = number.into();
        }
    }
}

/// Old clients know one field of the address, newer ones both.
fn agree(service: &mut Object, old: Option<&Object>) {
    let (first, all) = (service.str(&ADDRESS).to_owned(), strings(service, "clusterIPs"));
    let Some(old) = old else {
        if !first.is_empty() && all.is_empty() {
            service.set(&["spec", "clusterIPs"], vec![first]);
        }
        return;
    };
    let (old_first, old_all) = (old.str(&ADDRESS), strings(old, "clusterIPs"));
    if !old_all.is_empty() && all.is_empty() && old_first == first {
        service.set(&["spec", "clusterIPs"], old_all);
    } else if old_first != first && all == old_all {
        if first.is_empty() {
            service.remove(&["spec", "clusterIPs"]);
        } else {
            service.set(&["spec", "clusterIPs"], vec![first]);
        }
    }
}

/// Whether nothing is said about the families of a Service that takes what there is: it stays with what it has.
fn prefers_as_before(service: &Object, old: &Object) -> bool {
    const PREFER: &str = "PreferDualStack";
    service.str(&POLICY) == PREFER
        && matches!(old.str(&POLICY), "" | PREFER)
        && service.str(&["spec", "type"]) == old.str(&["spec", "type"])
        && ["clusterIPs", "ipFamilies"].iter().all(|field| strings(service, field) == strings(old, field))
}

fn has_selector(service: &Object) -> bool {
    service.get(&["spec", "selector"]).and_then(Value::as_object).is_some_and(|map| !map.is_empty())
}

fn policy(service: &mut Object, old: Option<&Object>) {
    if service.get(&POLICY).is_some_and(Value::is_string) {
        return;
    }
    let before = old.map(|old| old.str(&POLICY)).unwrap_or_default();
    let policy = if !before.is_empty() {
        before
    } else if service.str(&ADDRESS) == "None" && !has_selector(service) {
        "RequireDualStack"
    } else {
        SINGLE
    };
    service.set(&POLICY, policy);
}

/// A Service of one family gives its second one back, and says so by its policy.
fn reduce(service: &mut Object, old: &Object, errors: &mut Errors) {
    let fields = [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")];
    for (field, shown) in fields {
        let (now, before) = (strings(service, field), strings(old, field));
        if service.str(&POLICY) == SINGLE {
            if now == before && now.len() > 1 {
                service.set(&["spec", field], vec![now[0].clone()]);
            }
        } else if !now.is_empty() && now.len() < before.len() {
            let text = format!("must be 'SingleStack' to release the secondary {shown}");
            errors.push(Error::invalid(&Path::new(&POLICY.join(".")), service.str(&POLICY), text));
        }
    }
}

fn plural(service: &Object, errors: &mut Errors) {
    if service.str(&POLICY) != SINGLE {
        return;
    }
    for (field, shown) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if strings(service, field).len() == 2 {
            let text = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {shown} are specified");
            errors.push(Error::invalid(&Path::new(&POLICY.join(".")), SINGLE, text));
        }
    }
}

/// An address says of which family it is.
fn infer(service: &mut Object, configured: &[&str], errors: &mut Errors) {
    let addresses = strings(service, "clusterIPs");
    let mut families = strings(service, "ipFamilies");
    for (at, address) in addresses.iter().take_while(|address| *address != "None").enumerate() {
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        if at < families.len() {
            continue;
        }
        if configured.contains(&family) {
            families.push(family.to_owned());
        } else {
            let path = Path::new("spec.clusterIPs").index(at);
            errors.push(Error::invalid(
                &path,
                addresses.clone(),
                format!("{family} is not configured on this cluster"),
            ));
        }
    }
    if !families.is_empty() {
        service.set(&["spec", "ipFamilies"], families);
    }
}

/// Adds the families that the policy asks for and the cluster has.
fn complete(service: &mut Object, configured: &[&str], errors: &mut Errors) {
    let other = |family: &str| if family == "IPv4" { "IPv6" } else { "IPv4" }.to_owned();
    let policy = service.str(&POLICY).to_owned();
    let mut families = strings(service, "ipFamilies");
    // Who chooses the endpoints of such a Service may choose them of either family, whatever the cluster has.
    let free = service.str(&ADDRESS) == "None" && !has_selector(service);
    if !free {
        if policy == "RequireDualStack" && configured.len() < 2 {
            let text = "this cluster is not configured for dual-stack services";
            errors.push(Error::invalid(&Path::new(&POLICY.join(".")), policy.as_str(), text));
        }
        for (at, family) in families.iter().enumerate().filter(|(_, family)| !configured.contains(&family.as_str())) {
            let path = Path::new("spec.ipFamilies").index(at);
            errors.push(Error::invalid(&path, family.as_str(), "not configured on this cluster"));
        }
        if !errors.is_empty() {
            return;
        }
    }
    if families.is_empty() {
        families.extend(configured.first().map(|family| (*family).to_owned()));
    }
    if policy != SINGLE && families.len() == 1 && (free || configured.len() == 2) {
        families.push(other(&families[0]));
    }
    service.set(&["spec", "ipFamilies"], families);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BOTH: &[&str] = &["IPv4", "IPv6"];

    fn service(spec: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
    }

    fn settled(spec: Value, old: Option<Value>, configured: &[&str]) -> Result<Value, String> {
        let mut new = service(spec);
        let old = old.map(service);
        settle(&mut new, old.as_ref(), configured).map_err(|status| status.message)?;
        Ok(new.into_value()["spec"].take())
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let old = json!({"type": "NodePort", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}]});
        let new = settled(json!({"type": "NodePort", "ports": [{"port": 81}]}), Some(old.clone()), BOTH).unwrap();
        assert_eq!((&new["clusterIP"], &new["clusterIPs"]), (&json!("10.0.0.5"), &json!(["10.0.0.5"])));
        assert_eq!(new["ports"][0]["nodePort"], 30001);
        let taken = json!({"type": "NodePort", "ports": [{"name": "a", "port": 81, "nodePort": 30001}, {"port": 80}]});
        assert_eq!(settled(taken, Some(old), BOTH).unwrap()["ports"][1]["nodePort"], Value::Null);
    }

    #[test]
    fn families_follow_policy_and_addresses() {
        let new =
            |spec: Value, configured: &[&str]| settled(spec, None, configured).map(|spec| spec["ipFamilies"].clone());
        assert_eq!(new(json!({"type": "ClusterIP"}), BOTH), Ok(json!(["IPv4"])));
        assert_eq!(new(json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}), BOTH), Ok(json!(["IPv6"])));
        assert_eq!(new(json!({"type": "ClusterIP", "clusterIP": "fd00::7"}), BOTH), Ok(json!(["IPv6"])));
        let policy = |policy: &str| json!({"type": "ClusterIP", "ipFamilyPolicy": policy});
        assert_eq!(new(policy("PreferDualStack"), BOTH), Ok(json!(["IPv4", "IPv6"])));
        assert_eq!(new(policy("PreferDualStack"), &BOTH[..1]), Ok(json!(["IPv4"])));
        let headless = json!({"type": "ClusterIP", "clusterIP": "None"});
        assert_eq!(new(headless.clone(), &BOTH[..1]), Ok(json!(["IPv4", "IPv6"])));
        assert_eq!(settled(headless, None, BOTH).unwrap()["ipFamilyPolicy"], "RequireDualStack");
        for (spec, why) in [
            (
                policy("RequireDualStack"),
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not",
            ),
            (json!({"type": "ClusterIP", "ipFamilies": ["IPv6"]}), "spec.ipFamilies[0]: Invalid value: \"IPv6\": not"),
            (
                json!({"type": "ClusterIP", "clusterIP": "fd00::7"}),
                "spec.clusterIPs[0]: Invalid value: [\"fd00::7\"]: IPv6",
            ),
            (
                json!({"type": "ClusterIP", "ipFamilies": ["IPv4", "IPv6"]}),
                "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack'",
            ),
        ] {
            let message = new(spec, &BOTH[..1]).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn a_second_family_is_taken_and_given_back() {
        let one = json!({"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack"});
        let mut more = one.clone();
        more["ipFamilyPolicy"] = json!("PreferDualStack");
        assert_eq!(settled(more, Some(one.clone()), BOTH).unwrap()["ipFamilies"], json!(["IPv4", "IPv6"]));
        let two = json!({"type": "ClusterIP", "clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5", "fd00::5"],
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"});
        let mut fewer = two.clone();
        fewer["ipFamilyPolicy"] = json!("SingleStack");
        let fewer = settled(fewer, Some(two.clone()), BOTH).unwrap();
        assert_eq!((&fewer["clusterIPs"], &fewer["ipFamilies"]), (&json!(["10.0.0.5"]), &json!(["IPv4"])));
        let mut unsaid = two.clone();
        unsaid["clusterIPs"] = json!(["10.0.0.5"]);
        let message = settled(unsaid, Some(two.clone()), BOTH).unwrap_err();
        assert!(message.contains("must be 'SingleStack' to release the secondary cluster IP"), "{message}");
        let mut alone = one.clone();
        alone["ipFamilyPolicy"] = json!("PreferDualStack");
        assert_eq!(settled(alone.clone(), Some(alone), BOTH).unwrap()["ipFamilies"], json!(["IPv4"]));
    }
}
