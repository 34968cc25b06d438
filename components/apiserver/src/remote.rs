//! A server that a kubeconfig file names: who is asked about tokens and permissions, and who is told what was done.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::HeaderValue;
use kinit_pki::kubeconfig::{Kubeconfig, User};
use serde_json::Value;
use url::Url;

use crate::webhook::client::{Client, Identity, Target, Trust};

/// How often a call is tried that fails on the way, and how long is waited before the second time.
const ATTEMPTS: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(500);

/// Where to call, and as whom. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    target: Target,
    path: String,
}

impl Remote {
    /// Reads a kubeconfig file; errors name it.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let config = Kubeconfig::load(file)?;
        Self::new(&config).with_context(|| file.display().to_string())
    }

    fn new(config: &Kubeconfig) -> anyhow::Result<Self> {
        let (cluster, user) = config.current()?;
        let url = Url::parse(&cluster.server).with_context(|| format!("server {:?} is no URL", cluster.server))?;
        ensure!(url.scheme() == "https", "server {:?}: only https is called", cluster.server);
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let server_name = cluster.tls_server_name.clone().unwrap_or_else(|| host.clone());
        let trust = Trust::Authorities(cluster.ca_pem()?.unwrap_or_default().into());
        let identity = match user.and_then(|user| user.client_certificate.clone().zip(user.client_key.clone())) {
            Some((certificate, key)) => Some(Identity::Files(certificate, key)),
            None => {
                let pair = user.map(User::certificate_pem).transpose()?.flatten();
                pair.map(|(certificate, key)| Identity::Pem(certificate, key))
            }
        };
        let token = user.map(User::bearer_token).transpose()?.flatten();
        let token = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose()?;
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        Ok(Self {
            client: Client::new(identity, token),
            target: Target { address: Ok((host, port)), authority, server_name, trust },
            path,
        })
    }

    /// Posts a tree once.
    pub async fn post(&self, body: &Value, timeout: Duration) -> Result<Bytes, String> {
        self.client.post(&self.target, &self.path, body.to_string().into(), timeout).await
    }

    /// Posts a tree and reads the answer's; what fails on the way is tried again.
    pub async fn ask(&self, body: &Value, timeout: Duration) -> Result<Value, String> {
        let mut wait = BACKOFF;
        for attempt in 1.. {
            match self.post(body, timeout).await {
                Ok(bytes) => return serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(error) => tracing::debug!(error, server = self.target.authority, "a call failed"),
            }
            tokio::time::sleep(wait).await;
            wait = wait.mul_f32(1.5);
        }
        Err("it was not tried".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_says_where_and_as_whom() {
        let config = |server: &str| {
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: a, cluster: {{server: '{server}'}}}}]\n\
                 users: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: a, user: u}}}}]\n"
            );
            Remote::new(&Kubeconfig::parse(&text, "test").unwrap())
        };
        let remote = config("https://127.0.0.1:9443/audit?x=1").unwrap();
        assert_eq!((remote.target.authority.as_str(), remote.path.as_str()), ("127.0.0.1:9443", "/audit?x=1"));
        assert!(config("http://127.0.0.1").err().unwrap().to_string().contains("only https"));
    }
}
