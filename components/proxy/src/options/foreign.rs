//! Flags of upstream's that have no code here: taken, because command lines have them, or refused, because whoever gives them
//! would count on something that does not happen. Most are fields of the
//! configuration, which count where there is no file of it.

use kinit_flags::shared::{CADVISOR_HOST, CLIENT, HIDDEN_METRICS, LOGS, NO_RUNTIME, NONE, OFF};
use kinit_flags::{Row, Shape, Table, field, idle, only};

/// The table of these flags.
#[derive(Debug)]
pub struct Rows;

impl Table for Rows {
    const WHOSE: &'static str = "upstream's";
    const GROUPS: &'static [&'static [Row]] = &[FLAGS, CADVISOR_HOST, CLIENT, LOGS, &[HIDDEN_METRICS]];
}

/// The flags of this kind that were given.
pub type Foreign = kinit_flags::Foreign<Rows>;

/// By name.
const FLAGS: &[Row] = &[
    field("bind-address", "bindAddress", Shape::Text),
    field("bind-address-hard-fail", "bindAddressHardFail", Shape::Switch),
    field("config-sync-period", "configSyncPeriod", Shape::Text),
    field("conntrack-max-per-core", "conntrack.maxPerCore", Shape::Number),
    field("conntrack-min", "conntrack.min", Shape::Number),
    field("conntrack-tcp-be-liberal", "conntrack.tcpBeLiberal", Shape::Switch),
    field("conntrack-tcp-timeout-close-wait", "conntrack.tcpCloseWaitTimeout", Shape::Text),
    field("conntrack-tcp-timeout-established", "conntrack.tcpEstablishedTimeout", Shape::Text),
    field("conntrack-udp-timeout", "conntrack.udpTimeout", Shape::Text),
    field("conntrack-udp-timeout-stream", "conntrack.udpStreamTimeout", Shape::Text),
    field("detect-local-mode", "detectLocalMode", Shape::Text),
    field("healthz-bind-address", "healthzBindAddress", Shape::Text),
    only("healthz-port", &["10256"], "give --healthz-bind-address with the port"),
    only("init-only", OFF, "there is nothing to be done that needs more rights than the rest"),
    field("iptables-localhost-nodeports", "iptables.localhostNodePorts", Shape::Switch),
    field("iptables-masquerade-bit", "iptables.masqueradeBit", Shape::Number),
    field("iptables-min-sync-period", "iptables.minSyncPeriod", Shape::Text),
    field("iptables-sync-period", "iptables.syncPeriod", Shape::Text),
    field("ipvs-exclude-cidrs", "ipvs.excludeCIDRs", Shape::List),
    field("ipvs-min-sync-period", "ipvs.minSyncPeriod", Shape::Text),
    field("ipvs-scheduler", "ipvs.scheduler", Shape::Text),
    field("ipvs-strict-arp", "ipvs.strictARP", Shape::Switch),
    field("ipvs-sync-period", "ipvs.syncPeriod", Shape::Text),
    field("ipvs-tcp-timeout", "ipvs.tcpTimeout", Shape::Text),
    field("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout", Shape::Text),
    field("ipvs-udp-timeout", "ipvs.udpTimeout", Shape::Text),
    field("masquerade-all", "nftables.masqueradeAll", Shape::Switch),
    field("metrics-bind-address", "metricsBindAddress", Shape::Text),
    only("metrics-port", &["10249"], "give --metrics-bind-address with the port"),
    field("nodeport-addresses", "nodePortAddresses", Shape::List),
    field("oom-score-adj", "oomScoreAdj", Shape::Number),
    field("pod-bridge-interface", "detectLocal.bridgeInterface", Shape::Text),
    field("pod-interface-name-prefix", "detectLocal.interfaceNamePrefix", Shape::Text),
    idle("profiling", NO_RUNTIME).switch(),
    field("proxy-mode", "mode", Shape::Text),
    only("write-config-to", NONE, "the file of --config is all the configuration that there is"),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Configuration;
    use crate::options::Options;

    fn read(flags: &[&str]) -> Options {
        let all = ["kube-proxy"].iter().chain(flags);
        Options::try_parse_from(all).unwrap_or_else(|error| panic!("{flags:?}: {error}"))
    }

    #[test]
    fn what_fleets_give_is_taken() {
        let options = read(&[
            "--profiling=false",
            "--vmodule=a=1",
            "--kube-api-qps=50",
            "--proxy-mode=ipvs",
            "--conntrack-min=0",
            "--masquerade-all",
            "--feature-gates=AllAlpha=false",
            "--logging-format=text",
            "--show-hidden-metrics-for-version=1.35",
        ]);
        assert_eq!(options.foreign.settle(), Ok(()));
    }

    #[test]
    fn flags_are_the_configuration_where_there_is_no_file() {
        let flags = read(&["--proxy-mode=ipvs", "--conntrack-min=5", "--nodeport-addresses=primary"]).foreign;
        let config = Configuration::of_flags(&flags).expect("a configuration");
        assert_eq!((config.mode.as_str(), config.conntrack.min), ("ipvs", Some(5)));
        assert_eq!(config.node_port_addresses, Some(vec!["primary".to_owned()]));
        assert!(Configuration::of_flags(&read(&["--proxy-mode=guess"]).foreign).is_err());
    }

    #[test]
    fn what_somebody_would_rely_on_is_refused_by_its_name() {
        for (flag, name) in [
            ("--master=http://a", "master"),
            ("--init-only", "init-only"),
            ("--write-config-to=/a", "write-config-to"),
            ("--conntrack-min=many", "conntrack-min"),
            ("--healthz-port=1", "healthz-port"),
        ] {
            let refused = read(&[flag]).foreign.settle();
            assert_eq!(refused.map_err(|refused| refused.flag), Err(name), "{flag}");
        }
    }
}
