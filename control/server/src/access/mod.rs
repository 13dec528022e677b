//! Who may call what, how often, and until when: one layer before all services.
//!
//! ```text
//! connection ─▶ TLS ─▶ Guard: caller → role → rate → deadline ─▶ services (Caller in the request's extensions)
//! ```

mod bucket;
mod caller;
mod certificate;
pub(crate) mod deadline;
mod guard;
mod link;
mod methods;
mod role;

pub(crate) use caller::Caller;
pub(crate) use guard::{Guard, Rules};
pub(crate) use link::{Connection, Link};
pub use role::Role;
pub(crate) use role::Roles;
