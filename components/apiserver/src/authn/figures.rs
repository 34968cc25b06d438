//! How requests told who makes them, by upstream's names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use crate::tally::{Count, NO_LABELS, Tally, Teller};

/// Upstream's bounds of what is done at the door, in seconds.
pub const SECONDS: [f64; 15] =
    [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];
/// Upstream's bounds of how long certificates are good for, in seconds: half an hour, and up to a year.
const LEFT: [f64; 14] = [
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21600.0,
    43200.0,
    86400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];
/// What requests came to: no credential is a failure, and a bad one an error.
const RESULTS: [&str; 3] = ["success", "failure", "error"];
/// Users that upstream tells apart; of others there is no end. Those behind are told by how they look.
const USERS: [&str; 7] =
    ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", "email_id", "other"];

/// What was found out about who makes a request.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    User(&'a str),
    Nobody,
    Wrong,
}

/// The families. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Figures(Arc<All>);

#[derive(Debug)]
struct All {
    attempts: [Tally; RESULTS.len()],
    users: [Count; USERS.len()],
    certificates: Tally,
}

impl Default for Figures {
    fn default() -> Self {
        let attempts = [(); RESULTS.len()].map(|()| Tally::of_times(&SECONDS));
        let certificates = Tally::of_times(&LEFT);
        Self(Arc::new(All { attempts, users: Default::default(), certificates }))
    }
}

impl Figures {
    pub fn attempted(&self, found: Found<'_>, took: Duration) {
        let result = match found {
            Found::User(name) => {
                self.0.users[user(name)].one();
                0
            }
            Found::Nobody => 1,
            Found::Wrong => 2,
        };
        self.0.attempts[result].took(took);
    }

    /// A request came with a certificate that is good for so long.
    pub fn certificate(&self, left: Duration) {
        self.0.certificates.took(left);
    }
}

/// The place of a user among those that are told apart.
fn user(name: &str) -> usize {
    let (look, named) = (USERS.len() - 2, &USERS[..USERS.len() - 2]);
    named.iter().position(|own| *own == name).unwrap_or(if name.contains('@') { look } else { look + 1 })
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut teller = Teller(encoder);
        let All { attempts, users, certificates } = &*self.0;
        let attempts = || {
            let all = RESULTS.iter().zip(attempts).filter(|(_, tally)| tally.count() > 0);
            all.map(|(result, tally)| ([("result", *result)], tally))
        };
        let told = USERS.iter().zip(users).map(|(name, count)| ([("username", *name)], count.told()));
        let help = "Requests of users who are known";
        teller.unended_counts("authenticated_user_requests", help, told.filter(|(_, count)| *count > 0))?;
        let help = "Requests by whether their users became known";
        teller.unended_counts("authentication_attempts", help, attempts().map(|(labels, it)| (labels, it.count())))?;
        teller.tallies("authentication_duration_seconds", "How long it took to find that out", attempts())?;
        let help = "How long the certificates are good for that requests were made with";
        teller.tallies("apiserver_client_certificate_expiration_seconds", help, [(NO_LABELS, certificates)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::tests::lines;

    #[test]
    fn users_are_told_by_upstreams_few_names() {
        let figures = Figures::default();
        for name in ["admin", "kubelet", "a@b", "system:node:a", "system:serviceaccount:kube-system:default", "x"] {
            figures.attempted(Found::User(name), Duration::from_millis(3));
        }
        figures.attempted(Found::Nobody, Duration::ZERO);
        figures.attempted(Found::Wrong, Duration::ZERO);
        figures.certificate(Duration::ZERO);
        figures.certificate(Duration::from_secs(86400));
        let lines = lines(figures);
        for line in [
            "# TYPE authenticated_user_requests unknown",
            "authenticated_user_requests{username=\"admin\"} 1",
            "authenticated_user_requests{username=\"kubelet\"} 1",
            "authenticated_user_requests{username=\"system:serviceaccount:kube-system:default\"} 1",
            "authenticated_user_requests{username=\"email_id\"} 1",
            "authenticated_user_requests{username=\"other\"} 2",
            "authentication_attempts{result=\"success\"} 6",
            "authentication_attempts{result=\"failure\"} 1",
            "authentication_attempts{result=\"error\"} 1",
            "authentication_duration_seconds_bucket{le=\"0.004\",result=\"success\"} 6",
            "apiserver_client_certificate_expiration_seconds_bucket{le=\"0.0\"} 1",
            "apiserver_client_certificate_expiration_seconds_bucket{le=\"43200.0\"} 1",
            "apiserver_client_certificate_expiration_seconds_bucket{le=\"86400.0\"} 2",
        ] {
            assert!(lines.iter().any(|own| own == line), "{line}\n{}", lines.join("\n"));
        }
    }
}
