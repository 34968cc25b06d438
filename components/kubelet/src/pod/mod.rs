//! Pods: where they come from, what they need, and the task that runs each.

pub mod actions;
pub mod container;
pub mod env;
pub mod facts;
pub mod sandbox;
pub mod source;
pub mod state;
pub mod status;
pub mod worker;
