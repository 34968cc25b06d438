//! Files that change all at once: they are in a folder of their own, to which a link points that is replaced by rename.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

const DATA: &str = "..data";

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it holds.
    pub contents: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// Whose it is, if it is not the kubelet's own.
    pub user: Option<u32>,
}

/// Files by path below the volume.
pub type Files = BTreeMap<String, File>;

/// Makes the volume hold exactly these files.
pub fn write(volume: &Path, files: &Files, group: Option<i64>) -> io::Result<()> {
    let data = volume.join(DATA);
    let old = fs::read_link(&data).ok();
    if old.is_some() && same(&data, files) {
        return Ok(());
    }
    let name = format!("..{:016x}", rand::random::<u64>());
    let folder = volume.join(&name);
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.contents)?;
        let mode = if group.is_some() { file.mode | 0o040 } else { file.mode };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        let group = group.and_then(|group| u32::try_from(group).ok());
        if file.user.is_some() || group.is_some() {
            chown(&target, file.user, group)?;
        }
    }
    let link = volume.join("..data_new");
    // One may be left of a kubelet that ended here.
    let _ = fs::remove_file(&link);
    symlink(&name, &link)?;
    fs::rename(&link, &data)?;
    let tops: Vec<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for top in &tops {
        let visible = volume.join(top);
        if fs::symlink_metadata(&visible).is_err() {
            symlink(Path::new(DATA).join(top), &visible)?;
        }
    }
    for entry in fs::read_dir(volume)?.flatten() {
        let entry_name = entry.file_name();
        let visible = entry_name.to_string_lossy();
        if !visible.starts_with("..") && !tops.contains(&visible.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    match old {
        Some(old) => fs::remove_dir_all(volume.join(old)),
        None => Ok(()),
    }
}

fn same(data: &Path, files: &Files) -> bool {
    let mut count = 0;
    let present = walk(data, &mut count);
    present.is_ok()
        && count == files.len()
        && files.iter().all(|(path, file)| fs::read(data.join(path)).is_ok_and(|contents| contents == file.contents))
}

fn walk(folder: &Path, count: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { walk(&entry.path(), count)? } else { *count += 1 }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(all: &[(&str, &str)]) -> Files {
        all.iter()
            .map(|(path, text)| {
                ((*path).to_owned(), File { contents: text.as_bytes().to_vec(), mode: 0o644, user: None })
            })
            .collect()
    }

    #[test]
    fn a_change_is_seen_whole_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path();
        write(volume, &files(&[("a", "1"), ("b/c", "2")]), None).unwrap();
        assert_eq!(fs::read_to_string(volume.join("b/c")).unwrap(), "2");
        let first = fs::read_link(volume.join(DATA)).unwrap();
        write(volume, &files(&[("a", "1"), ("b/c", "2")]), None).unwrap();
        assert_eq!(fs::read_link(volume.join(DATA)).unwrap(), first);
        write(volume, &files(&[("a", "3")]), None).unwrap();
        assert_eq!(fs::read_to_string(volume.join("a")).unwrap(), "3");
        assert!(!volume.join("b").exists());
        assert_eq!(fs::read_dir(volume).unwrap().count(), 3);
    }
}
