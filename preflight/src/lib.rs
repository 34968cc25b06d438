//! Judging a host before anything is done to it.
//!
//! Two halves, so that every judgement can be tested by a table: [`Facts`] are gathered once, by [`gather`], and are plain
//! data; a [`Check`] is a pure function over them. [`run`] runs every check that the host's [`Role`] needs and returns all
//! that they find, never only the first.
//!
//! Names are kubeadm's, so that `--ignore-preflight-errors=Swap,NumCPU` does what its users expect; checks that kubeadm
//! does not have are named in the same manner. An ignored error becomes a warning: it is still shown.
//!
//! Start at [`checks::CHECKS`].

pub mod checks;
pub mod explain;
pub mod facts;
mod gather;
mod judge;
pub mod more;
mod probe;

use serde::Serialize;

pub use checks::{CHECKS, Check};
pub use facts::{Facts, Port};
pub use gather::{Request, gather, own_addresses};
pub use more::More;

/// What a host is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A control plane node.
    ControlPlane,
    /// A worker.
    Worker,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The user should know.
    Warning,
    /// Nothing may be done before this is mended.
    Error,
}

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check, as `--ignore-preflight-errors` takes it.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What can be done.
    pub hint: String,
}

impl Finding {
    /// An error.
    pub fn error(name: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), severity: Severity::Error, message: message.into(), hint: hint.into() }
    }

    /// A warning.
    pub fn warning(name: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(name, message, hint) }
    }
}

/// Runs every check of `role`. Errors whose name is in `ignore`, in any case, or all if it has `all`, become warnings.
pub fn run(facts: &Facts, role: Role, ignore: &[String]) -> Vec<Finding> {
    let ignored =
        |name: &str| ignore.iter().any(|other| other.eq_ignore_ascii_case(name) || other.eq_ignore_ascii_case("all"));
    let mut findings: Vec<Finding> = CHECKS
        .iter()
        .filter(|check| role == Role::ControlPlane || !check.control_plane_only)
        .flat_map(|check| (check.judge)(facts))
        .map(
            |finding| if ignored(&finding.name) { Finding { severity: Severity::Warning, ..finding } } else { finding },
        )
        .collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// Whether there is an error among the findings.
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}
