//! Other hosts over SSH: whom to trust, running programs, copying files.
//!
//! [`Target`] is where; [`known_hosts`] decides whether a host key is believed; [`Session`] is a connection. Commands that
//! are run on the other side are built from constants and from paths that kinit chose itself, never from input.

pub mod known_hosts;
mod session;
mod target;

use std::path::PathBuf;

pub use known_hosts::{KnownHosts, Unknown};
pub use session::{Credentials, Ran, Session};
pub use target::Target;

/// What can go wrong with another host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A target that cannot be read.
    #[error("{text:?} is no SSH target: {reason}\nhint: write USER@HOST, USER@HOST:PORT or ssh://USER@HOST:PORT")]
    Target {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody answers.
    #[error("{target}: cannot connect: {reason}\nhint: is the host up, and does sshd listen there?")]
    Connect {
        /// The host.
        target: String,
        /// Why not.
        reason: String,
    },
    /// The host shows another key than before.
    #[error(
        "{target}: its host key has changed: {file} has another one. Somebody may be in between, or the host was \
         installed anew\nhint: if you know that it was, remove the old key with `ssh-keygen -R {host}` and try again"
    )]
    Changed {
        /// The host.
        target: String,
        /// The file that has the other key.
        file: String,
        /// The name to remove.
        host: String,
    },
    /// The host was never seen and nobody vouches for it.
    #[error(
        "{target}: its host key {fingerprint} is not known\nhint: compare it with `ssh-keygen -lf` there, then add --accept-new-host-keys, or connect once with ssh"
    )]
    UnknownHost {
        /// The host.
        target: String,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// No key is accepted.
    #[error(
        "{target}: permission denied: {tried}\nhint: give the right key by --ssh-key, or add yours to the host's authorized_keys"
    )]
    Denied {
        /// The host.
        target: String,
        /// What was tried.
        tried: String,
    },
    /// A private key cannot be used.
    #[error("SSH key {path}: {reason}\nhint: a key with a passphrase must be in an SSH agent")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file could not be copied.
    #[error("{target}: copying {path}: {reason}")]
    Copy {
        /// The host.
        target: String,
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The connection broke, or the other side does not follow the protocol.
    #[error("SSH: {0}")]
    Protocol(#[from] russh::Error),
    /// known_hosts could not be read or written.
    #[error("known_hosts: {0}")]
    KnownHosts(String),
}
