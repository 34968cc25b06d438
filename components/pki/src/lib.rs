//! Keys, certificates and kubeconfigs of a cluster.
//!
//! Everything here is plain data and files: no network, no clock of its own (times come in as arguments), no async.
//! The command line makes a cluster's whole PKI with it, the controller manager signs requests with it and the
//! kubelet makes its requests with it.
//!
//! Layers, lowest first:
//! - [`key`]: [`PrivateKey`], made by an [`Algorithm`], ECDSA P-256 unless told otherwise, read as RSA or EC in PKCS#8, PKCS#1 or SEC 1.
//! - [`certificate`]: [`Certificate`], one parsed certificate and the facts in it; [`Profile`], what a new one shall say.
//! - [`authority`]: [`Authority`], a CA that issues certificates; [`CertificateRequest`], a parsed CSR.
//! - [`self_signed()`]: a serving certificate that no cluster has signed.
//! - [`layout`]: the one table of every certificate of a control plane, named and shaped as kubeadm does.
//! - [`store`]: [`PkiStore`], that table on disk: reuse what is there, make what is missing, refuse what is wrong.
//! - [`kubeconfig`]: [`Kubeconfig`], read and written as kubectl does.
//! - [`files`]: atomic writes with a mode.
//!
//! Start reading at [`layout::CERTIFICATES`].
//!
//! Nothing is encrypted and no private key is ever logged: [`PrivateKey`]'s `Debug` shows only its algorithm.

pub mod authority;
pub mod certificate;
mod der;
mod error;
pub mod files;
pub mod key;
pub mod kubeconfig;
pub mod layout;
mod self_signed;
pub mod store;

pub use authority::{Authority, CertificateRequest};
pub use certificate::{Certificate, Profile, Usage};
pub use error::{Error, Result};
pub use key::{Algorithm, PrivateKey};
pub use kubeconfig::Kubeconfig;
pub use layout::{CERTIFICATES, CertificateSpec, Subject};
pub use self_signed::self_signed;
pub use store::{Ensured, Issuance, PkiStore};
