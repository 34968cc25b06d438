//! Reading and writing small files, with the path in every error.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Mode of files that hold a private key.
pub const SECRET_MODE: u32 = 0o600;
/// Mode of certificates and public keys.
pub const PUBLIC_MODE: u32 = 0o644;

/// Reads a whole text file.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::io(path, error))
}

/// Makes a folder and its parents; those made get mode 0700.
pub fn create_private_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| Error::io(path, error))
}

/// Writes a file so that readers see the old or the new contents, never a part: a neighbour file is written, synced,
/// given its mode and renamed over `path`.
pub fn write_atomic(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    let fail = |error| Error::io(path, error);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = neighbour(path).ok_or_else(|| fail(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(SECRET_MODE).open(&temporary)?;
        file.write_all(contents)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(parent)?.sync_all()
    })();
    if result.is_err() {
        // The rename may be what failed; what is left of the attempt is of no use to anyone.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(fail)
}

/// Writes a file where it stands, for those who hold it open or have it mounted by itself: they would not see another one
/// under its name. A shorter text is filled up with empty lines, so that one write does it.
pub fn overwrite(path: &Path, text: &str) -> Result<()> {
    let fail = |error| Error::io(path, error);
    let mut file = OpenOptions::new().write(true).open(path).map_err(fail)?;
    let length = usize::try_from(file.metadata().map_err(fail)?.len()).unwrap_or(0);
    let filling = "\n".repeat(length.saturating_sub(text.len()));
    file.write_all(format!("{text}{filling}").as_bytes()).and_then(|()| file.sync_all()).map_err(fail)
}

/// Gives a file another name in its folder, for good.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::rename(from, to).and_then(|()| fs::File::open(parent)?.sync_all()).map_err(|error| Error::io(to, error))
}

/// Keeps others who ask for it out of a folder for as long as what it gives lives.
pub fn lock(folder: &Path) -> Result<fs::File> {
    let file = fs::File::open(folder).map_err(|error| Error::io(folder, error))?;
    file.lock().map_err(|error| Error::io(folder, error))?;
    Ok(file)
}

fn neighbour(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_all_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_atomic(&path, b"a longer first text", 0o600).unwrap();
        write_atomic(&path, b"second", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_overwritten_where_it_stands() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conf");
        write_atomic(&path, b"longer text\n", 0o600).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        overwrite(&path, "short\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim_end(), "short");
        overwrite(&path, "a much longer text than before\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a much longer text than before\n");
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }

    #[test]
    fn an_error_names_the_path() {
        let error = write_atomic(Path::new("/nowhere/at/all"), b"", 0o600).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
