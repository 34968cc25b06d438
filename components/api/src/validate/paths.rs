//! Paths of files that are to stay below some directory.

use super::field::{Error, Errors, Path};

/// A path that does not step back.
pub(super) fn no_backsteps(file: &str, path: &Path, errors: &mut Errors) {
    if file.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, file, "must not contain '..'"));
    }
}

/// A path that leads down from wherever it starts.
pub(super) fn descending(file: &str, path: &Path, errors: &mut Errors) {
    if file.starts_with('/') {
        errors.push(Error::invalid(path, file, "must be a relative path"));
    }
    no_backsteps(file, path, errors);
}

/// A path of a file in a volume, whose names with two dots in front are the kubelet's own.
pub(super) fn local(file: &str, path: &Path, errors: &mut Errors) {
    descending(file, path, errors);
    if file.starts_with("..") && !file.starts_with("../") {
        errors.push(Error::invalid(path, file, "must not start with '..'"));
    }
}
