//! The host that kinit runs on.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;

use super::record::{Entry, Record, STATE_DIR};
use super::{Change, Command, Error, Host, Output, Result};

/// The host that kinit runs on. What it makes is noted in the record first.
pub struct RealHost {
    state: PathBuf,
    record: Record,
    /// What the record holds, so that a second run adds nothing twice.
    noted: Mutex<Vec<Entry>>,
    /// The command that has begun but has changed nothing yet: it leaves no trace if it stops here.
    begun: Mutex<Option<Entry>>,
}

impl RealHost {
    /// The host with its record in [`STATE_DIR`].
    pub fn new() -> Result<Self> {
        Self::with_state(Path::new(STATE_DIR))
    }

    /// The host with its record in another folder.
    pub fn with_state(state: &Path) -> Result<Self> {
        let record = Record::new(state);
        let noted = match record.entries() {
            // Who may not read it may not change the host either, which preflight says.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Vec::new(),
            other => other.map_err(|source| Error::file(state, source))?,
        };
        Ok(Self { state: state.to_owned(), record, noted: Mutex::new(noted), begun: Mutex::default() })
    }

    /// Makes the folders above `path`, noting those that were not there.
    fn make_parents(&self, path: &Path) -> Result<()> {
        let mut missing: Vec<&Path> =
            path.ancestors().skip(1).take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
        missing.reverse();
        for folder in missing {
            self.note(Entry::Folder { path: folder.to_owned() })?;
            let mode =
                if folder.starts_with("/etc/kubernetes/pki") || folder.starts_with("/var/lib") { 0o700 } else { 0o755 };
            match fs::DirBuilder::new().mode(mode).create(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(Error::file(folder, error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn note_file(&self, path: &Path) -> Result<()> {
        if path.exists() { Ok(()) } else { self.note(Entry::File { path: path.to_owned() }) }
    }
}

fn same_file(left: &Path, right: &Path) -> io::Result<bool> {
    let (left_facts, right_facts) = match (fs::metadata(left), fs::metadata(right)) {
        (Ok(left), Ok(right)) => (left, right),
        (Err(error), _) => return Err(error),
        (_, Err(_)) => return Ok(false),
    };
    if left_facts.len() != right_facts.len() {
        return Ok(false);
    }
    Ok(crate::images::digest_of_file(left)? == crate::images::digest_of_file(right)?)
}

#[async_trait]
impl Host for RealHost {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Error::file(path, error)),
        }
    }

    fn write(&self, path: &Path, contents: &[u8], mode: u32) -> Result<Change> {
        let fail = |error| Error::file(path, error);
        if let Some(present) = self.read(path)?
            && present == contents
        {
            let permissions = fs::metadata(path).map_err(fail)?.permissions();
            if permissions.mode() & 0o777 == mode {
                return Ok(Change::Unchanged);
            }
        }
        self.make_parents(path)?;
        self.note_file(path)?;
        kinit_pki::files::write_atomic(path, contents, mode).map_err(|error| match error {
            kinit_pki::Error::Io { path, source } => Error::File { path, source },
            other => fail(io::Error::other(other)),
        })?;
        Ok(Change::Changed)
    }

    fn install(&self, from: &Path, to: &Path, mode: u32) -> Result<Change> {
        if same_file(from, to).map_err(|error| Error::file(from, error))? {
            return Ok(Change::Unchanged);
        }
        let fail = |error| Error::file(to, error);
        self.make_parents(to)?;
        self.note_file(to)?;
        // The program may be running: it is replaced by name, never written into.
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let temporary = to.with_file_name(format!(".{name}.new"));
        fs::copy(from, &temporary).map_err(fail)?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).map_err(fail)?;
        fs::rename(&temporary, to).map_err(fail)?;
        Ok(Change::Changed)
    }

    fn remove(&self, path: &Path) -> Result<Change> {
        match fs::remove_file(path) {
            Ok(()) => Ok(Change::Changed),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(Change::Unchanged)
            }
            Err(error) => Err(Error::file(path, error)),
        }
    }

    fn remove_tree(&self, path: &Path) -> Result<Change> {
        match fs::remove_dir_all(path) {
            Ok(()) => Ok(Change::Changed),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Change::Unchanged),
            // A mount point cannot be removed, only what is in it: /var/lib/etcd is often a disk of its own.
            Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(Change::Changed),
            Err(error) => Err(Error::file(path, error)),
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            other => other.map_err(|error| Error::file(folder, error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| Error::file(folder, error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn preserve(&self, path: &Path) -> Result<()> {
        let known = |entry: &Entry| match entry {
            Entry::Change { path: noted, .. } | Entry::File { path: noted } => noted == path,
            _ => false,
        };
        // Only the contents before the first change are those of others.
        if self.noted.lock().iter().any(known) {
            return Ok(());
        }
        let Some(contents) = self.read(path)? else {
            return self.note(Entry::Change { path: path.to_owned(), copy: None });
        };
        let flat = path.display().to_string().trim_start_matches('/').replace('/', "_");
        let copy = self.state.join("preserved").join(flat);
        let mode = fs::metadata(path).map_or(0o600, |facts| facts.permissions().mode() & 0o777);
        self.write(&copy, &contents, mode)?;
        self.note(Entry::Change { path: path.to_owned(), copy: Some(copy) })
    }

    fn note(&self, entry: Entry) -> Result<()> {
        if matches!(entry, Entry::Begun { .. }) {
            *self.begun.lock() = Some(entry);
            return Ok(());
        }
        let begun = self.begun.lock().take();
        let mut noted = self.noted.lock();
        for entry in begun.into_iter().chain([entry]) {
            if !noted.contains(&entry) {
                self.record.add(&entry).map_err(|source| Error::file(&self.state, source))?;
                noted.push(entry);
            }
        }
        Ok(())
    }

    fn is_resumed(&self) -> Result<bool> {
        let noted = self.noted.lock();
        let last = noted.iter().rev().find(|entry| matches!(entry, Entry::Begun { .. } | Entry::Finished { .. }));
        Ok(matches!(last, Some(Entry::Begun { .. })))
    }

    fn stage(&self, folder: &Path) -> Result<PathBuf> {
        if !folder.exists() {
            self.make_parents(folder)?;
            self.note(Entry::Folder { path: folder.to_owned() })?;
        }
        Ok(folder.to_owned())
    }

    async fn run(&self, command: Command) -> Result<Output> {
        let fail = |source| Error::Start { program: command.program.clone(), source };
        let mut child = tokio::process::Command::new(&command.program)
            .args(&command.arguments)
            .stdin(if command.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        if let (Some(input), Some(mut stdin)) = (&command.input, child.stdin.take()) {
            // A program that does not read all of its input ends by its own reasons, which its status tells.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(fail)?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.to_string(),
        })
    }

    fn is_real(&self) -> bool {
        true
    }
}
