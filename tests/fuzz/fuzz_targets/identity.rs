//! Requests with Identity header fields and certificates of any kind: nothing panics, nothing is verified that was not
//! signed, and what is canonical stays as it is. Fields are divided by octets 0xff, which UTF-8 has nowhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_keying::identity::{
    CertificateStore, Chain, DialPlan, IdentityHeader, MediaKeys, Party, Presented, Request, TrustAnchors, Verifier,
    VerifierOptions,
};

/// Fri, 25 Sep 2015 19:12:25 GMT.
const NOW: u64 = 1_443_208_345;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|byte| *byte == 0xff);
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
    let (value, from, to, date, sdp) = (text(), text(), text(), text(), text());
    let certificates = parts.next();

    if let Ok(header) = IdentityHeader::read(value) {
        let written = header.to_string();
        assert_eq!(IdentityHeader::read(&written), Ok(header), "{written}");
    }
    for uri in [from, to] {
        let party = Party::of_uri(uri, &DialPlan::default());
        if let Ok(party @ Party::Uri(_)) = &party {
            assert_eq!(Party::of_uri(&party.to_string(), &DialPlan::default()).as_ref(), Ok(party));
        }
    }
    if let Ok(keys) = MediaKeys::of_sdp(sdp) {
        assert!(keys.iter().all(|key| key.digest().len() % 2 == 0));
    }
    if let Some(bytes) = certificates {
        let _ = Chain::read(bytes);
        let _ = TrustAnchors::read(bytes);
    }
    let verifier = Verifier::new(TrustAnchors::default(), CertificateStore::default(), VerifierOptions::default());
    let request = Request { from, to, date: Some(date).filter(|date| !date.is_empty()), sdp };
    let verified = verifier.verify(&request, &[Presented { value, certificates }], NOW);
    assert!(verified.is_err(), "without a trust anchor nobody is");
});
