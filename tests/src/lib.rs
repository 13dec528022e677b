//! Shared helpers of the integration tests.

pub mod flood;
pub mod peer;
pub mod raw;
pub mod rtp;
pub mod signalling;
pub mod sip;
pub mod site;

/// Whether this process may make network namespaces; says so on standard error if it may not.
pub fn may_make_namespaces(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: {test} makes network namespaces and needs root");
    }
    root
}

/// Ends a test that needs root, loudly, when there is no root.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::may_make_namespaces(module_path!()) {
            return Ok(());
        }
    };
}
