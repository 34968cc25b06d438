//! Rows that several components have, in the groups in which upstream's components take them.

use crate::foreign::{Row, idle, only};

/// Values that leave a switch off.
pub const OFF: &[&str] = &["", "false"];
/// Values that leave a switch on.
pub const ON: &[&str] = &["true"];
/// No value at all.
pub const NONE: &[&str] = &[""];

/// Why profiling does nothing.
pub const NO_RUNTIME: &str = "there is no Go runtime to look into; /debug/pprof is never served";
const OWN_LOG: &str = "the log is written line by line, in one stream";
const OWN_METRICS: &str = "metrics and their labels are what they are";
const ONE_VERSION: &str = "one version is all that this program can be";
const NO_DELAY: &str = "requests are sent as they come; the API server's fairness holds back whom it must";

/// What is logged, and how.
pub const LOGS: &[Row] = &[
    idle("log-flush-frequency", OWN_LOG),
    idle("log-json-info-buffer-size", OWN_LOG),
    idle("log-json-split-stream", OWN_LOG).switch(),
    idle("log-text-info-buffer-size", OWN_LOG),
    idle("log-text-split-stream", OWN_LOG).switch(),
    idle("vmodule", "it names files of Go; RUST_LOG says the level of each module"),
];

/// Which metrics are shown.
pub const METRICS: &[Row] = &[
    idle("allow-metric-labels", OWN_METRICS),
    idle("allow-metric-labels-manifest", OWN_METRICS),
    idle("disabled-metrics", OWN_METRICS),
    HIDDEN_METRICS,
];

/// The one of [`METRICS`] that kube-proxy has, too.
pub const HIDDEN_METRICS: Row = idle("show-hidden-metrics-for-version", OWN_METRICS);

/// Looking into the process.
pub const PROFILING: &[Row] =
    &[idle("profiling", NO_RUNTIME).switch(), idle("contention-profiling", NO_RUNTIME).switch()];

/// Which version a component behaves as.
pub const VERSIONS: &[Row] = &[
    only("emulated-version", &["", "1.36", "v1.36", "kube=1.36", "kube=v1.36", "kube:1.36"], ONE_VERSION),
    idle("min-compatibility-version", ONE_VERSION),
];

/// The secure port, but for its address, its certificate, and what TLS is spoken.
pub const SERVING: &[Row] = &[
    only("disable-http2-serving", OFF, "a client that wants HTTP/1.1 offers that alone"),
    only("permit-address-sharing", OFF, "one process listens at an address"),
    only("permit-port-sharing", OFF, "one process listens at a port"),
    CURVES,
];

/// The key exchanges of TLS.
pub const CURVES: Row = idle("tls-curve-preferences", "the safe ones are offered in the library's order");

/// Why nobody is asked who a client of the secure port is.
const LOOPBACK: &str = "nobody is authenticated: health is shown to all, and the rest to this host alone";

/// Who clients of the secure port of a controller manager or scheduler are, but for the files that kubeadm names.
pub const AUTH: &[Row] = &[
    idle("authentication-skip-lookup", LOOPBACK).switch(),
    idle("authentication-token-webhook-cache-ttl", LOOPBACK),
    idle("authentication-tolerate-lookup-failure", LOOPBACK).switch(),
    only(
        "authorization-always-allow-paths",
        &["", "/healthz", "/healthz,/readyz,/livez", "/healthz,/livez,/readyz"],
        "health is shown to all, and metrics to this host alone",
    ),
    idle("authorization-webhook-cache-authorized-ttl", LOOPBACK),
    idle("authorization-webhook-cache-unauthorized-ttl", LOOPBACK),
    idle("requestheader-allowed-names", LOOPBACK),
    idle("requestheader-extra-headers-prefix", LOOPBACK),
    idle("requestheader-group-headers", LOOPBACK),
    idle("requestheader-uid-headers", LOOPBACK),
    idle("requestheader-username-headers", LOOPBACK),
];

/// CAs of clients of the secure port.
pub const CLIENT_CAS: &[Row] = &[idle("client-ca-file", LOOPBACK), idle("requestheader-client-ca-file", LOOPBACK)];

/// Why flags of cAdvisor do nothing.
pub const NO_CADVISOR: &str = "figures of containers come from the runtime and the kernel, and not from cAdvisor";

/// Flags of cAdvisor that came into kube-proxy, too.
pub const CADVISOR_HOST: &[Row] = &[idle("boot-id-file", NO_CADVISOR), idle("machine-id-file", NO_CADVISOR)];

/// Connections to the API server.
pub const CLIENT: &[Row] = &[
    idle("kube-api-burst", NO_DELAY),
    idle("kube-api-content-type", "requests are JSON, which every API server takes"),
    idle("kube-api-qps", NO_DELAY),
    only("master", NONE, "give --kubeconfig, whose cluster names the API server"),
];
