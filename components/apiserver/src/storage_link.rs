//! The connection to etcd: to each of its servers, opened when it is needed and again when it breaks, with the client
//! certificate that the file holds then.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tonic::transport::channel::Change;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::options::EtcdOptions;

/// How often the files are looked at. A certificate is renewed weeks before its end.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A channel to all of etcd's servers.
pub fn channel(options: &EtcdOptions) -> anyhow::Result<Channel> {
    let endpoints = endpoints(options)?;
    let (channel, changes) = Channel::balance_channel(endpoints.len().max(1));
    for (server, endpoint) in endpoints {
        // There is room for each of them.
        changes.try_send(Change::Insert(server, endpoint))?;
    }
    tokio::spawn(follow(options.clone(), changes));
    Ok(channel)
}

fn endpoints(options: &EtcdOptions) -> anyhow::Result<Vec<(String, Endpoint)>> {
    let endpoint = |server: &String| {
        let mut endpoint = Endpoint::from_shared(server.clone())
            .map_err(|error| anyhow::anyhow!("--etcd-servers: {server:?} is not a URL: {error}"))?
            .connect_timeout(Duration::from_secs(3))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        if server.starts_with("https://") {
            endpoint = endpoint.tls_config(tls(options)?)?;
        }
        Ok((server.clone(), endpoint))
    };
    options.servers.iter().map(endpoint).collect()
}

/// Puts endpoints with new certificates in the place of the old ones; what is on its way over a connection comes to its
/// end there. It ends when nobody has the channel any more.
async fn follow(options: EtcdOptions, changes: mpsc::Sender<Change<String, Endpoint>>) {
    let mut seen = stamps(&options);
    loop {
        tokio::select! {
            () = changes.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = stamps(&options);
        if now == seen {
            continue;
        }
        match endpoints(&options) {
            Ok(endpoints) => {
                seen = now;
                tracing::info!("certificate for etcd reloaded");
                for (server, endpoint) in endpoints {
                    if changes.send(Change::Insert(server, endpoint)).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "changed certificate for etcd is not usable yet; keeping the old one"),
        }
    }
}

fn stamps(options: &EtcdOptions) -> Vec<Option<SystemTime>> {
    let files = [&options.ca_file, &options.cert_file, &options.key_file];
    let stamp = |path: &Path| std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
    files.into_iter().map(|file| file.as_deref().and_then(stamp)).collect()
}

fn tls(options: &EtcdOptions) -> anyhow::Result<ClientTlsConfig> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()));
    let mut config = ClientTlsConfig::new();
    if let Some(ca) = &options.ca_file {
        config = config.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let (Some(certificate), Some(key)) = (&options.cert_file, &options.key_file) {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(config)
}
