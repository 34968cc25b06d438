//! Webhooks: servers that the cluster's configuration names, which are asked about objects.
//!
//! [`client`] speaks to them, [`target`] finds them, [`answer`] is what they answer. Admission's: [`hooks`] knows which there
//! are and what they want to be asked about, [`forms`] in which version, [`review`] is what is said, [`dispatch`] asks, as
//! [`users`] says.

pub mod answer;
pub mod client;
pub mod dispatch;
pub mod forms;
pub mod hooks;
pub mod review;
pub mod target;
pub mod users;
