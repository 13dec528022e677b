//! The `sluice.v1` gRPC API: messages, client and server, generated from
//! `proto/sluice/v1/sluice.proto`, which documents them.

use std::fmt;

/// Version 1 of the API.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the documentation is in the .proto file"
)]
pub mod v1 {
    tonic::include_proto!("sluice.v1");

    /// Descriptors of all messages and services, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("sluice.v1");
}

impl fmt::Debug for v1::KeyInstall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyInstall")
            .field("session", &self.session)
            .field("leg", &self.leg)
            .field("key", &self.key)
            .field("direction", &self.direction)
            .field("suite", &self.suite)
            .field("key_salt", &format_args!("{} secret bytes", self.key_salt.len()))
            .finish_non_exhaustive()
    }
}

/// How a message with an SDP is printed: without it.
macro_rules! debug_without_sdp {
    ($($message:ident: $($field:ident),*;)*) => {$(
        impl fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .field("sdp", &format_args!("{} bytes", self.sdp.len()))
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_without_sdp! {
    ProcessOfferRequest: session, branch, request_id, from, policy, labels;
    ProcessOfferResponse: branch, call;
    ProcessAnswerRequest: session, branch, request_id, from, provisional;
    ProcessAnswerResponse: call;
    CreateBranchResponse: call;
    RetargetResponse: call;
}

impl fmt::Debug for v1::TapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapKey")
            .field("suite", &self.suite)
            .field("key_salt", &format_args!("{} secret bytes", self.key_salt.len()))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::AddCallCandidatesRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddCallCandidatesRequest")
            .field("session", &self.session)
            .field("branch", &self.branch)
            .field("from", &self.from)
            .field("candidates", &self.candidates)
            .field("fragment", &format_args!("{} bytes", self.fragment.len()))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_in_descriptions_are_not_printed() {
        let sdp = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0".to_owned();
        let text = format!("{:?}", super::v1::ProcessOfferRequest { sdp, ..Default::default() });
        assert!(text.contains("50 bytes") && !text.contains("c2VjcmV0"), "{text}");
    }

    #[test]
    fn passwords_of_checks_are_not_printed() {
        let own = super::v1::IceCredentials { ufrag: "abcd".into(), password: "c2VjcmV0".into() };
        let text = format!("{:?}", super::v1::IceConfig { own: Some(own), ..Default::default() });
        assert!(text.contains("abcd") && !text.contains("c2VjcmV0"), "{text}");
        let fragment = "a=ice-pwd:c2VjcmV0\r\n".to_owned();
        let text = format!("{:?}", super::v1::AddCallCandidatesRequest { fragment, ..Default::default() });
        assert!(text.contains("20 bytes") && !text.contains("c2VjcmV0"), "{text}");
    }

    #[test]
    fn key_material_is_not_printed() {
        let tap = super::v1::TapKey { key_salt: vec![0xab; 30], ..Default::default() };
        let text = format!("{:?}", super::v1::TapPeer { key: Some(tap), ..Default::default() });
        assert!(text.contains("30 secret bytes") && !text.contains("171") && !text.contains("ab, ab"));
        let key = super::v1::KeyInstall { key_salt: vec![0xab; 30], ..Default::default() };
        let text = format!("{key:?}");
        assert!(text.contains("30 secret bytes") && !text.contains("171") && !text.contains("ab, ab"));
    }
}
