//! What the pods of this node hold of it: a pod that wants what is not left, or what another has, is not taken, unless it
//! is critical: then others make room. Pure.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;
use kinit_demand::{HostPort, Resources, host_ports, requests};

use super::facts::{self, Qos};
use super::resize::Pending;
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
    /// Whether the pod never makes room for others.
    critical: bool,
    /// Whose pods make room first: those of low priority, and of them those that asked for little.
    rank: (i32, u8),
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
            let message = format!(
                "Pod was rejected: Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return Err(Failure::new(reason, message));
        }
        let mut held = self.0.values().flat_map(|claim| &claim.ports);
        if held.any(|held| wanted.ports.iter().any(|port| port.conflicts(held))) {
            let message = "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
            return Err(Failure::new("NodePorts", message));
        }
        self.0.insert(uid.to_owned(), wanted);
        Ok(())
    }

    /// Notes what a pod has that was taken before: by a kubelet before this one, or that is always taken.
    pub fn note(&mut self, pod: &Pod) {
        self.0.entry(facts::uid(pod).to_owned()).or_insert_with(|| Claim::of(pod));
    }

    /// The pods, by uid, that have to go for a critical one that is not taken: as few as possible, the least important
    /// first. `None` if that would not help.
    pub fn victims(&self, pod: &Pod, room: Room) -> Option<Vec<String>> {
        let wanted = Claim::of(pod);
        let mut candidates: Vec<(&String, &Claim)> = self.0.iter().filter(|(_, one)| !one.critical).collect();
        candidates.sort_by_key(|(uid, one)| (one.rank, *uid));
        let fits = |gone: &[&String]| {
            let stay = || self.0.iter().filter(|(uid, _)| !gone.contains(uid)).map(|(_, claim)| claim);
            let used = |name: &str| stay().map(|claim| claim.resources.get(name)).sum::<i64>();
            let amount = |name: &str, most: i64| {
                wanted.resources.get(name) == 0 || used(name) + wanted.resources.get(name) <= most
            };
            let free =
                stay().flat_map(|claim| &claim.ports).all(|held| !wanted.ports.iter().any(|one| one.conflicts(held)));
            amount("cpu", room.cpu) && amount("memory", room.memory) && (stay().count() as i64) < room.pods && free
        };
        let mut gone: Vec<&String> = Vec::new();
        for (uid, _) in &candidates {
            if fits(&gone) {
                break;
            }
            gone.push(uid);
        }
        if !fits(&gone) {
            return None;
        }
        // Some that were taken for one shortage are not needed for what another took.
        for uid in gone.clone() {
            let fewer: Vec<&String> = gone.iter().copied().filter(|one| *one != uid).collect();
            if fits(&fewer) {
                gone = fewer;
            }
        }
        Some(gone.into_iter().cloned().collect())
    }

    /// Gives a pod that is there other amounts, or says why it has to wait for them or never gets them.
    pub fn resize(&mut self, pod: &Pod, room: Room) -> Result<(), Pending> {
        let uid = facts::uid(pod);
        let wanted = Claim::of(pod);
        let held = self.0.get(uid).map(|claim| claim.resources.clone()).unwrap_or_default();
        for (name, capacity) in [("cpu", room.cpu), ("memory", room.memory)] {
            let requested = wanted.resources.get(name);
            // Who wants less is never refused, even on a node that is too full.
            if requested <= held.get(name) {
                continue;
            }
            if requested > capacity {
                return Err(Pending {
                    reason: "Infeasible",
                    message: format!(
                        "Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}"
                    ),
                });
            }
            let others = self.0.iter().filter(|(other, _)| *other != uid);
            let used: i64 = others.map(|(_, claim)| claim.resources.get(name)).sum();
            if used + requested > capacity {
                return Err(Pending {
                    reason: "Deferred",
                    message: format!(
                        "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
                    ),
                });
            }
        }
        self.0.insert(uid.to_owned(), wanted);
        Ok(())
    }

    /// Gives back what a pod held.
    pub fn release(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

impl Claim {
    fn of(pod: &Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let quality = match facts::qos(pod) {
            Qos::BestEffort => 0,
            Qos::Burstable => 1,
            Qos::Guaranteed => 2,
        };
        Self {
            ports: host_ports(&spec),
            resources: requests(&spec),
            critical: facts::is_critical(pod),
            rank: (spec.priority.unwrap_or(0), quality),
        }
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
    fn the_least_important_make_room_for_the_critical() {
        let room = Room { cpu: 2000, memory: 1 << 30, pods: 9 };
        let of = |uid: &str, cpu: &str, priority: i32| {
            let mut made = pod(uid, cpu, 0);
            made.spec.as_mut().unwrap().priority = Some(priority);
            made
        };
        let mut claims = Claims::default();
        for one in
            [of("small", "100m", 0), of("large", "1", 0), of("dear", "500m", 9), of("own", "300m", 2_000_000_000)]
        {
            claims.take(&one, room).unwrap();
        }
        let victims = |cpu: &str| claims.victims(&of("new", cpu, 2_000_000_000), room);
        assert_eq!(victims("100m"), Some(vec![]));
        assert_eq!(victims("1"), Some(vec!["large".to_owned()]));
        assert_eq!(victims("1200m"), Some(vec!["large".to_owned(), "small".to_owned()]));
        assert_eq!(victims("1900m"), None);
    }

    #[test]
    fn a_pod_grows_as_far_as_there_is_room() {
        let room = Room { cpu: 2000, memory: 1 << 30, pods: 9 };
        let mut claims = Claims::default();
        claims.take(&pod("a", "1", 0), room).unwrap();
        claims.take(&pod("b", "500m", 0), room).unwrap();
        let mut grow = |uid: &str, cpu: &str| claims.resize(&pod(uid, cpu, 0), room).map_err(|pending| pending.reason);
        assert_eq!(grow("b", "3"), Err("Infeasible"));
        assert_eq!(grow("b", "1500m"), Err("Deferred"));
        assert_eq!(grow("a", "500m"), Ok(()));
        assert_eq!(grow("b", "1500m"), Ok(()));
        assert_eq!(grow("a", "600m"), Err("Deferred"));
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
