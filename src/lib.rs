//! kinit starts a whole Kubernetes cluster: certificates, control plane, workers and add-ons, in the manner of kubeadm and
//! with its words, out of components of its own.
//!
//! Layers, lowest first:
//! - [`host`], [`images`], [`api`], [`etcd`], [`ssh`]: effects, each behind a trait with a real and a harmless implementation.
//! - [`config`], [`token`], [`templates`], [`patches`], [`preflight`]: what is wanted, as plain data and text.
//! - [`report`]: what the user sees meanwhile.
//! - [`phase`]: the steps that lead from what is there to what is wanted. Start at [`phase::init::TREE`].
//! - [`agent`]: what goes on on a node as long as it is one.
//! - [`join`], [`reset`], [`restore`], [`readdress`], [`supervise`]: the commands that are more than a row of phases.
//! - [`cli`]: the tree of commands and flags. Only it prints.
//!
//! The libraries beside it: `kinit-pki` makes keys and certificates, `kinit-preflight` judges a host, `kinit-cri` talks to
//! the container runtime.
//!
//! A dry run is no flag that phases ask: it is [`host::MemoryHost`], [`images::WouldImport`] and [`api::WouldCall`] in
//! place of the real ones.

pub mod agent;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod codes;
pub mod config;
pub mod diff;
pub mod etcd;
pub mod host;
pub mod images;
pub mod join;
pub mod mend;
pub mod patches;
pub mod phase;
pub mod preflight;
pub mod readdress;
pub mod report;
pub mod reset;
pub mod restore;
pub mod ssh;
pub mod supervise;
pub mod templates;
pub mod token;
pub mod upgrade;
