//! What the configuration asks of the kernel beside rules: its table of connections, and who ends when memory runs out.

use std::path::Path;

use crate::config::Configuration;

const NETFILTER: &str = "/proc/sys/net/netfilter";

/// Writes what differs. Where the kernel does not let this process, its own settings stay, and the log says so.
pub fn apply(config: &Configuration) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    for (name, value) in config.conntrack.settings(cores) {
        put(&Path::new(NETFILTER).join(name), &value.to_string());
    }
    if let Some(score) = config.oom_score_adj {
        put(Path::new("/proc/self/oom_score_adj"), &score.to_string());
    }
}

fn put(path: &Path, value: &str) {
    if std::fs::read_to_string(path).is_ok_and(|present| present.trim() == value) {
        return;
    }
    if let Err(error) = std::fs::write(path, value) {
        tracing::warn!(setting = %path.display(), value, %error, "the kernel's own setting stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_written_where_it_differs() {
        let path = std::env::temp_dir().join(format!("kinit-tune-{}", std::process::id()));
        std::fs::write(&path, "1\n").expect("a file");
        put(&path, "1");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "1\n");
        put(&path, "2");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "2");
        std::fs::remove_file(&path).expect("a file");
        put(&path.join("none"), "2");
    }
}
