//! What `/healthz`, `/livez` and `/readyz` ask: upstream's checks in upstream's order, each of them a condition of this server.

use std::time::Duration;

use kinit_serving::health::{Health, Outcome, Scope};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::storage::Etcd;

/// What a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// Holds as soon as the server serves, which is all that upstream's hook of that name says.
    Serving,
    /// etcd answered when it was last asked.
    Etcd,
    /// The watch cache has been filled, which stands for all of upstream's informers.
    Cache,
    /// The default objects have been written.
    Defaults,
    /// The default objects have been written, and roles and bindings read.
    Roles,
    /// APIServices are there for all that is served.
    Registered,
    /// The server is not about to end.
    Staying,
}

/// All checks but `ping`, which every server has, and those of key services.
const CHECKS: &[(&str, Scope, Condition)] = &[
    ("log", Scope::Live, Condition::Serving),
    ("loopback-serving-certificate", Scope::LiveAlone, Condition::Serving),
    ("etcd", Scope::Live, Condition::Etcd),
    ("etcd-readiness", Scope::ReadyAlone, Condition::Etcd),
    ("informer-sync", Scope::ReadyAlone, Condition::Cache),
    ("poststarthook/start-apiserver-admission-initializer", Scope::Live, Condition::Cache),
    ("poststarthook/generic-apiserver-start-informers", Scope::Live, Condition::Cache),
    ("poststarthook/priority-and-fairness-config-consumer", Scope::Live, Condition::Cache),
    ("poststarthook/priority-and-fairness-filter", Scope::Live, Condition::Serving),
    ("poststarthook/storage-object-count-tracker-hook", Scope::Live, Condition::Serving),
    ("poststarthook/start-apiextensions-informers", Scope::Live, Condition::Cache),
    ("poststarthook/start-apiextensions-controllers", Scope::Live, Condition::Cache),
    ("poststarthook/crd-informer-synced", Scope::Live, Condition::Cache),
    ("poststarthook/start-system-namespaces-controller", Scope::Live, Condition::Defaults),
    ("poststarthook/start-cluster-authentication-info-controller", Scope::Live, Condition::Defaults),
    ("poststarthook/start-kube-apiserver-identity-lease-controller", Scope::Live, Condition::Cache),
    ("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", Scope::Live, Condition::Cache),
    ("poststarthook/storage-readiness", Scope::Live, Condition::Cache),
    ("poststarthook/start-legacy-token-tracking-controller", Scope::Live, Condition::Defaults),
    ("poststarthook/start-service-ip-repair-controllers", Scope::Live, Condition::Cache),
    ("poststarthook/rbac/bootstrap-roles", Scope::Live, Condition::Roles),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", Scope::Live, Condition::Defaults),
    ("poststarthook/priority-and-fairness-config-producer", Scope::Live, Condition::Defaults),
    ("poststarthook/bootstrap-controller", Scope::Live, Condition::Defaults),
    ("poststarthook/start-kubernetes-service-cidr-controller", Scope::Live, Condition::Defaults),
    ("poststarthook/start-kube-aggregator-informers", Scope::Live, Condition::Cache),
    ("poststarthook/apiservice-status-local-available-controller", Scope::Live, Condition::Cache),
    ("poststarthook/apiservice-status-remote-available-controller", Scope::Live, Condition::Cache),
    ("poststarthook/apiservice-registration-controller", Scope::Live, Condition::Cache),
    ("poststarthook/apiservice-wait-for-first-sync", Scope::Live, Condition::Cache),
    ("poststarthook/apiservice-discovery-controller", Scope::Live, Condition::Cache),
    ("poststarthook/kube-apiserver-autoregistration", Scope::Live, Condition::Cache),
    ("autoregister-completion", Scope::Live, Condition::Registered),
    ("poststarthook/apiservice-openapi-controller", Scope::Live, Condition::Serving),
    ("poststarthook/apiservice-openapiv3-controller", Scope::Live, Condition::Serving),
    ("shutdown", Scope::ReadyAlone, Condition::Staying),
];

/// What is known of the server's conditions.
#[derive(Clone)]
pub(super) struct Conditions {
    pub cache: Cache,
    /// Why etcd did not answer the last time.
    pub etcd: watch::Receiver<Option<String>>,
    pub defaults: watch::Receiver<bool>,
    pub roles: watch::Receiver<bool>,
    pub registered: watch::Receiver<bool>,
    pub ending: CancellationToken,
}

impl Conditions {
    fn of(&self, condition: Condition) -> Outcome {
        let holds = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        match condition {
            Condition::Serving => Ok(()),
            Condition::Etcd => self.etcd.borrow().clone().map_or(Ok(()), Err),
            Condition::Cache => holds(self.cache.synced(), "the watch cache has not been filled"),
            Condition::Defaults => holds(*self.defaults.borrow(), "not finished"),
            Condition::Roles => holds(*self.defaults.borrow() && *self.roles.borrow(), "not finished"),
            Condition::Registered => holds(*self.registered.borrow(), "missing APIService"),
            Condition::Staying => holds(!self.ending.is_cancelled(), "process is shutting down"),
        }
    }

    /// Adds all checks. Without flow control, `fair` is false and the check of its filter bears the name of what stands in.
    pub fn add(self, health: &Health, fair: bool) {
        for &(name, scope, condition) in CHECKS {
            let name = match name {
                "poststarthook/priority-and-fairness-filter" if !fair => "poststarthook/max-in-flight-filter",
                name if !fair && name.starts_with("poststarthook/priority-and-fairness") => continue,
                name => name,
            };
            let own = self.clone();
            health.add(name, scope, move || own.of(condition));
        }
    }
}

/// How often etcd is asked, and how long it may take to answer; upstream's `--etcd-healthcheck-timeout`.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// Asks etcd again and again whether it is there, until `shutdown`; `told` is why it did not answer.
pub(super) async fn ask(etcd: Etcd, told: watch::Sender<Option<String>>, shutdown: CancellationToken) {
    loop {
        let answer = tokio::time::timeout(ASKED_EVERY, etcd.revision()).await;
        told.send_replace(match answer {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(format!("error getting data from etcd: {error}")),
            Err(_) => Some("error getting data from etcd: context deadline exceeded".to_owned()),
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(ASKED_EVERY) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_there_once_and_where_upstream_has_it() {
        let names: std::collections::BTreeSet<&str> = CHECKS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names.len(), CHECKS.len());
        let of = |name: &str| CHECKS.iter().find(|row| row.0 == name).map(|row| (row.1, row.2)).unwrap();
        assert_eq!(of("etcd"), (Scope::Live, Condition::Etcd));
        assert_eq!(of("shutdown"), (Scope::ReadyAlone, Condition::Staying));
        assert_eq!(of("poststarthook/rbac/bootstrap-roles"), (Scope::Live, Condition::Roles));
        assert_eq!(CHECKS.last().map(|row| row.0), Some("shutdown"));
    }
}
