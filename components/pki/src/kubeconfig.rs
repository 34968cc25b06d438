//! Kubeconfig files: the part of `v1/Config` that a cluster's own components use.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::files;
use crate::key::PrivateKey;

/// A kubeconfig. Fields that nothing here uses are dropped when a file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kubeconfig {
    /// Always `v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// The clusters.
    #[serde(default)]
    pub clusters: Vec<NamedCluster>,
    /// The contexts.
    #[serde(default)]
    pub contexts: Vec<NamedContext>,
    /// Name of the context in use.
    #[serde(default)]
    pub current_context: String,
    /// Always `Config`.
    pub kind: String,
    /// The users.
    #[serde(default)]
    pub users: Vec<NamedUser>,
}

/// A cluster and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

/// How a cluster is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Cluster {
    /// The CA bundle, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority_data: Option<String>,
    /// A file with the CA bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    /// URL of the API server.
    pub server: String,
    /// The name that the server's certificate is checked for, if it is not the host of `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
}

/// A context and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedContext {
    /// The context.
    pub context: Context,
    /// Its name.
    pub name: String,
}

/// Which user goes to which cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the user.
    pub user: String,
}

/// A user and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedUser {
    /// Its name.
    pub name: String,
    /// The user.
    pub user: User,
}

/// What a user shows.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct User {
    /// Certificate, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_data: Option<String>,
    /// Key, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_data: Option<String>,
    /// A file with the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// A file with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// A bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// A file with a bearer token.
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A name and a password, for servers that want these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").finish_non_exhaustive()
    }
}

/// How a new kubeconfig's user proves who it is.
#[derive(Debug)]
pub enum Credential<'a> {
    /// By a client certificate, embedded.
    Certificate(&'a Certificate, &'a PrivateKey),
    /// By a client certificate in a file that also holds the key, and is renewed there.
    CertificateFile(&'a Path),
    /// By a client certificate that others have yet to sign for this key.
    Key(&'a PrivateKey),
    /// By a bearer token.
    Token(&'a str),
    /// By nothing.
    Anonymous,
}

impl Kubeconfig {
    /// A kubeconfig with one cluster, one user and the context `user@cluster`, as kubeadm writes it.
    pub fn new(cluster: &str, server: &str, ca_pem: &str, user: &str, credential: &Credential<'_>) -> Self {
        let encode = |text: &str| Some(BASE64.encode(text));
        let context = if user.is_empty() { cluster.to_owned() } else { format!("{user}@{cluster}") };
        let shown = match credential {
            Credential::Certificate(certificate, key) => User {
                client_certificate_data: encode(&certificate.to_pem()),
                client_key_data: encode(&key.to_pem()),
                ..User::default()
            },
            Credential::CertificateFile(path) => User {
                client_certificate: Some(path.to_path_buf()),
                client_key: Some(path.to_path_buf()),
                ..User::default()
            },
            Credential::Key(key) => User { client_key_data: encode(&key.to_pem()), ..User::default() },
            Credential::Token(token) => User { token: Some((*token).to_owned()), ..User::default() },
            Credential::Anonymous => User::default(),
        };
        Self {
            api_version: "v1".into(),
            kind: "Config".into(),
            clusters: vec![NamedCluster {
                name: cluster.into(),
                cluster: Cluster {
                    certificate_authority_data: encode(ca_pem).filter(|data| !data.is_empty()),
                    server: server.into(),
                    ..Cluster::default()
                },
            }],
            contexts: vec![NamedContext {
                name: context.clone(),
                context: Context { cluster: cluster.into(), user: user.into() },
            }],
            current_context: context,
            users: vec![NamedUser { name: user.into(), user: shown }],
        }
    }

    /// Parses YAML or JSON text; `what` names the source in errors.
    pub fn parse(text: &str, what: &str) -> Result<Self> {
        serde_yaml::from_str(text).map_err(|error| Error::Kubeconfig { what: what.into(), reason: error.to_string() })
    }

    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path)?, &path.display().to_string())
    }

    /// The file's text.
    pub fn to_yaml(&self) -> Result<String> {
        serde_yaml::to_string(self)
            .map_err(|error| Error::Kubeconfig { what: self.current_context.clone(), reason: error.to_string() })
    }

    /// Cluster and user of the current context; with one cluster and no context, that cluster.
    pub fn current(&self) -> Result<(&Cluster, Option<&User>)> {
        let missing = |reason: String| Error::Kubeconfig { what: self.current_context.clone(), reason };
        let Some(context) = self.contexts.iter().find(|named| named.name == self.current_context) else {
            return match self.clusters.as_slice() {
                [only] => Ok((&only.cluster, self.users.first().map(|named| &named.user))),
                _ => Err(missing("it has no such context".into())),
            };
        };
        let cluster = self
            .clusters
            .iter()
            .find(|named| named.name == context.context.cluster)
            .ok_or_else(|| missing(format!("it has no cluster {:?}", context.context.cluster)))?;
        let user = self.users.iter().find(|named| named.name == context.context.user);
        Ok((&cluster.cluster, user.map(|named| &named.user)))
    }
}

impl Cluster {
    /// The CA bundle as PEM, from the file or from the data; `None` when there is none.
    pub fn ca_pem(&self) -> Result<Option<String>> {
        text_of(self.certificate_authority_data.as_deref(), self.certificate_authority.as_deref(), "CA data")
    }
}

impl User {
    /// Client certificate and key as PEM; `None` when the user has none.
    pub fn certificate_pem(&self) -> Result<Option<(String, String)>> {
        let certificate =
            text_of(self.client_certificate_data.as_deref(), self.client_certificate.as_deref(), "client certificate")?;
        let key = text_of(self.client_key_data.as_deref(), self.client_key.as_deref(), "client key")?;
        Ok(certificate.zip(key))
    }

    /// The bearer token, from the file or as it stands.
    pub fn bearer_token(&self) -> Result<Option<String>> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(path)) => Ok(Some(files::read_text(path)?.trim().to_owned())),
            (None, None) => Ok(None),
        }
    }
}

fn text_of(data: Option<&str>, path: Option<&Path>, what: &str) -> Result<Option<String>> {
    let bad = |reason: String| Error::Kubeconfig { what: what.into(), reason };
    match (data, path) {
        (Some(data), _) if !data.is_empty() => {
            let bytes = BASE64.decode(data).map_err(|error| bad(error.to_string()))?;
            String::from_utf8(bytes).map(Some).map_err(|error| bad(error.to_string()))
        }
        (_, Some(path)) => files::read_text(path).map(Some),
        _ => Ok(None),
    }
}
