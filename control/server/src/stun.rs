//! Answers to plain STUN Binding requests (RFC 8489 §6.3.1): what keeps a peer's NAT open and tells it
//! its address. Requests with credentials belong to ICE and are left alone.

use std::net::SocketAddr;

use stun_types::attribute::{MessageIntegrity, Software, Username, XorMappedAddress};
use stun_types::message::{BINDING, Message, MessageClass, MessageWrite, MessageWriteExt, MessageWriteVec};
use stun_types::prelude::*;

/// The response to `datagram`, if it is a Binding request that anybody may make.
pub(crate) fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let request = Message::from_bytes(datagram).ok()?;
    if !request.has_class(MessageClass::Request) || !request.has_method(BINDING) {
        return None;
    }
    let with_credentials =
        request.has_attribute(Username::TYPE) || request.has_attribute(MessageIntegrity::TYPE);
    if with_credentials {
        return None;
    }
    let mut response = Message::builder_success(&request, MessageWriteVec::new());
    let mapped = XorMappedAddress::new(source, request.transaction_id());
    response.add_attribute(&mapped).ok()?;
    response.add_attribute(&Software::new("Sluice").ok()?).ok()?;
    response.add_fingerprint().ok()?;
    Some(response.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Vec<u8> {
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend([7; 12]);
        request
    }

    #[test]
    fn a_binding_request_is_told_its_source() {
        for source in ["192.0.2.7:4000", "[2001:db8::7]:4000"] {
            let source: SocketAddr = source.parse().unwrap();
            let bytes = answer(&request(), source).unwrap();
            let response = Message::from_bytes(&bytes).unwrap();
            assert!(response.has_class(MessageClass::Success));
            assert_eq!(bytes[4..20], request()[4..20], "cookie and transaction id");
            let mapped = response.attribute::<XorMappedAddress>().unwrap();
            assert_eq!(mapped.addr(response.transaction_id()), source);
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        let source: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let mut indication = request();
        indication[1] = 0x11;
        assert!(answer(&indication, source).is_none());
        let mut with_user = request();
        with_user[3] = 8;
        with_user.extend([0, 6, 0, 3, b'a', b':', b'b', 0]);
        assert!(answer(&with_user, source).is_none(), "ICE");
        for len in 0..20 {
            assert!(answer(&request()[..len], source).is_none());
        }
    }
}
