//! The gateway's o= line towards one peer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use zeroize::Zeroizing;

use crate::sdp::{OriginLine, Sdp, SdpError};

/// Who the gateway is towards one peer for the length of a session: one identifier, and a version that rises by one
/// with each description that is not the one before (RFC 3264 section 8).
///
/// It is not taken back with what was refused: the peer has seen the version.
#[derive(Clone)]
pub struct Origin {
    session: u64,
    version: u64,
    address: Option<IpAddr>,
    /// What was said last, with the o= line of `version`.
    last: Option<Zeroizing<String>>,
}

/// Largest session identifier and first version: "a 64-bit signed integer" (RFC 3264 section 5).
const MASK: u64 = (1 << 62) - 1;

impl Origin {
    /// An origin with a session identifier of random octets.
    pub fn new(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut octets = [0; 8];
        random(&mut octets);
        Self { session: u64::from_be_bytes(octets) & MASK, version: 1, address: None, last: None }
    }

    /// The version of what was said last, or will be said first.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Puts the line into `sdp` and gives all of its text. `address` is where the gateway is, the first time.
    pub(super) fn sign(
        &mut self,
        sdp: &mut Sdp,
        address: Option<IpAddr>,
    ) -> Result<Zeroizing<String>, SdpError> {
        // "The "o=" line of the new SDP MUST be identical to that in the previous SDP, except that the version"
        let address = *self.address.get_or_insert(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let text = self.write(sdp, address)?;
        let Some(last) = &self.last else {
            self.last = Some(text.clone());
            return Ok(text);
        };
        if *last == text {
            return Ok(text);
        }
        self.version += 1;
        let text = self.write(sdp, address)?;
        self.last = Some(text.clone());
        Ok(text)
    }

    fn write(&self, sdp: &mut Sdp, address: IpAddr) -> Result<Zeroizing<String>, SdpError> {
        let (session, version, address_text) =
            (self.session.to_string(), self.version.to_string(), address.to_string());
        sdp.set_origin(&OriginLine {
            username: "-",
            session_id: &session,
            version: &version,
            net_type: "IN",
            addr_type: if address.is_ipv4() { "IP4" } else { "IP6" },
            address: &address_text,
        })?;
        Ok(sdp.write())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("session", &self.session)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
