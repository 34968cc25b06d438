//! Removing the cgroups that the runtime made for a pod and leaves behind.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Removes a pod's cgroup from every hierarchy. `parent` is what the runtime was told, in either driver's form. What
/// still has processes stays; the runtime ends them before this is called.
pub fn remove(parent: &str) {
    for hierarchy in hierarchies() {
        remove_tree(&hierarchy.join(relative(parent)));
    }
}

/// Version 2 is one hierarchy, version 1 one for each controller.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root];
    }
    fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// Path below a hierarchy: `a-b-c.slice` is in `a.slice/a-b.slice`.
fn relative(parent: &str) -> PathBuf {
    let Some(name) = parent.strip_suffix(".slice") else { return PathBuf::from(parent.trim_start_matches('/')) };
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
    }
    path
}

fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // Its files go with it; one that is in use or was never there stays as it is.
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_nested() {
        assert_eq!(relative("/kubepods/burstable/podx"), PathBuf::from("kubepods/burstable/podx"));
        let wanted = "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podx_y.slice";
        assert_eq!(relative("kubepods-besteffort-podx_y.slice"), PathBuf::from(wanted));
    }
}
