//! Effects on a host, behind one trait.
//!
//! [`Host`] is everything that phases do to files and programs. [`RealHost`] does it and keeps a [`record`] of what it
//! made, so that `reset` can take away exactly that. [`MemoryHost`] does nothing but remember: over the real files it
//! is the dry run, over nothing it is what tests use.

mod memory;
mod real;
pub mod record;

use std::path::{Path, PathBuf};

use async_trait::async_trait;

pub use memory::{Effect, MemoryHost};
pub use real::RealHost;

/// What is wrong on the host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or changed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("cannot run {program}: {source}\nhint: is {program} installed and in PATH?")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{command} failed ({status}): {message}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        message: String,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// The host's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether something had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was done.
    Changed,
    /// All was as it should be.
    Unchanged,
}

impl Change {
    /// Changed if either is.
    pub fn or(self, other: Self) -> Self {
        if self == Self::Changed { self } else { other }
    }
}

/// A program to run, never through a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Name or path of the program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads.
    pub input: Option<String>,
}

impl Command {
    /// A command without input.
    pub fn new(program: &str, arguments: &[&str]) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            input: None,
        }
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.program, self.arguments.join(" "))
    }
}

/// How a program ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Whether it ended with 0.
    pub success: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How it ended, for people.
    pub status: String,
}

/// Effects on a host.
#[async_trait]
pub trait Host: Send + Sync {
    /// Reads a file; `None` when it is not there.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>>;

    /// Makes a file have these contents and this mode, atomically, making its folders; says whether it had to.
    fn write(&self, path: &Path, contents: &[u8], mode: u32) -> Result<Change>;

    /// Makes `to` a copy of `from`, for files too large to hold in memory twice.
    fn install(&self, from: &Path, to: &Path, mode: u32) -> Result<Change>;

    /// Removes a file; no file is no error.
    fn remove(&self, path: &Path) -> Result<Change>;

    /// Removes a folder and what is in it; no folder is no error.
    fn remove_tree(&self, path: &Path) -> Result<Change>;

    /// Names in a folder, sorted; a folder that is not there has none.
    fn list(&self, folder: &Path) -> Result<Vec<String>>;

    /// Keeps the present contents of a file that others made, so that reset can put them back.
    fn preserve(&self, path: &Path) -> Result<()>;

    /// Notes that something will be made that reset must take away again.
    fn note(&self, entry: record::Entry) -> Result<()>;

    /// Whether a command began to change the host and never came to its end.
    fn is_resumed(&self) -> Result<bool>;

    /// The folder to use in place of `folder` by code that reads and writes files itself.
    fn stage(&self, folder: &Path) -> Result<PathBuf>;

    /// Runs a program to its end.
    async fn run(&self, command: Command) -> Result<Output>;

    /// Whether effects are real.
    fn is_real(&self) -> bool;
}

/// Runs a program that must succeed.
pub async fn run(host: &dyn Host, command: Command) -> Result<Output> {
    let shown = command.to_string();
    let output = host.run(command).await?;
    if output.success {
        return Ok(output);
    }
    let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let tail: Vec<&str> = text.trim().lines().rev().take(5).collect();
    let message = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(Error::Failed { command: shown, status: output.status, message })
}

/// Whether systemd is the host's process 1.
pub fn has_systemd(host: &dyn Host) -> bool {
    matches!(host.read(Path::new("/proc/1/comm")), Ok(Some(name)) if name.trim_ascii() == b"systemd")
}
