//! Who makes a call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::ser::{Serialize, SerializeMap, Serializer};
use tokio::net::unix::UCred;
use tonic::Request;

use super::certificate::Certificate;
use super::{Role, Roles};
use crate::ApiError;

/// Who makes a call, and what they may do. It is in the extensions of every request that a service sees.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Arc<Known>);

#[derive(Debug)]
struct Known {
    who: Who,
    roles: Roles,
}

#[derive(Debug)]
enum Who {
    /// A client over TLS.
    Certificate { certificate: Certificate, address: Option<SocketAddr> },
    /// A process on this host, as the kernel knows it (SO_PEERCRED).
    Process { uid: u32, gid: u32, pid: Option<i32> },
    /// Nobody that is known: the kernel did not say.
    Unknown,
    /// The gateway itself.
    Gateway,
}

impl Caller {
    pub(super) fn certificate(certificate: Certificate, address: Option<SocketAddr>, roles: Roles) -> Self {
        Self(Arc::new(Known { who: Who::Certificate { certificate, address }, roles }))
    }

    /// A process that connected by a Unix socket.
    pub(crate) fn process(credentials: Option<UCred>, roles: Roles) -> Self {
        let who = credentials.map_or(Who::Unknown, |credentials| Who::Process {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
        });
        Self(Arc::new(Known { who, roles }))
    }

    /// The gateway, for what it does of its own accord.
    pub(crate) fn gateway() -> Self {
        Self(Arc::new(Known { who: Who::Gateway, roles: Roles::ALL }))
    }

    /// Whoever sent the request.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, ApiError> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| {
            ApiError::denied("NO_CALLER", "nobody is known to have made the call", "report this fault")
        })
    }

    /// Whether they have a role.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.roles.has(role)
    }

    /// What they may do.
    pub(crate) fn roles(&self) -> Roles {
        self.0.roles
    }

    /// Whether their certificate has expired since they connected.
    pub(super) fn has_expired(&self) -> bool {
        match &self.0.who {
            Who::Certificate { certificate, .. } => certificate.not_after < SystemTime::now(),
            _ => false,
        }
    }

    /// In words, for refusals.
    pub(crate) fn name(&self) -> String {
        match &self.0.who {
            Who::Certificate { certificate, .. } => format!("certificate {:?}", certificate.subject),
            Who::Process { uid, .. } => format!("user {uid} on the Unix socket"),
            Who::Unknown => "whoever is on the Unix socket".to_owned(),
            Who::Gateway => "the gateway".to_owned(),
        }
    }
}

/// As the audit log tells of them.
impl Serialize for Caller {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.0.who {
            Who::Certificate { certificate, address } => {
                map.serialize_entry("certificate", &certificate.subject)?;
                map.serialize_entry("sha256", &hex::encode(certificate.fingerprint))?;
                if let Some(address) = address {
                    map.serialize_entry("address", &address.to_string())?;
                }
            }
            Who::Process { uid, gid, pid } => {
                map.serialize_entry("uid", uid)?;
                map.serialize_entry("gid", gid)?;
                if let Some(pid) = pid {
                    map.serialize_entry("pid", pid)?;
                }
            }
            Who::Unknown => map.serialize_entry("unknown", &true)?,
            Who::Gateway => map.serialize_entry("gateway", &true)?,
        }
        map.end()
    }
}
