//! CustomResourceDefinitions with no IO: what a definition says, and what that makes of the objects it defines.
//!
//! - [`definition`]: a definition read from its object: names, versions, subresources, columns.

pub mod definition;
