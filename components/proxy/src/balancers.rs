//! What load balancers ask each node: whether it has endpoints of a Service that takes only local ones. Each such Service
//! has a port of its own for that.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{HeaderValue, StatusCode, header};
use kinit_serving::listener::{Limits, Listener};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::service::State;

/// A Service that is asked about: its namespace and name.
type Name = (String, String);

/// What a port tells.
struct Port {
    name: Name,
    endpoints: Arc<AtomicUsize>,
    token: CancellationToken,
}

/// The ports that are served.
pub struct Balancers {
    ports: BTreeMap<u16, Port>,
    /// Whether the kernel has the rules.
    synced: Arc<AtomicBool>,
    shutdown: CancellationToken,
}

/// The ports that are to be served, each with its Service and how many ready endpoints of it are on this node. Pure.
fn wanted(state: &State) -> BTreeMap<u16, (Name, usize)> {
    let mut all: BTreeMap<u16, (Name, usize)> = BTreeMap::new();
    for (name, port) in state.ports.iter().filter(|(_, port)| port.health_port != 0 && port.external_local) {
        let local = state.endpoints.get(name).into_iter().flatten().filter(|one| one.local && one.ready).count();
        let entry = all.entry(port.health_port);
        let of = (name.namespace.clone(), name.service.clone());
        let (_, most) = entry.or_insert((of, 0));
        // All ports of a Service have the same pods, unless they are named differently in some of them.
        *most = (*most).max(local);
    }
    all
}

impl Balancers {
    /// No ports yet.
    pub fn new(synced: Arc<AtomicBool>, shutdown: CancellationToken) -> Self {
        Self { ports: BTreeMap::new(), synced, shutdown }
    }

    /// Serves exactly the ports of this state. One that another process has is tried again with the next state.
    pub async fn follow(&mut self, state: &State) {
        let wanted = wanted(state);
        self.ports.retain(|number, port| {
            let stays = wanted.get(number).is_some_and(|(name, _)| *name == port.name);
            if !stays {
                port.token.cancel();
            }
            stays
        });
        for (number, (name, count)) in wanted {
            if let Some(port) = self.ports.get(&number) {
                port.endpoints.store(count, Ordering::Relaxed);
                continue;
            }
            let every = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), number);
            let bound = match Listener::bind(every, None).await {
                Ok(listener) => Ok(listener),
                // A host without IPv6 has no such address.
                Err(_) => Listener::bind(SocketAddr::from(([0, 0, 0, 0], number)), None).await,
            };
            let listener = match bound {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(service = format!("{}/{}", name.0, name.1), port = number, %error, "load balancers cannot ask");
                    continue;
                }
            };
            let port = Port { name, endpoints: Arc::new(AtomicUsize::new(count)), token: self.shutdown.child_token() };
            let (of, endpoints, synced) = (port.name.clone(), port.endpoints.clone(), self.synced.clone());
            let service = tower::service_fn(move |_: http::Request<hyper::body::Incoming>| {
                let answer = answer(&of, endpoints.load(Ordering::Relaxed), synced.load(Ordering::Relaxed));
                async move { Ok::<_, Infallible>(answer) }
            });
            let service = hyper_util::service::TowerToHyperService::new(service);
            tokio::spawn(listener.serve(service, Limits::default(), port.token.clone()));
            self.ports.insert(number, port);
        }
    }
}

fn answer((namespace, name): &Name, endpoints: usize, healthy: bool) -> http::Response<kinit_serving::Body> {
    let status = if endpoints > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({"service": {"namespace": namespace, "name": name}, "localEndpoints": endpoints,
        "serviceProxyHealthy": healthy});
    let mut answer = kinit_serving::text(status, body.to_string());
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    headers.insert("X-Load-Balancing-Endpoint-Weight", HeaderValue::from(endpoints));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Place;

    fn place(node: &str) -> Place {
        Place { node: node.into(), ..Place::default() }
    }

    #[test]
    fn only_ready_endpoints_of_this_node_count() {
        let service = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "a"}, "spec": {
            "clusterIP": "10.96.0.20", "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30100,
            "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}]}}))
        .expect("a Service");
        let slice = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": [
                {"addresses": ["10.244.1.2"], "nodeName": "w1", "conditions": {"ready": true}},
                {"addresses": ["10.244.1.3"], "nodeName": "w1", "conditions": {"ready": false}},
                {"addresses": ["10.244.2.2"], "nodeName": "w2", "conditions": {"ready": true}}]}))
        .expect("an EndpointSlice");
        let at = |node: &str| wanted(&State::of([&service], [&slice], &place(node)));
        let name = ("a".to_owned(), "web".to_owned());
        assert_eq!(at("w1"), BTreeMap::from([(30100, (name.clone(), 1))]));
        assert_eq!(at("w3"), BTreeMap::from([(30100, (name, 0))]));
    }

    #[tokio::test]
    async fn ports_come_and_go_with_their_services() {
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a free port").port();
        let service = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "a"}, "spec": {
            "clusterIP": "10.96.0.20", "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": free, "ports": [{"port": 80}]}}))
        .expect("a Service");
        let mut balancers = Balancers::new(Arc::new(AtomicBool::new(true)), CancellationToken::new());
        balancers.follow(&State::of([&service], [], &place("w1"))).await;
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", free)).await.is_ok());
        let (namespace, name) = ("a".to_owned(), "web".to_owned());
        assert_eq!(answer(&(namespace.clone(), name.clone()), 0, true).status(), 503);
        assert_eq!(answer(&(namespace, name), 2, true).headers()["X-Load-Balancing-Endpoint-Weight"], "2");
        balancers.follow(&State::default()).await;
        assert!(balancers.ports.is_empty());
    }
}
