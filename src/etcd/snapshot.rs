//! Files of etcd's data: saved from a running member, checked, and thrown away when there are enough newer ones.
//!
//! A snapshot is the member's database, a multiple of 512 bytes, with the SHA-256 of it at the end.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ring::digest;

use super::{Error, Etcd};

const PAGE: u64 = 512;
const HASH: u64 = 32;
/// Names of scheduled snapshots begin with this.
pub const PREFIX: &str = "etcd-";
/// And end with this.
pub const SUFFIX: &str = ".db";

fn at(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::File { path: path.display().to_string(), source }
}

/// Saves a snapshot and checks it; gives its size. The file is there whole or not at all.
pub async fn save(etcd: &Etcd, path: &Path) -> Result<u64, Error> {
    let fail = at(path);
    let part = path.with_added_extension("part");
    let mut stream = etcd.snapshot().await?;
    let mut file = create(&part).map_err(&fail)?;
    let written = async {
        while let Some(piece) = stream
            .message()
            .await
            .map_err(|status| Error::Refused { what: "give a snapshot", reason: status.message().into() })?
        {
            file.write_all(&piece.blob).map_err(&fail)?;
        }
        file.sync_all().map_err(&fail)?;
        check(&part)
    };
    match written.await {
        Ok(size) => {
            std::fs::rename(&part, path).map_err(&fail)?;
            Ok(size)
        }
        Err(error) => {
            // What is left of the attempt is of no use to anyone.
            let _ = std::fs::remove_file(&part);
            Err(error)
        }
    }
}

fn create(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Secrets are in it.
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Checks that a file is a whole snapshot; gives the size of the data in it.
pub fn check(path: &Path) -> Result<u64, Error> {
    let fail = at(path);
    let torn = |reason: &str| Error::Torn { path: path.display().to_string(), reason: reason.to_owned() };
    let mut file = std::fs::File::open(path).map_err(&fail)?;
    let size = file.metadata().map_err(&fail)?.len();
    if size < PAGE + HASH || size % PAGE != HASH {
        return Err(torn("it has no checksum at its end"));
    }
    let mut left = size - HASH;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..want]).map_err(&fail)?;
        context.update(&buffer[..want]);
        left -= want as u64;
    }
    let mut wanted = [0; HASH as usize];
    file.read_exact(&mut wanted).map_err(&fail)?;
    if context.finish().as_ref() != wanted {
        return Err(torn("its checksum does not fit"));
    }
    Ok(size - HASH)
}

/// Name of a scheduled snapshot made at `now`; names sort by time.
pub fn name(now: Timestamp) -> String {
    let now = now.strftime("%Y%m%dT%H%M%SZ");
    format!("{PREFIX}{now}{SUFFIX}")
}

/// Which of the files in a folder are to go so that the newest `keep` scheduled snapshots stay.
pub fn surplus(mut names: Vec<String>, keep: usize) -> Vec<String> {
    names.retain(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
    names.sort();
    names.truncate(names.len().saturating_sub(keep));
    names
}

/// Throws away all but the newest `keep` scheduled snapshots in a folder; gives what went.
pub fn prune(folder: &Path, keep: usize) -> Result<Vec<PathBuf>, Error> {
    let fail = at(folder);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(&fail)? {
        names.push(entry.map_err(&fail)?.file_name().to_string_lossy().into_owned());
    }
    let mut gone = Vec::new();
    for name in surplus(names, keep) {
        let path = folder.join(name);
        std::fs::remove_file(&path).map_err(at(&path))?;
        gone.push(path);
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_snapshot_passes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let data = vec![7u8; 1024];
        let hash = digest::digest(&digest::SHA256, &data);
        let whole = [&data[..], hash.as_ref()].concat();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(check(&path).unwrap(), 1024);
        let mut other = whole.clone();
        other[3] ^= 1;
        for bad in [&other[..], &whole[..whole.len() - 1], &data[..], b""] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(check(&path), Err(Error::Torn { .. })), "{} bytes", bad.len());
        }
    }

    #[test]
    fn the_newest_stay_and_files_of_others_too() {
        let now: Timestamp = "2027-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(name(now), "etcd-20270102T030405Z.db");
        let names = ["etcd-20270101T000000Z.db", "mine.db", "etcd-20270103T000000Z.db", "etcd-20270102T000000Z.db"];
        let names = || names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(surplus(names(), 1), ["etcd-20270101T000000Z.db", "etcd-20270102T000000Z.db"]);
        assert_eq!(surplus(names(), 3), [""; 0]);
    }
}
