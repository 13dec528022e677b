//! Next hops from the kernel's own tables: routes, neighbours and links, by netlink.
//!
//! ```text
//! (local, remote) ──RTM_GETROUTE──▶ interface, gateway ──RTM_GETNEIGH──▶ MAC ──RTM_GETLINK──▶ NextHop
//! ```
//!
//! Nothing is guessed: whatever the tables do not say plainly is `None`, and the datagram goes by the
//! leg's kernel socket, which also makes the kernel resolve the neighbour.

mod exchange;
mod resolver;
mod watcher;

pub use resolver::Resolver;
pub use watcher::Watcher;

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}; allow AF_NETLINK in the sandbox")]
    Open(std::io::Error),
    /// The socket takes no question or gives no answer.
    #[error("netlink does not answer: {0}")]
    Exchange(std::io::Error),
    /// An answer that cannot be read.
    #[error("netlink answered in a form that is not understood: {0}")]
    Answer(String),
}
