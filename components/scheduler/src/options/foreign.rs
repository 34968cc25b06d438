//! Flags of upstream's that have no code here: taken, because command lines have them, or refused, because whoever gives them
//! would count on something that does not happen. Those of leader election are fields of the configuration.

use kinit_flags::shared::{AUTH, CLIENT, CLIENT_CAS, LOGS, METRICS, NONE, PROFILING, SERVING, VERSIONS};
use kinit_flags::{Row, Shape, Table, field, idle, only};

/// The table of these flags.
#[derive(Debug)]
pub struct Rows;

impl Table for Rows {
    const WHOSE: &'static str = "upstream's";
    const GROUPS: &'static [&'static [Row]] =
        &[FLAGS, AUTH, CLIENT, CLIENT_CAS, LOGS, METRICS, PROFILING, SERVING, VERSIONS];
}

/// The flags of this kind that were given.
pub type Foreign = kinit_flags::Foreign<Rows>;

/// By name.
const FLAGS: &[Row] = &[
    field("leader-elect-lease-duration", "leaderElection.leaseDuration", Shape::Text),
    field("leader-elect-renew-deadline", "leaderElection.renewDeadline", Shape::Text),
    field("leader-elect-resource-lock", "leaderElection.resourceLock", Shape::Text),
    field("leader-elect-resource-name", "leaderElection.resourceName", Shape::Text),
    field("leader-elect-resource-namespace", "leaderElection.resourceNamespace", Shape::Text),
    field("leader-elect-retry-period", "leaderElection.retryPeriod", Shape::Text),
    idle(
        "pod-max-in-unschedulable-pods-duration",
        "pods that wait are tried again when something changes that may help them",
    ),
    only("write-config-to", NONE, "the file of --config is all the configuration that there is"),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Configuration;
    use crate::options::Options;

    fn read(flags: &[&str]) -> Options {
        let all = ["kube-scheduler"].iter().chain(flags);
        Options::try_parse_from(all).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    #[test]
    fn what_fleets_give_is_taken() {
        let options = read(&[
            "--profiling=false",
            "--vmodule=a=1",
            "--kube-api-qps=50",
            "--cert-dir=/a",
            "--authentication-skip-lookup",
            "--emulated-version=1.36",
            "--leader-elect-lease-duration=20s",
            "--authentication-tolerate-lookup-failure=false",
            "--feature-gates=AllAlpha=false",
            "--logging-format=text",
            "--tls-min-version=VersionTLS12",
        ]);
        assert_eq!(options.foreign.settle(), Ok(()));
    }

    #[test]
    fn the_lease_is_what_the_flags_say() {
        let options = read(&["--leader-elect-lease-duration=20s", "--leader-elect-resource-name=a"]);
        let config = Configuration::load(None, &options.foreign).expect("a configuration");
        let candidate = config.leader_election.candidate("h");
        assert_eq!((candidate.name.as_str(), candidate.times.life.as_secs()), ("a", 20));
        let wrong = read(&["--leader-elect-lease-duration=1s"]);
        assert!(Configuration::load(None, &wrong.foreign).is_err());
    }

    #[test]
    fn what_somebody_would_rely_on_is_refused_by_its_name() {
        for (flag, name) in [
            ("--master=http://a", "master"),
            ("--permit-port-sharing", "permit-port-sharing"),
            ("--authorization-always-allow-paths=/metrics", "authorization-always-allow-paths"),
            ("--write-config-to=/a", "write-config-to"),
            ("--emulated-version=1.35", "emulated-version"),
        ] {
            let refused = read(&[flag]).foreign.settle();
            assert_eq!(refused.map_err(|refused| refused.flag), Err(name), "{flag}");
        }
    }
}
