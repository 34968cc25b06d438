//! Leader election by a Lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often leading is tried, and renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long a leader that says nothing stays leader.
    pub life: Duration,
    /// A leader that could not renew for this long gives up.
    pub patience: Duration,
    /// The pause between two tries.
    pub renew: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { life: seconds(15), patience: seconds(10), renew: seconds(2) }
    }
}

/// Who wants to lead, and by which Lease.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who this is; no other may have it.
    pub identity: String,
    /// How often it tries.
    pub times: Times,
}

impl Candidate {
    /// A candidate for `name` in kube-system, with an identity of the host's name and a random part.
    pub fn new(name: &str, host: &str) -> Self {
        Self {
            namespace: "kube-system".into(),
            name: name.into(),
            identity: format!("{host}_{:016x}", rand::random::<u64>()),
            times: Times::default(),
        }
    }
}

/// Waits until this candidate leads; then keeps renewing in the background. The token that is returned is cancelled when
/// it no longer leads, which must end the process' work.
pub async fn lead(
    client: kube::Client,
    candidate: Candidate,
    shutdown: &CancellationToken,
) -> Option<CancellationToken> {
    let api: Api<Lease> = Api::namespaced(client, &candidate.namespace);
    let mut seen: Option<(String, Instant)> = None;
    loop {
        match acquire(&api, &candidate, &mut seen).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, lease = candidate.name, "cannot try to lead"),
        }
        tokio::select! {
            () = tokio::time::sleep(if seen.is_some() { candidate.times.renew } else { Duration::from_millis(200) }) => {}
            () = shutdown.cancelled() => return None,
        }
    }
    tracing::info!(lease = candidate.name, identity = candidate.identity, "leads");
    let lost = shutdown.child_token();
    let token = lost.clone();
    tokio::spawn(async move {
        let mut last = Instant::now();
        let mut seen = None;
        while last.elapsed() < candidate.times.patience {
            tokio::select! {
                () = tokio::time::sleep(candidate.times.renew) => {}
                () = lost.cancelled() => {
                    release(&api, &candidate).await;
                    return;
                }
            }
            match acquire(&api, &candidate, &mut seen).await {
                Ok(true) => last = Instant::now(),
                Ok(false) => break,
                Err(error) => tracing::warn!(%error, lease = candidate.name, "cannot renew"),
            }
        }
        tracing::error!(lease = candidate.name, "no longer leads");
        lost.cancel();
    });
    Some(token)
}

/// Tries to be the holder. `seen` is the record last seen of another holder and when it was first seen: clocks of
/// different hosts are never compared.
async fn acquire(
    api: &Api<Lease>,
    candidate: &Candidate,
    seen: &mut Option<(String, Instant)>,
) -> Result<bool, kube::Error> {
    let now = MicroTime(Timestamp::now());
    let own = candidate.times.life.as_secs() as i32;
    let Some(mut lease) = api.get_opt(&candidate.name).await? else {
        let made = Lease {
            metadata: ObjectMeta { name: Some(candidate.name.clone()), ..Default::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(candidate.identity.clone()),
                lease_duration_seconds: Some(own),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..Default::default()
            }),
        };
        return conflict_is_no(api.create(&PostParams::default(), &made).await);
    };
    let spec = lease.spec.get_or_insert_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    if holder != candidate.identity && !holder.is_empty() {
        let record = format!("{holder} {:?}", spec.renew_time);
        let begin = match seen {
            Some((known, begin)) if *known == record => *begin,
            _ => {
                *seen = Some((record, Instant::now()));
                return Ok(false);
            }
        };
        let life = Duration::from_secs(spec.lease_duration_seconds.unwrap_or(own).max(1) as u64);
        if begin.elapsed() < life {
            return Ok(false);
        }
    }
    if holder != candidate.identity {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
    }
    spec.holder_identity = Some(candidate.identity.clone());
    spec.lease_duration_seconds = Some(own);
    spec.renew_time = Some(now);
    conflict_is_no(api.replace(&candidate.name, &PostParams::default(), &lease).await)
}

fn conflict_is_no(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets others lead at once.
async fn release(api: &Api<Lease>, candidate: &Candidate) {
    let Ok(Some(mut lease)) = api.get_opt(&candidate.name).await else { return };
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() == Some(&candidate.identity) {
        spec.holder_identity = Some(String::new());
        // If it fails the others wait for the lease to end.
        let _ = api.replace(&candidate.name, &PostParams::default(), &lease).await;
    }
}
