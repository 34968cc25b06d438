//! The crate's error type.

use std::io;
use std::path::{Path, PathBuf};

/// What can be wrong with a key, a certificate or its file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Text that should be PEM of a certain kind is not.
    #[error("{what} is not valid PEM of a {expected}: {reason}")]
    Pem {
        /// Where the text comes from.
        what: String,
        /// What it should have held.
        expected: &'static str,
        /// Why it does not.
        reason: String,
    },
    /// A key of a kind that nothing here can sign with.
    #[error("{what}: unsupported private key: {reason} (RSA of at least 2048 bits, ECDSA P-256 or P-384 work)")]
    Key {
        /// Where the key comes from.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate or request could not be made or parsed.
    #[error("{what}: {reason}")]
    Certificate {
        /// Which certificate.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A file on disk is there, but does not fit what the cluster needs.
    #[error("{path}: {reason}; remove it to have it made again, or replace it by one that fits")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why it does not fit.
        reason: String,
    },
    /// A kubeconfig lacks something.
    #[error("kubeconfig {what}: {reason}")]
    Kubeconfig {
        /// Which one.
        what: String,
        /// What it lacks.
        reason: String,
    },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn certificate(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Certificate { what: what.into(), reason: reason.to_string() }
    }
}
