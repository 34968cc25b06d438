//! Node ports: a bitmap in one key of etcd, changed by compare-and-swap.

use std::collections::BTreeSet;

use base64::Engine;
use bytes::Bytes;
use kinit_api::object::Object;
use kinit_api::status::Status;
use serde_json::{Value, json};

use super::{Taken, ports_of};
use crate::handlers::Api;
use crate::options::PortRange;
use crate::storage::{Etcd, WriteError};

const ATTEMPTS: usize = 16;
const NODE_PORTS: &str = "ranges/servicenodeports";

/// Gives every port that wants one a node port, and the health check where the Service is local.
pub(super) async fn take_ports(
    api: &Api,
    service: &mut Object,
    old: Option<&Object>,
    taken: &mut Taken,
) -> Result<(), Status> {
    let kind = service.str(&["spec", "type"]).to_owned();
    let balanced = kind == "LoadBalancer";
    let wants = kind == "NodePort"
        || (balanced && service.get(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false)));
    let had = old.map(ports_of).unwrap_or_default();
    let local = balanced && service.str(&["spec", "externalTrafficPolicy"]) == "Local";
    if !local {
        service.remove(&["spec", "healthCheckNodePort"]);
    }
    let health = service.get(&["spec", "healthCheckNodePort"]).and_then(Value::as_u64).unwrap_or(0);
    let name = service.name().to_owned();
    let Some(list) = service.get_mut(&["spec", "ports"]).and_then(Value::as_array_mut) else { return Ok(()) };
    if !wants && !balanced {
        for port in list.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
        return Ok(());
    }
    // One number may serve two protocols of the same Service.
    let mut own: BTreeSet<u16> = had;
    let range = api.options.service_node_port_range;
    for at in 0..list.len() {
        let mut asked = list[at]["nodePort"].as_u64().unwrap_or(0);
        if asked == 0 && !wants {
            continue;
        }
        if asked == 0 && old.is_none() {
            asked = of_the_same_port(list, at);
        }
        let port = &mut list[at];
        let number = u16::try_from(asked).unwrap_or(0);
        if number != 0 && own.contains(&number) {
            port["nodePort"] = number.into();
            continue;
        }
        let number = take_port(&api.etcd, range, number).await.map_err(|problem| match problem {
            PortProblem::Failed(status) => status,
            PortProblem::Refused(why) => {
                let text = format!("Invalid value: {asked}: {why}");
                let errors = [("FieldValueInvalid", format!("spec.ports[{at}].nodePort"), text)];
                Status::invalid("", "Service", &name, &errors)
            }
        })?;
        own.insert(number);
        taken.ports.push(number);
        port["nodePort"] = number.into();
    }
    if local && health == 0 {
        let number = take_port(&api.etcd, range, 0).await.map_err(|problem| match problem {
            PortProblem::Failed(status) => status,
            PortProblem::Refused(why) => Status::internal(format!("failed to allocate HealthCheck NodePort: {why}")),
        })?;
        taken.ports.push(number);
        service.set(&["spec", "healthCheckNodePort"], number);
    }
    Ok(())
}

/// The node port that another port of the same number has or asks for, which is for another protocol then; 0 if there is none.
fn of_the_same_port(ports: &[Value], at: usize) -> u64 {
    let same = ports.iter().filter(|port| port["port"] == ports[at]["port"]);
    same.filter_map(|port| port["nodePort"].as_u64()).find(|number| *number != 0).unwrap_or(0)
}

pub(super) enum PortProblem {
    Refused(String),
    Failed(Status),
}

/// Takes a port, or any if it is 0.
async fn take_port(etcd: &Etcd, range: PortRange, wanted: u16) -> Result<u16, PortProblem> {
    if wanted != 0 && !(range.first..=range.last).contains(&wanted) {
        let why = format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            range.first, range.last
        );
        return Err(PortProblem::Refused(why));
    }
    let mut chosen = wanted;
    change_bitmap(etcd, range, |bitmap| {
        if wanted == 0 {
            let count = u32::from(range.last - range.first) + 1;
            let start = rand::random_range(0..count);
            let free = (0..count).map(|step| (start + step) % count).find(|index| !bitmap.contains(*index));
            let index = free.ok_or_else(|| "range is full".to_owned())?;
            chosen = range.first + u16::try_from(index).unwrap_or(0);
        }
        if bitmap.insert(u32::from(chosen - range.first)) {
            Ok(())
        } else {
            Err("provided port is already allocated".to_owned())
        }
    })
    .await?;
    Ok(chosen)
}

pub(super) async fn release_ports(api: &Api, ports: &[u16]) {
    if ports.is_empty() {
        return;
    }
    let range = api.options.service_node_port_range;
    let released = change_bitmap(&api.etcd, range, |bitmap| {
        for port in ports.iter().filter(|port| (range.first..=range.last).contains(port)) {
            bitmap.remove(u32::from(port - range.first));
        }
        Ok(())
    });
    if released.await.is_err() {
        tracing::warn!(?ports, "could not be released; the next repair will");
    }
}

/// The taken ports, a bit each, as Go's big.Int writes its bytes: the highest first.
pub(super) struct Bitmap(pub(super) Vec<u8>);

impl Bitmap {
    fn place(&self, index: u32) -> Option<(usize, u8)> {
        let from_end = usize::try_from(index / 8).ok()?;
        Some((self.0.len().checked_sub(from_end + 1)?, 1 << (index % 8)))
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.place(index).is_some_and(|(at, bit)| self.0[at] & bit != 0)
    }

    pub(super) fn insert(&mut self, index: u32) -> bool {
        let needed = usize::try_from(index / 8).unwrap_or(0) + 1;
        if self.0.len() < needed {
            let mut grown = vec![0; needed - self.0.len()];
            grown.append(&mut self.0);
            self.0 = grown;
        }
        let Some((at, bit)) = self.place(index) else { return false };
        let free = self.0[at] & bit == 0;
        self.0[at] |= bit;
        free
    }

    pub(super) fn remove(&mut self, index: u32) {
        if let Some((at, bit)) = self.place(index) {
            self.0[at] &= !bit;
        }
    }
}

pub(super) async fn change_bitmap(
    etcd: &Etcd,
    range: PortRange,
    mut change: impl FnMut(&mut Bitmap) -> Result<(), String>,
) -> Result<(), PortProblem> {
    let key = etcd.other_key(NODE_PORTS);
    let base64 = base64::engine::general_purpose::STANDARD;
    let shown = format!("{}-{}", range.first, range.last);
    for _ in 0..ATTEMPTS {
        let stored = etcd.get(&key).await.map_err(PortProblem::Failed)?;
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        let object = stored.and_then(|stored| Object::from_slice(&stored.value).ok()).unwrap_or_default();
        // Bits of another range say nothing about this one; repair sets those that are in use.
        let data = if object.str(&["range"]) == shown { object.str(&["data"]) } else { "" };
        let mut bitmap = Bitmap(base64.decode(data).unwrap_or_default());
        change(&mut bitmap).map_err(PortProblem::Refused)?;
        let value = json!({"kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
            "range": shown, "data": base64.encode(&bitmap.0)});
        match etcd.put(&key, Bytes::from(value.to_string()), revision).await {
            Ok(_) => return Ok(()),
            Err(WriteError::Mismatch(_)) => {}
            Err(WriteError::Failed(status)) => return Err(PortProblem::Failed(status)),
        }
    }
    Err(PortProblem::Failed(Status::unavailable("too many writers of node ports; try again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_of_one_port_share_a_node_port() {
        let ports = [
            json!({"port": 53, "protocol": "UDP"}),
            json!({"port": 80, "nodePort": 30080}),
            json!({"port": 53, "protocol": "TCP", "nodePort": 30053}),
            json!({"port": 81}),
        ];
        assert_eq!([0, 1, 3].map(|at| of_the_same_port(&ports, at)), [30053, 30080, 0]);
    }

    #[test]
    fn a_bitmap_is_written_as_go_does() {
        let mut bitmap = Bitmap(Vec::new());
        assert!(bitmap.insert(0) && bitmap.insert(9));
        assert!(!bitmap.insert(9));
        assert_eq!(bitmap.0, [2, 1]);
        bitmap.remove(9);
        assert!(!bitmap.contains(9) && bitmap.contains(0) && !bitmap.contains(100));
    }
}
