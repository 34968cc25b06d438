//! What the pods of this node hold of it: a pod that wants what is not left, or what another has, is not taken. Pure.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use kinit_demand::{HostPort, Resources, host_ports, requests};

use super::facts;
use super::status::Failure;

/// What there is for pods, in the units of [`Resources`].
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Pods.
    pub pods: i64,
}

/// What each pod holds, by uid.
#[derive(Debug, Default)]
pub struct Claims(HashMap<String, Claim>);

#[derive(Debug)]
struct Claim {
    ports: Vec<HostPort>,
    resources: Resources,
}

impl Claims {
    /// Takes what a pod wants, or says why it cannot have it, in the words of upstream's kubelet.
    pub fn take(&mut self, pod: &Pod, room: Room) -> Result<(), Failure> {
        let uid = facts::uid(pod);
        if self.0.contains_key(uid) {
            return Ok(());
        }
        let wanted = Claim::of(pod);
        let used = |name: &str| self.0.values().map(|claim| claim.resources.get(name)).sum::<i64>();
        let amounts = [
            ("pods", "OutOfpods", 1, self.0.len() as i64, room.pods),
            ("cpu", "OutOfcpu", wanted.resources.get("cpu"), used("cpu"), room.cpu),
            ("memory", "OutOfmemory", wanted.resources.get("memory"), used("memory"), room.memory),
        ];
        if let Some((name, reason, requested, used, capacity)) =
            amounts.into_iter().find(|(_, _, requested, used, capacity)| *requested > 0 && used + requested > *capacity)
        {
            return Err(Failure {
                reason,
                message: format!(
                    "Pod was rejected: Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
                ),
            });
        }
        let mut held = self.0.values().flat_map(|claim| &claim.ports);
        if held.any(|held| wanted.ports.iter().any(|port| port.conflicts(held))) {
            let message = "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
            return Err(Failure { reason: "NodePorts", message: message.into() });
        }
        self.0.insert(uid.to_owned(), wanted);
        Ok(())
    }

    /// Notes what a pod has that was taken before: by a kubelet before this one, or that is always taken.
    pub fn note(&mut self, pod: &Pod) {
        self.0.entry(facts::uid(pod).to_owned()).or_insert_with(|| Claim::of(pod));
    }

    /// Gives back what a pod held.
    pub fn release(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

impl Claim {
    fn of(pod: &Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        Self { ports: host_ports(&spec), resources: requests(&spec) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, cpu: &str, port: i32) -> Pod {
        let container = json!({"name": "c", "ports": [{"containerPort": 80, "hostPort": port}],
            "resources": {"requests": {"cpu": cpu}}});
        serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {"containers": [container]}})).unwrap()
    }

    #[test]
    fn nothing_is_given_twice() {
        let room = Room { cpu: 2000, memory: 1 << 30, pods: 3 };
        let mut claims = Claims::default();
        let mut take = |pod: Pod| claims.take(&pod, room).map_err(|failure| failure.reason);
        assert_eq!(take(pod("a", "1", 8080)), Ok(()));
        assert_eq!(take(pod("a", "1", 8080)), Ok(()));
        assert_eq!(take(pod("b", "1", 8080)), Err("NodePorts"));
        assert_eq!(take(pod("c", "1500m", 0)), Err("OutOfcpu"));
        assert_eq!(take(pod("d", "1", 0)), Ok(()));
        assert_eq!(take(pod("e", "0", 0)), Ok(()));
        assert_eq!(take(pod("f", "0", 0)), Err("OutOfpods"));
        claims.release("a");
        assert!(claims.take(&pod("b", "1", 8080), room).is_ok());
        claims.note(&pod("g", "9", 0));
        assert_eq!(claims.take(&pod("h", "1m", 0), Room { pods: 9, ..room }).unwrap_err().reason, "OutOfcpu");
    }
}
