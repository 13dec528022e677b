//! What OpenSSL has for DTLS and its safe bindings have not: how long a flight is waited for before it is sent again, and
//! sessions that a client resumes.

mod session;
mod timer;

pub use session::{Resumable, Stranger};
pub use timer::{Backoff, NoTimer, set_backoff, timeout};
