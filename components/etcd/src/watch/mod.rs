//! Watches: every change of a key range, in order, from a revision on.
//!
//! - [`hub`]: which watcher hears of which change. The apply loop publishes here and never waits: a stream whose queue is
//!   full loses nothing, its watchers fall behind and read the history themselves.
//! - [`stream`]: one client's stream of watches: requests in, responses out, catching up.
//! - [`responses`]: how what a stream says goes out.
//! - [`changes`]: word that something changed, for requests of this server that wait for a state.
//! - [`fragment`]: cuts responses that are too large for a client.

pub mod changes;
pub mod fragment;
pub mod hub;
pub mod responses;
pub mod stream;
