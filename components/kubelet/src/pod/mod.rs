//! Pods: where they come from, what they need, and the task that runs each.

pub mod actions;
pub mod admission;
pub mod claims;
pub mod conditions;
pub mod container;
pub mod credentials;
pub mod env;
pub mod facts;
pub mod hooks;
pub mod images;
pub mod leftovers;
pub mod report;
pub mod resize;
pub mod sandbox;
pub mod source;
pub mod start;
pub mod state;
pub mod status;
pub mod stop;
pub mod worker;
