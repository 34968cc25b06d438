//! The version of Kubernetes that this build is, and the machine that it is for: said here and nowhere else.

/// The operating system and the machine in Kubernetes' words, which are Go's: `linux/amd64`.
pub fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, architecture())
}

/// The machine alone: `amd64`, `arm64`.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// With its `v`, as `gitVersion`, `kubeletVersion` and the tags of images have it.
///
/// The compiler is kept from looking into it, so that binaries hold it as text once, and never as parts of instructions: a build
/// can be given another number of the same length, as the test of upgrades does.
pub fn kubernetes() -> &'static str {
    REPORTED.get().map_or_else(built, String::as_str)
}

/// What is said in place of the build's own version; see [`report`].
static REPORTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();

fn built() -> &'static str {
    std::hint::black_box("v1.36.0")
}

/// Has [`kubernetes`] say this version from now on: the same three numbers with what a vendor puts behind them, which is the
/// caller's to check. The first call of a process counts, and is to be made before anything is served.
pub fn report(version: &str) {
    REPORTED.get_or_init(|| version.to_owned());
}
