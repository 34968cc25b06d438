//! Ranges of Services' addresses: one that is there says that it is ready, and one that is deleted is held as long as
//! addresses of Services would be left without a range.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kinit_runtime::{Informer, Queue, key_of, work};
use kube::Api;
use serde_json::{Value, json};

use crate::context::Context;
use crate::write;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED: &str = "ipaddress.kubernetes.io/managed-by";
/// The API server's allocator; addresses of others are theirs.
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// An allocator that has not seen the deletion yet may still take an address for this long.
const GRACE: Duration = Duration::from_secs(10);
const READY: &str = "Kubernetes Service CIDR is ready";
const HELD: &str =
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

/// Addresses from a first to a last, which are of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: IpAddr,
    last: IpAddr,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let length: u32 = length.parse().ok()?;
        Some(match address.parse().ok()? {
            IpAddr::V4(address) => {
                let rest = u32::MAX.checked_shr(length).unwrap_or(0);
                let first = u32::from(address) & !rest;
                Self { first: IpAddr::V4(first.into()), last: IpAddr::V4((first | rest).into()) }
            }
            IpAddr::V6(address) => {
                let rest = u128::MAX.checked_shr(length).unwrap_or(0);
                let first = u128::from(address) & !rest;
                Self { first: IpAddr::V6(first.into()), last: IpAddr::V6((first | rest).into()) }
            }
        })
    }

    fn has(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && (self.first..=self.last).contains(&address)
    }
}

fn ranges(cidr: &ServiceCIDR) -> Vec<Range> {
    let all = cidr.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    all.filter_map(|text| Range::parse(text)).collect()
}

/// Whether a range that is being deleted is still needed. Pure.
fn is_needed(cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[IpAddr]) -> bool {
    let others: Vec<Range> =
        all.iter().filter(|one| one.metadata.name != cidr.metadata.name).flat_map(|one| ranges(one)).collect();
    let elsewhere = |address: IpAddr| others.iter().any(|range| range.has(address));
    let own = ranges(cidr);
    addresses.iter().any(|address| own.iter().any(|range| range.has(*address)) && !elsewhere(*address))
}

/// What is to be done for one. Pure.
#[derive(Debug, PartialEq)]
enum Step {
    /// Its finalizers become these.
    Finalizers(Vec<String>),
    /// Its condition becomes this: whether it is ready, why, and in words.
    Say(bool, &'static str, &'static str),
    /// It is looked at again later.
    Wait(Duration),
    Nothing,
}

fn step(cidr: &ServiceCIDR, needed: bool, now: Timestamp) -> Step {
    let mut finalizers = cidr.metadata.finalizers.clone().unwrap_or_default();
    let held = finalizers.iter().any(|one| one == FINALIZER);
    let (ready, reason, message) = match &cidr.metadata.deletion_timestamp {
        None if !held => {
            finalizers.push(FINALIZER.into());
            return Step::Finalizers(finalizers);
        }
        None => (true, "", READY),
        Some(_) if !held => return Step::Nothing,
        Some(_) if needed => (false, "Terminating", HELD),
        Some(begun) => {
            let passed = Duration::try_from(now.duration_since(begun.0)).unwrap_or_default();
            if passed < GRACE {
                return Step::Wait(GRACE - passed);
            }
            finalizers.retain(|one| one != FINALIZER);
            return Step::Finalizers(finalizers);
        }
    };
    let status = if ready { "True" } else { "False" };
    let present = condition(cidr);
    if present.is_some_and(|one| (&*one.status, &*one.reason, &*one.message) == (status, reason, message)) {
        return Step::Nothing;
    }
    Step::Say(ready, reason, message)
}

fn condition(cidr: &ServiceCIDR) -> Option<&Condition> {
    let all = cidr.status.as_ref()?.conditions.as_ref()?;
    all.iter().find(|one| one.type_ == "Ready")
}

/// The status with a condition said.
fn said(cidr: &ServiceCIDR, ready: bool, reason: &str, message: &str, now: Timestamp) -> Value {
    let status = if ready { "True" } else { "False" };
    let kept = condition(cidr).filter(|one| one.status == status).map(|one| one.last_transition_time.clone());
    let others = cidr.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut all: Vec<Value> = others.filter(|one| one.type_ != "Ready").map(|one| json!(one)).collect();
    all.push(json!({"type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": kept.map_or_else(|| json!(now), |kept| json!(kept))}));
    json!({"status": {"conditions": all}})
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>) {
    let actor = context.actor("service-cidrs-controller").await;
    // Nobody else here looks at these two.
    let all: Arc<Informer<ServiceCIDR>> = Informer::start(actor.client(), &context.shutdown);
    let addresses: Arc<Informer<IPAddress>> = Informer::start(actor.client(), &context.shutdown);
    all.synced().await;
    addresses.synced().await;
    let queue = Queue::new();
    let (keys, known) = (queue.clone(), all.clone());
    all.handle(move |_, _| known.list().iter().for_each(|cidr| keys.add(key_of(cidr.as_ref()))));
    let (keys, known) = (queue.clone(), all.clone());
    addresses.handle(move |_, _| {
        // An address matters to a range that waits for its end alone.
        let ending = known.list().into_iter().filter(|cidr| cidr.metadata.deletion_timestamp.is_some());
        ending.for_each(|cidr| keys.add(key_of(cidr.as_ref())));
    });
    work("service-cidrs", queue, 1, context.shutdown.clone(), move |name: String| {
        let (all, addresses, actor) = (all.clone(), addresses.clone(), actor.clone());
        async move {
            let Some(cidr) = all.get(&name) else { return Ok::<_, kube::Error>(None) };
            let needed = cidr.metadata.deletion_timestamp.is_some() && {
                let ours = |one: &Arc<IPAddress>| {
                    let manager = one.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED));
                    manager.is_some_and(|manager| manager == ALLOCATOR)
                };
                let taken = addresses.list().into_iter().filter(ours);
                let taken: Vec<IpAddr> = taken.filter_map(|one| one.metadata.name.as_ref()?.parse().ok()).collect();
                is_needed(&cidr, &all.list(), &taken)
            };
            let (api, now) = (Api::<ServiceCIDR>::all(actor.client()), Timestamp::now());
            match step(&cidr, needed, now) {
                Step::Finalizers(finalizers) => {
                    write::object(&api, cidr.as_ref(), &json!({"metadata": {"finalizers": finalizers}})).await?;
                }
                Step::Say(ready, reason, message) => {
                    write::status(&api, cidr.as_ref(), &said(&cidr, ready, reason, message, now)).await?;
                }
                Step::Wait(pause) => return Ok(Some(pause)),
                Step::Nothing => {}
            }
            Ok(None)
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(name: &str, cidrs: &[&str], deleted: Option<&str>, finalizers: &[&str]) -> Arc<ServiceCIDR> {
        let metadata = json!({"name": name, "deletionTimestamp": deleted, "finalizers": finalizers});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": {"cidrs": cidrs}})).unwrap())
    }

    #[test]
    fn a_range_is_needed_while_it_alone_has_an_address() {
        let own = || cidr("own", &["10.96.0.0/16", "fd00::/112"], None, &[]);
        for (others, addresses, wanted) in [
            (vec![], vec![], false),
            (vec![], vec!["10.96.3.4"], true),
            (vec![], vec!["10.97.0.1"], false),
            (vec![], vec!["fd00::7"], true),
            (vec!["10.0.0.0/8"], vec!["10.96.3.4"], false),
            (vec!["10.96.4.0/24"], vec!["10.96.3.4"], true),
            (vec!["10.96.0.0/16"], vec!["10.96.0.1", "fd00::7"], true),
        ] {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text: &&str| text.parse().unwrap()).collect();
            let all = [own(), cidr("other", &others, None, &[])];
            assert_eq!(is_needed(&own(), &all, &addresses), wanted, "{others:?} {addresses:?}");
        }
        assert_eq!(Range::parse("10.0.0.0/0").map(|range| range.has([9, 9, 9, 9].into())), Some(true));
        assert!(Range::parse("10.0.0.0").is_none());
    }

    #[test]
    fn a_range_is_held_then_ready_and_at_last_let_go() {
        let now: Timestamp = "2027-01-01T00:01:00Z".parse().unwrap();
        let (early, late) = (Some("2027-01-01T00:00:55Z"), Some("2027-01-01T00:00:00Z"));
        for (deleted, finalizers, needed, wanted) in [
            (None, vec![], false, Step::Finalizers(vec![FINALIZER.into()])),
            (None, vec![FINALIZER], false, Step::Say(true, "", READY)),
            (late, vec![FINALIZER], true, Step::Say(false, "Terminating", HELD)),
            (early, vec![FINALIZER], false, Step::Wait(Duration::from_secs(5))),
            (late, vec!["x", FINALIZER], false, Step::Finalizers(vec!["x".into()])),
            (late, vec!["x"], false, Step::Nothing),
        ] {
            let found = step(&cidr("own", &["10.0.0.0/8"], deleted, &finalizers), needed, now);
            assert_eq!(found, wanted, "{deleted:?} {finalizers:?} {needed}");
        }
        let mut ready = ServiceCIDR::clone(&cidr("own", &[], None, &[FINALIZER]));
        ready.status = serde_json::from_value(said(&ready, true, "", READY, now)["status"].clone()).unwrap();
        assert_eq!(step(&ready, false, now), Step::Nothing);
    }
}
