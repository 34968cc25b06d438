//! cluster-dns: names for Services and pods, after version 1.1 of Kubernetes' DNS specification.
//!
//! - [`zone`]: the pure heart: Services, EndpointSlices and namespaces -> [`zone::Zone`], an index by name that never
//!   changes; and the answer of a zone to a question.
//! - [`answer`]: a query's bytes -> the zone's answer, or that it is another's to answer; truncation and EDNS.
//! - [`forward`]: questions for other names go to the host's resolvers; answers are kept in a bounded cache.
//! - [`run`]: the shell: watches that make a new zone, UDP and TCP on port 53, health, readiness and metrics.
//!
//! A query takes one load of a shared pointer and one lookup; it never waits for a watch. Watches build the next zone
//! aside and swap it in.

pub mod answer;
pub mod forward;
pub mod options;
pub mod run;
pub mod zone;

pub use run::Server;
