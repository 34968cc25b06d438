//! The node's own way to the API servers: connections to one local address are passed on, TLS and all, to a server that is
//! well. Servers are asked for `/readyz`; the list of them follows the endpoints of the Service `kubernetes`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::pool::Pool;
use super::{Balanced, Config};
use crate::api::{Api, KubeApi, Trust, Verb};
use crate::phase::kubeconfig;
use crate::report::Reporter;

/// Connections at once; who comes then waits. A node has a few dozens.
const CONNECTIONS: usize = 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_secs(3);
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const FOLLOW_EVERY: Duration = Duration::from_secs(15);
/// Until the list was read for the first time, which needs the kubelet's certificate.
const FOLLOW_FIRST: Duration = Duration::from_secs(1);
const ENDPOINTS: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";

/// What is balanced, and the file that remembers it.
pub struct Work {
    /// What is balanced.
    pub balanced: Balanced,
    /// The agent's file.
    pub path: PathBuf,
}

struct State {
    pool: Mutex<Pool>,
    /// The servers that connections may stay with.
    usable: watch::Sender<Vec<String>>,
    reporter: Arc<dyn Reporter>,
}

impl State {
    fn change(&self, by: impl FnOnce(&mut Pool)) {
        let usable = {
            let mut pool = self.pool.lock();
            by(&mut pool);
            pool.usable()
        };
        let changed = self.usable.send_if_modified(|present| {
            let changed = *present != usable;
            present.clone_from(&usable);
            changed
        });
        if changed {
            self.reporter.info(&format!("[balancer] connections go to {}", usable.join(", ")));
        }
    }
}

/// Listens at `address`.
pub async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listening at {address}"))
}

/// Passes connections on, for good.
pub async fn run(listener: TcpListener, work: Work, reporter: Arc<dyn Reporter>) {
    let pool = Pool::new(&work.balanced.servers, work.balanced.own.clone());
    let (usable, _) = watch::channel(pool.usable());
    let state = Arc::new(State { pool: Mutex::new(pool), usable, reporter });
    tokio::join!(accept(listener, &state), ask(&work.balanced, &state), follow(&work, &state));
}

async fn accept(listener: TcpListener, state: &Arc<State>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            // Out of files, most likely: some connection has to end first.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let state = state.clone();
        tokio::spawn(async move {
            pass(client, &state).await;
            drop(permit);
        });
    }
}

/// Passes one connection on until either side ends it, or its server is lost.
async fn pass(client: TcpStream, state: &State) {
    let order = state.pool.lock().order();
    for address in order {
        let Ok(Ok(server)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await else { continue };
        // Requests and events are small, and each is wanted at once.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let mut usable = state.usable.subscribe();
        let lost = async {
            let known = usable.wait_for(|all| all.contains(&address)).await.is_ok();
            if !known || usable.wait_for(|all| !all.contains(&address)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = kinit_serving::join::join(client, server) => {}
            () = lost => {}
        }
        return;
    }
}

/// Asks every server how it is, again and again.
async fn ask(balanced: &Balanced, state: &State) {
    let mut clients: Vec<(String, KubeApi)> = Vec::new();
    loop {
        let addresses = state.pool.lock().addresses();
        clients.retain(|(address, _)| addresses.contains(address));
        for address in addresses {
            if clients.iter().any(|(known, _)| *known == address) {
                continue;
            }
            match client(&address, balanced) {
                Ok(api) => clients.push((address, api)),
                Err(error) => state.reporter.warn(&format!("{address}: {error}")),
            }
        }
        let answers = join_all(clients.iter().map(|(address, api)| async move {
            let answer = timeout(ASK_TIMEOUT, api.call(Verb::Get, "/readyz", None)).await;
            (address.clone(), matches!(answer, Ok(Ok(_))))
        }));
        let answers = answers.await;
        state.change(|pool| answers.iter().for_each(|(address, well)| pool.asked(address, *well)));
        sleep(ASK_EVERY).await;
    }
}

fn client(address: &str, balanced: &Balanced) -> anyhow::Result<KubeApi> {
    let ca = std::fs::read_to_string(&balanced.ca).with_context(|| balanced.ca.display().to_string())?;
    Ok(KubeApi::new(&format!("https://{address}"), &Trust::Authorities(ca), None)?)
}

/// Reads the list of servers again and again, with what the kubelet is known by, and remembers it.
async fn follow(work: &Work, state: &State) {
    let mut pause = FOLLOW_FIRST;
    loop {
        sleep(pause).await;
        // Read each time: the kubelet's certificate changes.
        let path = kubeconfig::path("kubelet.conf");
        if !path.exists() {
            continue;
        }
        let Ok(slice) = KubeApi::from_file(path).call(Verb::Get, ENDPOINTS, None).await else { continue };
        let addresses = addresses(&slice);
        if addresses.is_empty() {
            continue;
        }
        pause = FOLLOW_EVERY;
        let mut changed = false;
        let mut known = Vec::new();
        state.change(|pool| {
            changed = pool.follow(&addresses);
            known = pool.addresses();
        });
        if changed && let Err(error) = remember(work, known) {
            state.reporter.warn(&format!("the API servers could not be written down: {error}"));
        }
    }
}

fn remember(work: &Work, addresses: Vec<String>) -> anyhow::Result<()> {
    let mut config = Config::load(&work.path)?.unwrap_or_default();
    let Some(balanced) = &mut config.balancer else { return Ok(()) };
    balanced.servers = addresses;
    config.save(&work.path)
}

/// `host:port` of each server in an EndpointSlice.
pub fn addresses(slice: &Value) -> Vec<String> {
    let list = |name: &str| slice[name].as_array().into_iter().flatten();
    let Some(port) = list("ports").find_map(|port| port["port"].as_u64()).and_then(|port| u16::try_from(port).ok())
    else {
        return Vec::new();
    };
    let ready = list("endpoints").filter(|one| one.pointer("/conditions/ready") != Some(&Value::Bool(false)));
    let addresses = ready.flat_map(|one| one["addresses"].as_array().into_iter().flatten()).filter_map(Value::as_str);
    addresses.map(|address| crate::config::net::host_port(address, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn addresses_are_those_of_the_slice() {
        let slice = json!({
            "ports": [{"name": "https", "port": 6443}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["fd00::3"]},
            ],
        });
        assert_eq!(addresses(&slice), ["10.0.0.1:6443", "[fd00::3]:6443"]);
        assert!(addresses(&json!({"endpoints": []})).is_empty());
    }

    /// A server that says its name to whoever connects and then what it is told.
    async fn echo(name: &'static str) -> String {
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.write_all(name.as_bytes()).await.unwrap();
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        address
    }

    async fn said(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 1];
        stream.read_exact(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer).into_owned()
    }

    #[tokio::test]
    async fn connections_are_passed_on_and_leave_a_server_that_is_lost() {
        let (first, second) = (echo("1").await, echo("2").await);
        let gone = listen("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let pool = Pool::new(&[first.clone(), gone.clone(), second.clone()], Some(gone));
        let (usable, _) = watch::channel(pool.usable());
        let state = Arc::new(State { pool: Mutex::new(pool), usable, reporter: Arc::new(crate::report::Silent) });
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = state.clone();
        tokio::spawn(async move { accept(listener, &running).await });

        // The preferred one is not there, so another answers.
        let mut client = TcpStream::connect(address).await.unwrap();
        let name = said(&mut client).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(said(&mut client).await, "x");
        // That one is lost now: the connection ends, and the next one goes to the third.
        let lost = if name == "1" { &first } else { &second };
        state.change(|pool| (0..2).for_each(|_| pool.asked(lost, false)));
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
        let mut client = TcpStream::connect(address).await.unwrap();
        assert_ne!(said(&mut client).await, name);
    }
}
