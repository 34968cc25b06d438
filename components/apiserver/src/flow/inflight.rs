//! Limits of requests at a time, for a server without flow control: one for those that change something and one for the others.
//! Nobody waits: who finds no seat is told to come again.

use std::sync::Arc;

use kinit_api::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Admitted;
use super::classify::{Digest, What};
use super::level::full;
use crate::request::STREAMS;

/// Verbs that change nothing.
const READING: [&str; 3] = ["get", "list", "watch"];

/// The seats of both kinds. Cheap to clone.
#[derive(Clone)]
pub struct InFlight {
    reading: Option<Arc<Semaphore>>,
    changing: Option<Arc<Semaphore>>,
}

impl InFlight {
    /// So many seats of each kind; 0 is no limit.
    pub fn new(reading: usize, changing: usize) -> Self {
        let seats = |count: usize| (count > 0).then(|| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS))));
        Self { reading: seats(reading), changing: seats(changing) }
    }

    /// A seat for a request; none where it needs none. Administrators are always answered.
    pub fn admit(&self, digest: &Digest<'_>) -> Result<Option<Admitted>, Status> {
        let streams = matches!(digest.what, What::Resource { subresource, .. } if STREAMS.contains(&subresource));
        if digest.verb == "watch" || streams {
            return Ok(None);
        }
        let seats = if READING.contains(&digest.verb) { &self.reading } else { &self.changing };
        let Some(seats) = seats else { return Ok(None) };
        match seats.clone().try_acquire_owned() {
            Ok(seat) => Ok(Some(Admitted::counted(seat))),
            Err(_) if digest.user.groups.iter().any(|group| group == "system:masters") => Ok(None),
            Err(_) => Err(full(1)),
        }
    }
}

impl Admitted {
    fn counted(seat: OwnedSemaphorePermit) -> Self {
        Self { sorted: None, _seat: super::Held::Counted { _seat: seat } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::User;

    #[test]
    fn both_kinds_of_requests_have_seats_of_their_own() {
        let (ann, mut root) = (User::anonymous(), User::anonymous());
        root.groups.push("system:masters".to_owned());
        let ask = |limits: &InFlight, user: &User, verb: &str, subresource: &str| {
            let what = What::Resource { group: "", resource: "pods", subresource, namespace: "a" };
            limits.admit(&Digest { user, verb, what })
        };
        let limits = InFlight::new(1, 2);
        let first = ask(&limits, &ann, "list", "").unwrap();
        assert!(first.is_some());
        let refused = ask(&limits, &ann, "get", "").err().unwrap();
        assert_eq!((refused.code, refused.details.unwrap()["retryAfterSeconds"].as_u64()), (429, Some(1)));
        // Watches and streams take none, and administrators are answered all the same.
        assert!(ask(&limits, &ann, "watch", "").unwrap().is_none());
        assert!(ask(&limits, &ann, "get", "log").unwrap().is_none());
        assert!(ask(&limits, &root, "get", "").unwrap().is_none());
        let changing = [ask(&limits, &ann, "create", ""), ask(&limits, &ann, "deletecollection", "")];
        assert!(changing.iter().all(|seat| matches!(seat, Ok(Some(_)))));
        assert!(ask(&limits, &ann, "patch", "").is_err());
        drop((first, changing));
        assert!(ask(&limits, &ann, "get", "").unwrap().is_some() && ask(&limits, &ann, "patch", "").unwrap().is_some());
        let without = InFlight::new(0, 1);
        assert!(ask(&without, &ann, "get", "").unwrap().is_none());
    }
}
