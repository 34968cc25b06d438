//! Phases: named steps that bring a host or a cluster to where it should be.
//!
//! A phase reads what is there, compares, acts and reports [`Outcome`]. Running one again changes nothing. [`Phase`] is a
//! node of a tree; its leaves have something to do. [`Tree`] is the order in which a command runs them: stages one after
//! the other, the lanes of a stage at once, the phases of a lane one after the other.

pub mod addons;
pub mod agent;
pub mod bootstrap_token;
pub mod certs;
pub mod containerd;
pub mod control_plane;
pub mod crio;
pub mod host_settings;
pub mod images;
pub mod init;
pub mod kubeconfig;
pub mod kubelet;
pub mod mark_control_plane;
mod run;
pub mod security;
pub mod upload_certs;
pub mod upload_config;
pub mod wait;

use futures::future::BoxFuture;

pub use crate::report::Outcome;
pub use run::{Error, failed, find, own_name, run_all, run_one, run_tree, validate_names};

/// What a phase returns. Phases are the shell around pure parts, so any error is good enough here.
pub type Result = anyhow::Result<Outcome>;

/// What a leaf does.
pub type Action<C> = for<'a> fn(&'a C) -> BoxFuture<'a, Result>;

/// A node of the tree of phases over a context `C`.
pub struct Phase<C: 'static> {
    /// Its name; with its parents' names it is the argument of `init phase`.
    pub name: &'static str,
    /// One line for help texts.
    pub about: &'static str,
    /// What it does, for a leaf.
    pub action: Option<Action<C>>,
    /// What it consists of, for a node.
    pub children: &'static [Phase<C>],
    /// A phase that goes before it where it runs by itself.
    pub alone_after: Option<&'static str>,
}

impl<C> Phase<C> {
    /// A leaf.
    pub const fn leaf(name: &'static str, about: &'static str, action: Action<C>) -> Self {
        Self { name, about, action: Some(action), children: &[], alone_after: None }
    }

    /// A node.
    pub const fn node(name: &'static str, about: &'static str, children: &'static [Phase<C>]) -> Self {
        Self { name, about, action: None, children, alone_after: None }
    }

    /// The same, where it needs what another phase makes and kubeadm's of its name makes that itself.
    pub const fn alone_after(self, first: &'static str) -> Self {
        Self { alone_after: Some(first), ..self }
    }
}

/// Phases that run one after the other.
pub type Lane<C> = &'static [Phase<C>];

/// Lanes that run at once.
pub type Stage<C> = &'static [Lane<C>];

/// All of a command's phases.
pub type Tree<C> = &'static [Stage<C>];
