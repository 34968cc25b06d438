//! The audit log: one line per event in a file that is rotated, or on standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

/// When a file is full and what becomes of it. Zero is no limit, but for the size.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// In bytes.
    pub size: u64,
    pub age: Duration,
    pub backups: usize,
    pub compress: bool,
}

/// Where lines go.
pub enum Log {
    Stdout,
    File(LogFile),
}

/// A file and how much is in it.
pub struct LogFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    written: u64,
    tidier: Tidier,
}

impl Log {
    /// `-` is standard output. The error names the file.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let written = file.metadata()?.len();
        let tidier = Tidier::start(path.to_owned(), rotation.clone())?;
        Ok(Self::File(LogFile { path: path.to_owned(), rotation, file, written, tidier }))
    }

    /// Writes one line.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(line),
            Self::File(log) => log.write(line),
        }
    }
}

impl LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let size = line.len() as u64;
        if self.written > 0 && self.written + size > self.rotation.size {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.written += size;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let backup = backup(&self.path, Timestamp::now());
        std::fs::rename(&self.path, &backup)?;
        self.file = append(&self.path)?;
        self.written = 0;
        self.tidier.wake();
        Ok(())
    }
}

/// The one thread that tidies up a log: compressing takes longer than a request may wait, and two at once would take each
/// other's files. It has ended when this is dropped.
struct Tidier {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Tidier {
    fn start(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("audit-log".to_owned()).spawn(move || {
            while woken.recv().is_ok() {
                if let Err(error) = tidy(&path, &rotation) {
                    tracing::warn!(%error, path = %path.display(), "old audit logs cannot be tidied up");
                }
            }
        })?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// One turn that is still to come sees every file that is there, so a full queue needs no other.
    fn wake(&self) {
        if let Some(wake) = &self.wake {
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Tidier {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// What a full file is called: `audit-2030-01-02T03-04-05.000.log`.
fn backup(path: &Path, now: Timestamp) -> PathBuf {
    let (stem, end) = stem(path);
    path.with_file_name(format!("{stem}-{}{end}", now.strftime("%Y-%m-%dT%H-%M-%S.%3f")))
}

/// A file's name before and from its last dot.
fn stem(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.rfind('.') {
        Some(at) if at > 0 => (name[..at].to_owned(), name[at..].to_owned()),
        _ => (name.into_owned(), String::new()),
    }
}

/// Compresses full files and removes those that are too old or too many.
fn tidy(path: &Path, rotation: &Rotation) -> io::Result<()> {
    let (stem, end) = stem(path);
    let mut backups = Vec::new();
    for entry in std::fs::read_dir(path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if plain.strip_prefix(&format!("{stem}-")).is_some_and(|rest| rest.ends_with(&end) && rest.len() > 20) {
            backups.push((name, entry.path(), entry.metadata()?.modified()?));
        }
    }
    // Their names begin alike and go on with the time.
    backups.sort_by(|a, b| b.0.cmp(&a.0));
    let now = SystemTime::now();
    for (place, (name, path, modified)) in backups.iter().enumerate() {
        let old = !rotation.age.is_zero() && now.duration_since(*modified).is_ok_and(|age| age > rotation.age);
        if old || rotation.backups > 0 && place >= rotation.backups {
            std::fs::remove_file(path)?;
        } else if rotation.compress && !name.ends_with(".gz") {
            compress(path)?;
        }
    }
    Ok(())
}

fn compress(path: &Path) -> io::Result<()> {
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let mut encoder = GzEncoder::new(append(&packed)?, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/audit.log");
        let rotation = Rotation { size: 10, age: Duration::ZERO, backups: 2, compress: true };
        let Log::File(mut log) = Log::open(&path, rotation.clone()).unwrap() else { panic!("a file") };
        log.write(b"12345\n").unwrap();
        log.write(b"12\n").unwrap();
        log.write(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next\n");
        drop(log);
        let now: Timestamp = "2000-01-02T03:04:05Z".parse().unwrap();
        assert!(backup(&path, now).ends_with("audit-2000-01-02T03-04-05.000.log"));
        for day in 1..4 {
            std::fs::write(folder.path().join(format!("logs/audit-2999-01-0{day}T00-00-00.000.log")), "x").unwrap();
        }
        tidy(&path, &rotation).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(folder.path().join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let wanted = ["audit-2999-01-02T00-00-00.000.log.gz", "audit-2999-01-03T00-00-00.000.log.gz", "audit.log"];
        assert_eq!(names, wanted);
    }
}
