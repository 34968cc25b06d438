//! EventRateLimit: how many events are taken in, from everybody, for a namespace, from a user or about one thing.

use std::collections::HashMap;
use std::time::Instant;

use kinit_api::object::Object;
use kinit_api::status::Status;
use parking_lot::Mutex;
use serde::Deserialize;

use super::{Attributes, Context, Operation};
use crate::bucket::{Bucket, Rate};

/// How many keys a limit counts for where it does not say.
const KEYS: usize = 4096;

/// What a limit counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Kind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

/// A limit as the configuration has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limit {
    r#type: Kind,
    qps: u32,
    burst: u32,
    #[serde(default)]
    cache_size: usize,
}

/// All limits, with what has been spent.
#[derive(Debug, Default)]
pub struct EventRates(Vec<(Limit, Mutex<HashMap<String, Bucket>>)>);

impl EventRates {
    /// The error says what is wrong with a limit.
    pub fn new(limits: Vec<Limit>) -> anyhow::Result<Self> {
        anyhow::ensure!(!limits.is_empty(), "limits: Required value: must be set");
        for (index, limit) in limits.iter().enumerate() {
            anyhow::ensure!(limit.qps > 0, "limits[{index}].qps: Invalid value: must be positive");
            anyhow::ensure!(limit.burst > 0, "limits[{index}].burst: Invalid value: must be positive");
        }
        Ok(Self(limits.into_iter().map(|limit| (limit, Mutex::default())).collect()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Spends one of each limit; tells those that have nothing left.
    fn spend(&self, key: impl Fn(Kind) -> String, now: Instant) -> Vec<String> {
        let mut reached = Vec::new();
        for (limit, buckets) in &self.0 {
            let key = key(limit.r#type);
            let mut buckets = buckets.lock();
            let most = if limit.cache_size == 0 { KEYS } else { limit.cache_size };
            if buckets.len() >= most && !buckets.contains_key(&key) {
                buckets.clear();
            }
            let rate = Rate { per_second: f64::from(limit.qps), burst: limit.burst };
            let bucket = buckets.entry(key.clone()).or_insert_with(|| Bucket::new(rate, now));
            if bucket.take(rate, now).is_err() {
                reached.push(format!("limit reached on type {:?} for key {key}", limit.r#type));
            }
        }
        reached
    }
}

/// EventRateLimit.
pub fn check(context: &Context<'_>, attributes: &Attributes<'_>, event: &Object) -> Result<(), Status> {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !attributes.request.spec.is_event() || !writes || attributes.dry_run() {
        return Ok(());
    }
    let key = |kind| match kind {
        Kind::Server => String::new(),
        Kind::Namespace => attributes.request.namespace.clone(),
        Kind::User => attributes.request.user.name.clone(),
        Kind::SourceAndObject => {
            let source = ["component", "host"].map(|field| event.str(&["source", field]));
            let object = ["kind", "namespace", "name", "uid", "apiVersion"];
            source.into_iter().chain(object.map(|field| event.str(&["involvedObject", field]))).collect()
        }
    };
    match context.configuration.event_rates.spend(key, Instant::now()).as_slice() {
        [] => Ok(()),
        reached => Err(refused(reached)),
    }
}

fn refused(reached: &[String]) -> Status {
    let all = reached.join(", ");
    let all = if reached.len() > 1 { format!("[{all}]") } else { all };
    Status::too_many_requests(format!("Too many requests: {all}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_key_has_a_burst_and_then_a_rate() {
        let limit = Limit { r#type: Kind::User, qps: 2, burst: 3, cache_size: 2 };
        let rates = EventRates::new(vec![limit]).unwrap();
        let start = Instant::now();
        let spend =
            |user: &str, at: u64| rates.spend(|_| user.to_owned(), start + Duration::from_millis(at)).is_empty();
        assert!((0..3).all(|_| spend("a", 0)));
        assert!(!spend("a", 0) && spend("b", 0), "each has its own");
        let told = refused(&rates.spend(|_| "a".to_owned(), start));
        assert_eq!((told.code, &*told.message), (429, "Too many requests: limit reached on type User for key a"));
        let two = ["a".to_owned(), "b".to_owned()];
        assert_eq!(refused(&two).message, "Too many requests: [a, b]");
        assert!(!spend("a", 400) && spend("a", 900) && !spend("a", 950));
        assert!(EventRates::new(Vec::new()).is_err());
        let never = Limit { r#type: Kind::Server, qps: 0, burst: 1, cache_size: 0 };
        assert!(EventRates::new(vec![never]).is_err());
    }
}
