//! Calls by their methods and by how they ended, as servers of gRPC count them everywhere.

use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tonic::Code;

use super::Labels;
use crate::rpc::quick::METHODS;

/// See the module.
pub struct Calls {
    started: Family<Labels, Counter>,
    handled: Family<Labels, Counter>,
    /// Of the calls that come by the thousand: those that began, and those that ended well.
    quick: [(Counter, Counter); METHODS.len()],
}

impl Default for Calls {
    fn default() -> Self {
        let (started, handled) = (Family::default(), Family::default());
        let quick = METHODS.map(|(path, _)| {
            let labels = labels(path);
            (owned(&started, labels.clone()), owned(&handled, with_code(labels, Code::Ok)))
        });
        Self { started, handled, quick }
    }
}

impl Calls {
    /// A call of one of the methods that are answered within the connection, by its place among them.
    pub fn quick(&self, place: usize, code: Code) {
        let Some((started, well)) = self.quick.get(place) else { return };
        started.inc();
        if code == Code::Ok {
            well.inc();
        } else {
            self.handled.get_or_create(&with_code(labels(METHODS[place].0), code)).inc();
        }
    }

    /// Any other call has ended.
    pub fn ended(&self, path: &str, code: Code) {
        // What nobody serves could be called anything.
        let path = if code == Code::Unimplemented { "/unknown/unknown" } else { path };
        let labels = labels(path);
        self.started.get_or_create(&labels).inc();
        self.handled.get_or_create(&with_code(labels, code)).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("grpc_server_started", "Calls that began", self.started.clone());
        registry.register("grpc_server_handled", "Calls that ended, by their codes", self.handled.clone());
    }
}

fn owned(family: &Family<Labels, Counter>, labels: Labels) -> Counter {
    family.get_or_create(&labels).clone()
}

fn labels(path: &str) -> Labels {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or(("unknown", "unknown"));
    let kind = match method {
        "Watch" if service == "grpc.health.v1.Health" => "server_stream",
        "Watch" | "LeaseKeepAlive" => "bidi_stream",
        "Snapshot" | "Observe" => "server_stream",
        _ => "unary",
    };
    vec![("grpc_type", kind.to_owned()), ("grpc_service", service.to_owned()), ("grpc_method", method.to_owned())]
}

fn with_code(mut labels: Labels, code: Code) -> Labels {
    labels.insert(0, ("grpc_code", name(code)));
    labels
}

/// As Go writes a code.
fn name(code: Code) -> String {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let name = |code: i32| match Code::from_i32(code) {
            Code::Ok => "OK".to_owned(),
            Code::Cancelled => "Canceled".to_owned(),
            other => format!("{other:?}"),
        };
        (0..=16).map(name).collect()
    });
    NAMES.get(code as usize).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(calls: &Calls, path: &str, code: Code) -> u64 {
        calls.handled.get_or_create(&with_code(labels(path), code)).get()
    }

    #[test]
    fn calls_are_counted_by_their_ends() {
        let calls = Calls::default();
        let range = METHODS[0].0;
        calls.quick(0, Code::Ok);
        calls.quick(0, Code::OutOfRange);
        calls.ended("/etcdserverpb.Lease/LeaseGrant", Code::Ok);
        calls.ended("/made.Up/Name", Code::Unimplemented);
        assert_eq!((count(&calls, range, Code::Ok), count(&calls, range, Code::OutOfRange)), (1, 1));
        assert_eq!(calls.started.get_or_create(&labels(range)).get(), 2);
        assert_eq!(count(&calls, "/etcdserverpb.Lease/LeaseGrant", Code::Ok), 1);
        assert_eq!(count(&calls, "/unknown/unknown", Code::Unimplemented), 1);
        assert_eq!(
            (name(Code::Ok), name(Code::Cancelled), name(Code::OutOfRange)),
            ("OK".into(), "Canceled".into(), "OutOfRange".into())
        );
    }
}
