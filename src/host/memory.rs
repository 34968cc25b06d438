//! A host that only remembers: the dry run, and the fake of tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::record::Entry;
use super::{Change, Command, Error, Host, Output, RealHost, Result};

/// What would have been done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A file was written.
    Write(PathBuf),
    /// A program was copied, which nobody wants to read the text of.
    Install(PathBuf, PathBuf),
    /// A file or folder was removed.
    Remove(PathBuf),
    /// A program was run.
    Run(String),
}

#[derive(Default)]
struct State {
    /// Files as they would be; `None` for one that was removed.
    files: BTreeMap<PathBuf, Option<Vec<u8>>>,
    effects: Vec<Effect>,
}

/// A host that only remembers, over the files of the real one or over none.
pub struct MemoryHost {
    below: Option<RealHost>,
    state: Mutex<State>,
    staging: tempfile::TempDir,
}

impl MemoryHost {
    /// A dry run: reads see the real files, under what this run would have written.
    pub fn dry_run() -> Result<Self> {
        Self::new(Some(RealHost::new()?))
    }

    /// An empty host.
    pub fn empty() -> Result<Self> {
        Self::new(None)
    }

    fn new(below: Option<RealHost>) -> Result<Self> {
        let staging = tempfile::tempdir().map_err(|source| Error::file(&std::env::temp_dir(), source))?;
        Ok(Self { below, state: Mutex::default(), staging })
    }

    /// What would have been done so far.
    pub fn effects(&self) -> Vec<Effect> {
        self.state.lock().effects.clone()
    }

    /// What the real file at `path` holds.
    pub fn before(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        self.below.as_ref().map_or(Ok(None), |below| below.read(path))
    }

    /// Files that would have been written, with what they would hold.
    pub fn written(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state.lock();
        let copied = |path: &Path| state.effects.iter().any(|one| matches!(one, Effect::Install(_, to) if to == path));
        let files = state.files.iter().filter(|(path, _)| !copied(path));
        files.filter_map(|(path, contents)| Some((path.clone(), contents.clone()?))).collect()
    }
}

#[async_trait]
impl Host for MemoryHost {
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        if let Some(contents) = self.state.lock().files.get(path) {
            return Ok(contents.clone());
        }
        self.below.as_ref().map_or(Ok(None), |below| below.read(path))
    }

    fn write(&self, path: &Path, contents: &[u8], _mode: u32) -> Result<Change> {
        if self.read(path)?.as_deref() == Some(contents) {
            return Ok(Change::Unchanged);
        }
        let mut state = self.state.lock();
        state.files.insert(path.to_owned(), Some(contents.to_owned()));
        state.effects.push(Effect::Write(path.to_owned()));
        Ok(Change::Changed)
    }

    fn install(&self, from: &Path, to: &Path, _mode: u32) -> Result<Change> {
        let contents = self.read(from)?;
        if self.read(to)? == contents {
            return Ok(Change::Unchanged);
        }
        let mut state = self.state.lock();
        state.files.insert(to.to_owned(), contents);
        state.effects.push(Effect::Install(from.to_owned(), to.to_owned()));
        Ok(Change::Changed)
    }

    fn remove(&self, path: &Path) -> Result<Change> {
        if self.read(path)?.is_none() {
            return Ok(Change::Unchanged);
        }
        let mut state = self.state.lock();
        state.files.insert(path.to_owned(), None);
        state.effects.push(Effect::Remove(path.to_owned()));
        Ok(Change::Changed)
    }

    fn remove_tree(&self, path: &Path) -> Result<Change> {
        self.state.lock().effects.push(Effect::Remove(path.to_owned()));
        Ok(Change::Changed)
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>> {
        let mut names = self.below.as_ref().map_or(Ok(Vec::new()), |below| below.list(folder))?;
        for (path, contents) in &self.state.lock().files {
            let Ok(rest) = path.strip_prefix(folder) else { continue };
            let Some(name) = rest.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned())
            else {
                continue;
            };
            names.retain(|known| *known != name);
            if contents.is_some() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn preserve(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn note(&self, _entry: Entry) -> Result<()> {
        Ok(())
    }

    fn is_resumed(&self) -> Result<bool> {
        self.below.as_ref().map_or(Ok(false), |below| below.is_resumed())
    }

    fn stage(&self, folder: &Path) -> Result<PathBuf> {
        let staged = self.staging.path().join(folder.strip_prefix("/").unwrap_or(folder));
        if !staged.exists() {
            std::fs::create_dir_all(&staged).map_err(|error| Error::file(&staged, error))?;
            if self.below.is_some() && folder.exists() {
                copy_tree(folder, &staged).map_err(|error| Error::file(folder, error))?;
            }
        }
        Ok(staged)
    }

    async fn run(&self, command: Command) -> Result<Output> {
        self.state.lock().effects.push(Effect::Run(command.to_string()));
        Ok(Output { success: true, status: "not run".into(), ..Output::default() })
    }

    fn is_real(&self) -> bool {
        false
    }
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
