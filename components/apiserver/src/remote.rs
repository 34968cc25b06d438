//! A server that a kubeconfig file names: who is asked about tokens and permissions, and who is told what was done.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use kinit_pki::kubeconfig::Kubeconfig;
use serde_json::Value;
use url::Url;

use crate::webhook::answer::Answer;
use crate::webhook::client::{Client, Target, Trust};

/// How often a call is made whose failure may pass, how long is waited before the second time, and how that wait grows.
const ATTEMPTS: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(500);
const GROWTH: f32 = 1.5;

/// Where to call, and as whom. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    target: Target,
    path: String,
    backoff: Duration,
    /// Whether a call is made again whatever came of it.
    insists: bool,
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
        let client = user.map_or_else(|| Ok(Client::default()), Client::of_user)?;
        let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        Ok(Self {
            client,
            target: Target { address: Ok((host, port)), authority, server_name, trust },
            path,
            backoff: BACKOFF,
            insists: false,
        })
    }

    /// Waits so long before it calls for the second time.
    pub fn with_backoff(self, backoff: Duration) -> Self {
        Self { backoff, ..self }
    }

    /// Calls again whatever failed, where one has to be told and not asked.
    pub fn insisting(self) -> Self {
        Self { insists: true, ..self }
    }

    /// Posts a tree and gives the body of a success; what fails in a way that may pass is tried again.
    pub async fn post(&self, body: &Value, timeout: Duration) -> Result<Bytes, String> {
        let body = Bytes::from(body.to_string());
        let (mut wait, mut attempt) = (self.backoff, 1);
        loop {
            let said = self.client.send(&self.target, &self.path, body.clone(), timeout).await;
            let again = attempt < ATTEMPTS && (self.insists && !succeeded(&said) || may_pass(&said));
            let said = said.and_then(Answer::success);
            let Err(error) = &said else { return said };
            if !again {
                return said;
            }
            tracing::debug!(error, server = self.target.authority, "a call failed");
            tokio::time::sleep(wait).await;
            (wait, attempt) = (wait.mul_f32(GROWTH), attempt + 1);
        }
    }

    /// Posts a tree and reads the answer's.
    pub async fn ask(&self, body: &Value, timeout: Duration) -> Result<Value, String> {
        serde_json::from_slice(&self.post(body, timeout).await?).map_err(|error| error.to_string())
    }
}

fn succeeded(said: &Result<Answer, String>) -> bool {
    said.as_ref().is_ok_and(|answer| answer.status.is_success())
}

/// Whether what failed may go well the next time, by upstream's rules: a connection that broke, a server with a fault of its
/// own or too much to do. One that cannot be reached at all is not asked again.
fn may_pass(said: &Result<Answer, String>) -> bool {
    match said {
        Ok(answer) => matches!(answer.status.as_u16(), 429 | 500 | 504) || answer.retry_after.is_some(),
        Err(why) => why.ends_with("connection reset by peer"),
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

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let answered = |code: u16| {
            let code = http::StatusCode::from_u16(code).unwrap();
            Ok(Answer::new(code, &http::HeaderMap::new(), Bytes::new()))
        };
        let all = [200, 400, 401, 403, 404, 429, 500, 502, 503, 504];
        let passing: Vec<u16> = all.into_iter().filter(|code| may_pass(&answered(*code))).collect();
        assert_eq!(passing, [429, 500, 504]);
        let mut later = http::HeaderMap::new();
        later.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        assert!(may_pass(&Ok(Answer::new(http::StatusCode::SERVICE_UNAVAILABLE, &later, Bytes::new()))));
        let failed = |why: &str| may_pass(&Err(format!("Post \"https://a:1/\": {why}")));
        assert!(failed("read tcp 127.0.0.1:2->127.0.0.1:1: read: connection reset by peer"));
        assert!(!failed("dial tcp 127.0.0.1:1: connect: connection refused"));
    }
}
