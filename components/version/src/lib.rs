//! The version of Kubernetes that this build is: said here and nowhere else.

/// With its `v`, as `gitVersion`, `kubeletVersion` and the tags of images have it.
///
/// The compiler is kept from looking into it, so that binaries hold it as text once, and never as parts of instructions: a build
/// can be given another number of the same length, as the test of upgrades does.
pub fn kubernetes() -> &'static str {
    std::hint::black_box("v1.36.0")
}
