//! What is signed is verified, in either form; and what may not be signed is not.

use sluice_keying::identity::{
    CertificateError, CertificateStore, DialPlan, Form, IdentityError, MediaKeys, Party, PartyError,
    Presented, Request, Signer, SignerError, Verifier, VerifierOptions,
};

use crate::site::{Authority, NOW, NUMBERS, PROVIDER, REQUEST, SDP, Site, URL, leaf};

#[test]
fn both_forms_are_verified_and_bind_the_media_keys() {
    for form in [Form::Full, Form::Compact] {
        let site = Site::new();
        let verified = site.verify(&REQUEST, &site.sign(form)).unwrap();
        assert_eq!(verified.orig, Party::Number("12155551212".to_owned()));
        assert_eq!(verified.dest, Party::Uri("sip:alice@example.com".to_owned()));
        assert_eq!((verified.iat, verified.form, &verified.url[..]), (NOW, form, URL));
        assert_eq!(verified.keys, MediaKeys::of_sdp(SDP).unwrap());
        assert!(verified.binds_keys());
    }
}

#[test]
fn without_fingerprints_an_identity_is_verified_and_binds_nothing() {
    let site = Site::new();
    let request = Request { sdp: "v=0\r\nm=audio 4 RTP/AVP 0\r\n", ..REQUEST };
    let signed = site.signer.sign(&request, Form::Full, NOW).unwrap();
    assert!(!site.verify(&request, &signed.identity).unwrap().binds_keys());
}

#[test]
fn what_a_request_loses_or_gains_on_its_way_without_meaning_is_still_verified() {
    let site = Site::new();
    let identity = site.sign(Form::Compact);
    let request = Request {
        from: "sip:+1-215-555-1212@example.com:5060;user=phone;transport=tls",
        to: "SIP:Alice@EXAMPLE.com",
        date: Some(" Fri, 25 Sep 2015 19:12:25 GMT "),
        sdp: &SDP.replace("192.0.2.1", "198.51.100.1").replace("4A:AD", "4a:ad"),
    };
    assert!(site.verify(&request, &identity).is_ok());
}

#[test]
fn a_date_is_made_where_there_is_none() {
    let site = Site::new();
    let request = Request { date: None, ..REQUEST };
    let signed = site.signer.sign(&request, Form::Compact, NOW).unwrap();
    assert_eq!(signed.date, "Fri, 25 Sep 2015 19:12:25 GMT");
    let dated = Request { date: Some(&signed.date), ..REQUEST };
    assert!(site.verify(&dated, &signed.identity).is_ok());
}

#[test]
fn a_date_that_the_network_changed_breaks_the_compact_form_alone() {
    let changed = Request { date: Some("Fri, 25 Sep 2015 19:12:20 GMT"), ..REQUEST };
    let site = Site::new();
    assert_eq!(site.verify(&changed, &site.sign(Form::Compact)), Err(IdentityError::Signature));
    assert!(site.verify(&changed, &site.sign(Form::Full)).is_ok());
}

#[test]
fn signing_the_same_twice_gives_the_same() {
    let site = Site::new();
    assert_eq!(site.sign(Form::Full), site.sign(Form::Full), "RFC 6979");
}

#[test]
fn a_signer_signs_for_whom_its_certificate_speaks_and_for_nobody_else() {
    let site = Site::new();
    for from in ["tel:+12155552000", "sip:bob@example.com"] {
        let refused = site.signer.sign(&Request { from, ..REQUEST }, Form::Full, NOW);
        assert!(matches!(refused, Err(IdentityError::NoAuthority(_))), "{refused:?}");
    }
    let provider = Authority::new().issue(&leaf(&[], Some(PROVIDER))).signer();
    assert!(provider.sign(&Request { from: "tel:+4930123", ..REQUEST }, Form::Full, NOW).is_ok());
}

#[test]
fn a_provider_is_verified_only_where_it_is_trusted_with_numbers() {
    let authority = Authority::new();
    let credential = authority.issue(&leaf(&[], Some(PROVIDER)));
    let signed = credential.signer().sign(&REQUEST, Form::Full, NOW).unwrap();
    let presented =
        [Presented { value: &signed.identity, certificates: Some(credential.certificate.as_bytes()) }];
    for (trusted, verified) in [(vec![], false), (vec!["1234".to_owned()], true)] {
        let options = VerifierOptions { service_providers: trusted, ..VerifierOptions::default() };
        let verifier = Verifier::new(authority.anchors(), CertificateStore::default(), options);
        assert_eq!(verifier.verify(&REQUEST, &presented, NOW).is_ok(), verified);
    }
}

#[test]
fn what_is_not_fresh_or_cannot_be_read_is_not_signed() {
    let site = Site::new();
    let sign = |request: Request<'_>, now| site.signer.sign(&request, Form::Full, now).unwrap_err();
    assert!(matches!(sign(REQUEST, NOW + 61), IdentityError::Stale { field: "Date", seconds: 61, .. }));
    assert!(matches!(sign(REQUEST, NOW - 61), IdentityError::Stale { .. }));
    assert_eq!(sign(Request { date: Some("yesterday"), ..REQUEST }, NOW), IdentityError::Date);
    let error = PartyError::Scheme;
    assert_eq!(sign(Request { to: "Alice", ..REQUEST }, NOW), IdentityError::Party { field: "To", error });
    let broken = Request { sdp: "v=0\r\na=fingerprint:sha-256 nonsense\r\n", ..REQUEST };
    assert!(matches!(sign(broken, NOW), IdentityError::Fingerprint(_)));
    let undated = Request { date: None, ..REQUEST };
    let expired = NOW + 365 * 86_400;
    assert_eq!(sign(undated, expired), CertificateError::NotValidThen.into());
}

#[test]
fn a_signer_needs_a_key_its_certificate_and_a_url() {
    let authority = Authority::new();
    let credential = authority.issue(&leaf(&[], Some(NUMBERS)));
    let other = authority.issue(&leaf(&[], Some(NUMBERS)));
    let new =
        |key: &str, url: &str| Signer::new(key, &credential.chain(), url, DialPlan::default()).map(|_| ());
    assert_eq!(new(&credential.key, URL), Ok(()));
    assert_eq!(new(&other.key, URL), Err(SignerError::OtherKey));
    assert_eq!(new("no key", URL), Err(SignerError::Key));
    assert!(matches!(new(&credential.key, "cert.cer"), Err(SignerError::Url(_))));
    assert!(matches!(new(&credential.key, "https://a/>;ppt=x"), Err(SignerError::Url(_))));
    let shown = format!("{:?}", credential.signer());
    assert_eq!(shown, format!("Signer {{ url: {URL:?}, .. }}"), "no key is shown");
}
