//! A connection.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Disconnect, Preferred};
use russh_sftp::client::SftpSession;
use russh_sftp::protocol::OpenFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

use super::known_hosts::Verdict;
use super::{Error, KnownHosts, Target, Unknown};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const BUFFER: usize = 256 << 10;
/// Only one question is asked at a time.
static QUESTION: Mutex<()> = Mutex::const_new(());

/// How to prove who we are.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Private keys that were named; without any, the agent's and the user's usual ones are tried.
    pub keys: Vec<PathBuf>,
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Exit code; `None` when it was killed or the connection broke.
    pub code: Option<u32>,
    /// Standard output.
    pub stdout: String,
    /// The last lines of standard error.
    pub stderr: String,
}

/// A connection to a host.
pub struct Session {
    handle: Handle<Verifier>,
    target: Target,
}

struct Verifier {
    target: Target,
    known: KnownHosts,
    unknown: Unknown,
}

impl client::Handler for Verifier {
    type Error = Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let target = self.target.to_string();
        match self.known.judge(&self.target, key)? {
            Verdict::Known => return Ok(true),
            Verdict::Changed(file) => {
                let file = file.display().to_string();
                return Err(Error::Changed { target, file, host: self.target.host.clone() });
            }
            Verdict::Unknown => {}
        }
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let accepted = match self.unknown {
            Unknown::Accept => true,
            Unknown::Refuse => false,
            Unknown::Ask => ask(&target, &fingerprint).await,
        };
        if !accepted {
            return Err(Error::UnknownHost { target, fingerprint });
        }
        self.known.learn(&self.target, key)?;
        Ok(true)
    }
}

async fn ask(target: &str, fingerprint: &str) -> bool {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let _one_at_a_time = QUESTION.lock().await;
    let prompt = format!("{target} shows host key {fingerprint}, which is not known. Connect?");
    let answer = tokio::task::spawn_blocking(move || {
        dialoguer::Confirm::new().with_prompt(prompt).default(false).interact_opt()
    });
    matches!(answer.await, Ok(Ok(Some(true))))
}

impl Session {
    /// Connects, checks the host's key and logs in.
    pub async fn open(
        target: &Target,
        credentials: &Credentials,
        known: &KnownHosts,
        unknown: Unknown,
    ) -> Result<Self, Error> {
        let mut preferred = Preferred::default();
        let algorithms = known.algorithms(target);
        if !algorithms.is_empty() {
            preferred.key = algorithms.into();
        }
        let config = client::Config {
            preferred,
            nodelay: true,
            keepalive_interval: Some(Duration::from_secs(10)),
            ..client::Config::default()
        };
        let unreachable = |reason: String| Error::Connect { target: target.to_string(), reason };
        // The time limit is for the network; a question to the user may take as long as it wants.
        let address = (target.host.as_str(), target.port);
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(address))
            .await
            .map_err(|_| unreachable(format!("no answer within {}s", CONNECT_TIMEOUT.as_secs())))?
            .map_err(|error| unreachable(error.to_string()))?;
        // Small packets wait for each other otherwise; failing to switch that off is no reason not to go on.
        let _ = stream.set_nodelay(true);
        let verifier = Verifier { target: target.clone(), known: known.clone(), unknown };
        let handle = client::connect_stream(Arc::new(config), stream, verifier).await?;
        let mut session = Self { handle, target: target.clone() };
        session.log_in(credentials).await?;
        Ok(session)
    }

    /// Where this goes to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    async fn log_in(&mut self, credentials: &Credentials) -> Result<(), Error> {
        let hash = self.handle.best_supported_rsa_hash().await?.flatten();
        let mut tried = Vec::new();
        if credentials.keys.is_empty() && self.log_in_by_agent(hash, &mut tried).await? {
            return Ok(());
        }
        let usual = || {
            let home = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/root"));
            ["id_ed25519", "id_ecdsa", "id_rsa"]
                .map(|name| home.join(".ssh").join(name))
                .into_iter()
                .filter(|path| path.exists())
        };
        let named = !credentials.keys.is_empty();
        let paths: Vec<PathBuf> = if named { credentials.keys.clone() } else { usual().collect() };
        for path in paths {
            let key = match load_secret_key(&path, None) {
                Ok(key) => key,
                Err(error) if named => return Err(Error::Key { path, reason: error.to_string() }),
                Err(error) => {
                    tried.push(format!("{} ({error})", path.display()));
                    continue;
                }
            };
            tried.push(path.display().to_string());
            let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
            if self.handle.authenticate_publickey(self.target.user.as_str(), key).await?.success() {
                return Ok(());
            }
        }
        let tried = if tried.is_empty() {
            "there is no SSH key to try".to_owned()
        } else {
            format!("none of these keys is accepted: {}", tried.join(", "))
        };
        Err(Error::Denied { target: self.target.to_string(), tried })
    }

    async fn log_in_by_agent(&mut self, hash: Option<HashAlg>, tried: &mut Vec<String>) -> Result<bool, Error> {
        let Ok(mut agent) = AgentClient::connect_env().await else { return Ok(false) };
        let Ok(identities) = agent.request_identities().await else { return Ok(false) };
        for identity in identities {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            tried.push(format!("{comment} of the agent"));
            let hash = key.algorithm().is_rsa().then_some(hash).flatten();
            let key: PublicKey = key;
            let user = self.target.user.as_str();
            // An agent that does not want to sign is no reason not to try the next key.
            if let Ok(result) = self.handle.authenticate_publickey_with(user, key, hash, &mut agent).await
                && result.success()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs a command, which must be a constant or made of paths that kinit chose. Lines of its standard error go to
    /// `each_line` as they come.
    pub async fn run(&self, command: &str, mut each_line: impl FnMut(&str) + Send) -> Result<Ran, Error> {
        let mut channel = self.handle.channel_open_session().await?;
        channel.exec(true, command).await?;
        let mut ran = Ran::default();
        let mut stdout = Vec::new();
        let mut pending = Vec::new();
        let mut tail: Vec<String> = Vec::new();
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => stdout.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, .. } => {
                    pending.extend_from_slice(&data);
                    while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = pending.drain(..=end).collect();
                        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                        each_line(&line);
                        tail.push(line);
                        if tail.len() > 30 {
                            tail.remove(0);
                        }
                    }
                }
                ChannelMsg::ExitStatus { exit_status } => ran.code = Some(exit_status),
                _ => {}
            }
        }
        if !pending.is_empty() {
            tail.push(String::from_utf8_lossy(&pending).into_owned());
        }
        ran.stdout = String::from_utf8_lossy(&stdout).into_owned();
        ran.stderr = tail.join("\n");
        Ok(ran)
    }

    /// Opens file transfer.
    pub async fn files(&self) -> Result<RemoteFiles<'_>, Error> {
        let channel = self.handle.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        let sftp = SftpSession::new(channel.into_stream()).await.map_err(|error| Error::Copy {
            target: self.target.to_string(),
            path: "files".into(),
            reason: format!("{error} (does sshd there have the sftp subsystem?)"),
        })?;
        Ok(RemoteFiles { sftp, target: &self.target })
    }

    /// Says goodbye.
    pub async fn close(self) {
        // The connection is going away in any case.
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "en").await;
    }
}

/// The files of the other host.
pub struct RemoteFiles<'a> {
    sftp: SftpSession,
    target: &'a Target,
}

impl RemoteFiles<'_> {
    fn failed(&self, path: &str, reason: impl ToString) -> Error {
        Error::Copy { target: self.target.to_string(), path: path.to_owned(), reason: reason.to_string() }
    }

    /// Makes a folder and those above it.
    pub async fn create_folder(&self, path: &str) -> Result<(), Error> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for end in 1..=parts.len() {
            let folder = format!("/{}", parts[..end].join("/"));
            if !self.sftp.try_exists(folder.clone()).await.map_err(|error| self.failed(&folder, error))? {
                self.sftp.create_dir(folder.clone()).await.map_err(|error| self.failed(&folder, error))?;
            }
        }
        Ok(())
    }

    /// Writes a file with a mode, under another name first.
    pub async fn write(&self, path: &str, contents: &[u8], mode: u32) -> Result<(), Error> {
        self.copy(path, mode, contents).await
    }

    /// Copies a file there, under another name first.
    pub async fn upload(&self, from: &Path, to: &str, mode: u32) -> Result<(), Error> {
        let file =
            tokio::fs::File::open(from).await.map_err(|error| self.failed(&from.display().to_string(), error))?;
        self.copy(to, mode, file).await
    }

    async fn copy(&self, path: &str, mode: u32, mut from: impl tokio::io::AsyncRead + Unpin) -> Result<(), Error> {
        let fail = |error: &dyn std::fmt::Display| self.failed(path, error);
        let temporary = format!("{path}.new");
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let attributes = russh_sftp::protocol::FileAttributes { permissions: Some(mode), ..Default::default() };
        let mut file = self
            .sftp
            .open_with_flags_and_attributes(temporary.clone(), flags, attributes.clone())
            .await
            .map_err(|error| fail(&error))?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = from.read(&mut buffer).await.map_err(|error| fail(&error))?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).await.map_err(|error| fail(&error))?;
        }
        file.shutdown().await.map_err(|error| fail(&error))?;
        self.sftp.set_metadata(temporary.clone(), attributes).await.map_err(|error| fail(&error))?;
        if self.sftp.try_exists(path).await.map_err(|error| fail(&error))? {
            self.sftp.remove_file(path).await.map_err(|error| fail(&error))?;
        }
        self.sftp.rename(temporary, path).await.map_err(|error| fail(&error))
    }

    /// Reads a small file.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.sftp.read(path).await.map_err(|error| self.failed(path, error))
    }

    /// Copies a file from there.
    pub async fn download(&self, from: &str, to: &Path) -> Result<(), Error> {
        let fail = |error: &dyn std::fmt::Display| self.failed(from, error);
        let mut file = self.sftp.open(from).await.map_err(|error| fail(&error))?;
        let mut target = tokio::fs::File::create(to).await.map_err(|error| fail(&error))?;
        tokio::io::copy(&mut file, &mut target).await.map_err(|error| fail(&error))?;
        target.flush().await.map_err(|error| fail(&error))
    }

    /// Removes a file; none is no error.
    pub async fn remove(&self, path: &str) -> Result<(), Error> {
        if self.sftp.try_exists(path).await.map_err(|error| self.failed(path, error))? {
            self.sftp.remove_file(path).await.map_err(|error| self.failed(path, error))?;
        }
        Ok(())
    }
}
