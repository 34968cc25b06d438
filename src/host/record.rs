//! The record of what kinit made on a host: one JSON object per line, written before the thing is made, so that an
//! interrupted run is known too.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// kinit's own folder on a host.
pub const STATE_DIR: &str = "/var/lib/kinit";

/// One thing that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "made")]
pub enum Entry {
    /// A command began to change the host.
    Begun {
        /// The command.
        command: String,
    },
    /// A command came to its end.
    Finished {
        /// The command.
        command: String,
    },
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// A folder.
    Folder {
        /// Its path.
        path: PathBuf,
    },
    /// A file of others was changed; its contents before are kept in `copy`, or it was not there.
    Change {
        /// Its path.
        path: PathBuf,
        /// The copy.
        copy: Option<PathBuf>,
    },
    /// An image in the container runtime.
    Image {
        /// Its name.
        name: String,
    },
    /// A systemd unit was enabled.
    Unit {
        /// Its name.
        name: String,
    },
    /// A kernel setting was changed.
    Sysctl {
        /// Its path below /proc/sys.
        path: PathBuf,
        /// Its value before.
        before: String,
    },
    /// A kernel module was loaded.
    Module {
        /// Its name.
        name: String,
    },
}

/// The record file.
#[derive(Debug, Clone)]
pub struct Record {
    path: PathBuf,
}

impl Record {
    /// The record in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("record.jsonl") }
    }

    /// Adds an entry, on disk when this returns.
    pub fn add(&self, entry: &Entry) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut line = serde_json::to_string(entry)?;
        line.push('\n');
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        // A line that a kill has torn must not take this one with it.
        let length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        if last != [b'\n'] {
            line.insert(0, '\n');
        }
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }

    /// All entries in the order they were added, each once; a torn last line is left out.
    pub fn entries(&self) -> io::Result<Vec<Entry>> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut entries = Vec::new();
        for entry in text.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok()) {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_survive_and_a_torn_line_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::new(folder.path());
        let file = Entry::File { path: "/a".into() };
        let image = Entry::Image { name: "x".into() };
        for entry in [&file, &image, &file] {
            record.add(entry).unwrap();
        }
        let mut raw = OpenOptions::new().append(true).open(folder.path().join("record.jsonl")).unwrap();
        raw.write_all(b"{\"made\":\"fi").unwrap();
        assert_eq!(record.entries().unwrap(), [file.clone(), image.clone()]);
        let unit = Entry::Unit { name: "u".into() };
        record.add(&unit).unwrap();
        assert_eq!(record.entries().unwrap(), [file, image, unit]);
    }
}
