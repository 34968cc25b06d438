//! What a kubelet does to a container: probes and hooks.

use serde_json::Value;

use super::field::{Error, Errors, Path};
use super::{complain, containers, list, not_negative, str_of, text};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const SCHEMES: &[&str] = &["HTTP", "HTTPS"];
const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

/// What is the same for all containers of a Pod.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    /// The seconds that the Pod gives its containers to end.
    pub grace: Option<i64>,
    /// The operating system that it says it is for.
    pub system: Option<&'a str>,
}

impl<'a> Around<'a> {
    pub fn of(spec: &'a Value) -> Self {
        Self { grace: spec["terminationGracePeriodSeconds"].as_i64(), system: spec["os"]["name"].as_str() }
    }
}

/// A container's hooks and probes.
pub(super) fn all(container: &Value, around: Around<'_>, path: &Path, errors: &mut Errors) {
    let of_lifecycle = path.child("lifecycle");
    for name in ["postStart", "preStop"] {
        let hook = &container["lifecycle"][name];
        if !hook.is_null() {
            handler(hook, around.grace, &of_lifecycle.child(name), errors);
        }
    }
    if let Some(signal) = container["lifecycle"]["stopSignal"].as_str() {
        stop_signal(signal, around.system, &of_lifecycle.child("stopSignal"), errors);
    }
    for name in PROBES {
        let probe = &container[name];
        if !probe.is_null() {
            self::probe(probe, name == "readinessProbe", around.grace, &path.child(name), errors);
        }
    }
}

fn probe(probe: &Value, of_readiness: bool, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    handler(probe, grace, path, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        not_negative(probe, field, path, errors);
    }
    let of_grace = path.child("terminationGracePeriodSeconds");
    let own = probe["terminationGracePeriodSeconds"].as_i64();
    if let Some(seconds) = own.filter(|seconds| *seconds <= 0) {
        errors.push(Error::invalid(&of_grace, seconds, "must be greater than 0"));
    }
    if of_readiness {
        if let Some(seconds) = own {
            errors.push(Error::invalid(&of_grace, seconds, "must not be set for readinessProbes"));
        }
    } else if let Some(threshold) = probe["successThreshold"].as_i64().filter(|threshold| *threshold != 1) {
        errors.push(Error::invalid(&path.child("successThreshold"), threshold, "must be 1"));
    }
}

/// One kind of handler, and what that needs.
fn handler(handler: &Value, grace: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut any = false;
    for kind in HANDLERS.into_iter().filter(|kind| !handler[*kind].is_null()) {
        let (own, path) = (&handler[kind], path.child(kind));
        if any {
            errors.push(Error::forbidden(&path, "may not specify more than 1 handler type"));
            continue;
        }
        any = true;
        match kind {
            "exec" if list(own, "command").is_empty() => errors.push(Error::required(&path.child("command"), "")),
            "httpGet" => http(own, &path, errors),
            "tcpSocket" | "grpc" => port(&own["port"], &path.child("port"), errors),
            "sleep" => {
                let seconds = own["seconds"].as_i64().unwrap_or_default();
                if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
                    let text = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.push(Error::invalid(&path, seconds, text));
                }
            }
            _ => {}
        }
    }
    if !any {
        errors.push(Error::required(path, "must specify a handler type"));
    }
}

fn http(get: &Value, path: &Path, errors: &mut Errors) {
    if str_of(get, "path").is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
    }
    port(&get["port"], &path.child("port"), errors);
    let scheme = str_of(get, "scheme");
    if !SCHEMES.contains(&scheme) {
        errors.push(Error::not_supported(&path.child("scheme"), scheme, SCHEMES));
    }
    for header in list(get, "httpHeaders") {
        let name = str_of(header, "name");
        complain(text::header_name(name), name, &path.child("httpHeaders"), errors);
    }
}

/// A port, by its number or by its name.
pub(super) fn port(port: &Value, path: &Path, errors: &mut Errors) {
    match port {
        Value::String(name) => complain(text::port_name(name), name, path, errors),
        port => containers::number_of_port(port.as_i64().unwrap_or_default(), path, errors),
    }
}

fn stop_signal(signal: &str, system: Option<&str>, path: &Path, errors: &mut Errors) {
    const WINDOWS: &[&str] = &["SIGKILL", "SIGTERM"];
    match system {
        None => errors.push(Error::forbidden(path, "may not be set for containers with empty `spec.os.name`")),
        Some("windows") if !WINDOWS.contains(&signal) => errors.push(Error::not_supported(path, signal, WINDOWS)),
        Some("linux") => {
            let known = linux_signals();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            if !known.contains(&signal) {
                errors.push(Error::not_supported(path, signal, &known));
            }
        }
        Some(_) => {}
    }
}

/// The signals of Linux, sorted.
fn linux_signals() -> Vec<String> {
    let plain = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT \
                 STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ";
    let mut all: Vec<String> = plain.split_whitespace().map(|name| format!("SIG{name}")).collect();
    all.extend((1..=15).map(|number| format!("SIGRTMIN+{number}")));
    all.extend((1..=14).map(|number| format!("SIGRTMAX-{number}")));
    all.sort_unstable();
    all
}
