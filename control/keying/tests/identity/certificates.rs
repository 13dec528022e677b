//! Whose signature counts: chains, what they are for, and where they come from.

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use sluice_keying::identity::{
    CertificateError, CertificateStore, Chain, DialPlan, Form, IdentityError, Presented, Request, Signer,
    StoreError, TrustAnchors, Verifier, VerifierOptions,
};

use crate::site::{Authority, Credential, NOW, NUMBERS, REQUEST, URL, ca, leaf, with_purpose};

/// Signs a request and has it verified with the certificates at hand.
fn verified(
    authority: &Authority,
    credential: &Credential,
    request: &Request<'_>,
) -> Result<(), IdentityError> {
    let identity = credential.signer().sign(request, Form::Full, NOW)?.identity;
    let presented = Presented { value: &identity, certificates: Some(credential.certificate.as_bytes()) };
    let verifier =
        Verifier::new(authority.anchors(), CertificateStore::default(), VerifierOptions::default());
    verifier.verify(request, &[presented], NOW).map(|_| ())
}

fn dns(host: &str) -> SanType {
    SanType::DnsName(host.try_into().unwrap())
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

const BOB: Request<'static> = Request { from: "sip:bob@Example.com", ..REQUEST };

#[test]
fn a_domain_speaks_for_its_users_and_for_no_subdomain_or_wildcard() {
    let authority = Authority::new();
    let with = |names: &[SanType]| verified(&authority, &authority.issue(&leaf(names, None)), &BOB);
    assert_eq!(with(&[dns("example.com")]), Ok(()));
    assert_eq!(with(&[dns("other.org"), dns("EXAMPLE.com")]), Ok(()));
    assert_eq!(with(&[uri("sip:example.com")]), Ok(()));
    let none: [&[SanType]; 5] = [
        &[],
        &[dns("sip.example.com")],
        &[dns("*.com")],
        &[uri("sip:bob@example.com")],
        // RFC 5922 section 7.1: DNS names count only without a sip URI.
        &[uri("sip:other.org"), dns("example.com")],
    ];
    for names in none {
        assert!(matches!(with(names), Err(IdentityError::NoAuthority(_))), "{names:?}");
    }
}

#[test]
fn the_verifier_does_not_take_the_signers_word_for_its_authority() {
    let authority = Authority::new();
    let credential = authority.issue(&leaf(&[dns("example.com")], None));
    let identity = credential.signer().sign(&BOB, Form::Compact, NOW).unwrap().identity;
    // The same key, and so a right signature, with a certificate that says less.
    let key = KeyPair::from_pem(&credential.key).unwrap();
    let less = leaf(&[dns("example.net")], None).signed_by(&key, &authority.issuer).unwrap().pem();
    let presented = Presented { value: &identity, certificates: Some(less.as_bytes()) };
    let verifier =
        Verifier::new(authority.anchors(), CertificateStore::default(), VerifierOptions::default());
    let refused = verifier.verify(&BOB, &[presented], NOW).unwrap_err();
    assert!(matches!(refused, IdentityError::NoAuthority(_)), "{refused}");
    assert_eq!(refused.sip_status(), 437);
}

#[test]
fn a_certificate_of_another_authority_or_of_nobody_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let refused = verified(&ours, &theirs.issue(&leaf(&[], Some(NUMBERS))), &REQUEST).unwrap_err();
    assert!(matches!(refused, IdentityError::Certificate(CertificateError::Untrusted(_))), "{refused}");
    let key = KeyPair::generate().unwrap();
    let own = leaf(&[], Some(NUMBERS)).self_signed(&key).unwrap();
    let own = Credential { key: key.serialize_pem(), certificate: own.pem() };
    assert!(matches!(verified(&ours, &own, &REQUEST), Err(IdentityError::Certificate(_))));
}

#[test]
fn another_key_than_the_certificates_is_refused() {
    let authority = Authority::new();
    let [signer, other] = [(); 2].map(|()| authority.issue(&leaf(&[], Some(NUMBERS))));
    let identity = signer.signer().sign(&REQUEST, Form::Full, NOW).unwrap().identity;
    let presented = Presented { value: &identity, certificates: Some(other.certificate.as_bytes()) };
    let verifier =
        Verifier::new(authority.anchors(), CertificateStore::default(), VerifierOptions::default());
    assert_eq!(verifier.verify(&REQUEST, &[presented], NOW), Err(IdentityError::Signature));
}

#[test]
fn intermediates_are_followed_and_needed() {
    let root = Authority::new();
    let key = KeyPair::generate().unwrap();
    let params = ca("Between");
    let between = params.signed_by(&key, &root.issuer).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let own = leaf(&[], Some(NUMBERS)).signed_by(&leaf_key, &issuer).unwrap().pem();
    let with = |certificate: String| {
        verified(&root, &Credential { key: leaf_key.serialize_pem(), certificate }, &REQUEST)
    };
    assert_eq!(with(format!("{own}{}", between.pem())), Ok(()));
    assert!(matches!(with(own.clone()), Err(IdentityError::Certificate(CertificateError::Untrusted(_)))));
}

#[test]
fn a_certificate_holds_for_its_time_and_its_purpose() {
    let authority = Authority::new();
    let sign = |params: &CertificateParams| verified(&authority, &authority.issue(params), &REQUEST);
    let good = leaf(&[], Some(NUMBERS));
    let sip_domain = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20]);
    assert_eq!(sign(&good), Ok(()));
    assert_eq!(sign(&with_purpose(good.clone(), sip_domain)), Ok(()));
    assert_eq!(sign(&with_purpose(good.clone(), ExtendedKeyUsagePurpose::Any)), Ok(()));
    let refused = sign(&with_purpose(good.clone(), ExtendedKeyUsagePurpose::CodeSigning));
    assert!(
        matches!(refused, Err(IdentityError::Certificate(CertificateError::Untrusted(_)))),
        "{refused:?}"
    );

    let mut later = good.clone();
    later.not_before = date_time_ymd(2015, 10, 1);
    assert_eq!(sign(&later), Err(CertificateError::NotValidThen.into()));

    let mut agreement = good;
    agreement.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    let credential = authority.issue(&agreement);
    let refused = Signer::new(&credential.key, &credential.chain(), URL, DialPlan::default()).unwrap_err();
    assert_eq!(refused.to_string(), format!("the certificate: {}", CertificateError::KeyUsage));
}

#[test]
fn an_expired_certificate_verifies_nothing_though_the_request_is_of_its_time() {
    let authority = Authority::new();
    let mut params = leaf(&[], Some(NUMBERS));
    // Ends at midnight before the request, which a signer whose clock is late takes for yesterday.
    params.not_after = date_time_ymd(2015, 9, 25);
    let credential = authority.issue(&params);
    let midnight = 1_443_139_200;
    let request = Request { date: None, ..REQUEST };
    let signed = credential.signer().sign(&request, Form::Full, midnight).unwrap();
    let presented =
        Presented { value: &signed.identity, certificates: Some(credential.certificate.as_bytes()) };
    let verifier =
        Verifier::new(authority.anchors(), CertificateStore::default(), VerifierOptions::default());
    let refused = verifier.verify(&request, &[presented], midnight + 30).unwrap_err();
    assert!(matches!(refused, IdentityError::Certificate(CertificateError::Untrusted(_))), "{refused}");
    assert!(verifier.verify(&request, &[presented], midnight).is_ok());
}

#[test]
fn certificates_come_from_a_folder_by_their_url_and_never_from_elsewhere() {
    let authority = Authority::new();
    let credential = authority.issue(&leaf(&[], Some(NUMBERS)));
    let identity = credential.signer().sign(&REQUEST, Form::Full, NOW).unwrap().identity;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("https%3A%2F%2Fcert.example.org%2Fpassport.cer");
    std::fs::write(&file, &credential.certificate).unwrap();
    std::fs::write(folder.path().join(".hidden"), "not looked at").unwrap();
    let verify = |store: CertificateStore| {
        let presented = Presented { value: &identity, certificates: None };
        Verifier::new(authority.anchors(), store, VerifierOptions::default()).verify(
            &REQUEST,
            &[presented],
            NOW,
        )
    };
    assert!(verify(CertificateStore::from_folder(folder.path()).unwrap()).is_ok());
    let refused = verify(CertificateStore::default()).unwrap_err();
    assert_eq!(refused, IdentityError::UnknownCertificate(URL.to_owned()));
    assert_eq!(refused.sip_status(), 436);

    std::fs::write(&file, "no certificate").unwrap();
    let error = CertificateStore::from_folder(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Certificate { .. }), "{error}");
    std::fs::rename(&file, folder.path().join("passport.cer")).unwrap();
    assert!(matches!(CertificateStore::from_folder(folder.path()), Err(StoreError::Name(_))));
    assert!(matches!(CertificateStore::from_folder(&folder.path().join("none")), Err(StoreError::Io { .. })));
}

#[test]
fn what_is_no_certificate_is_told_so() {
    assert_eq!(Chain::read(b""), Err(CertificateError::Count));
    assert_eq!(Chain::read(&b"-".repeat(70_000)), Err(CertificateError::Count));
    let credential = Authority::new().issue(&leaf(&[], None));
    assert_eq!(Chain::read(credential.certificate.repeat(9).as_bytes()), Err(CertificateError::Count));
    assert!(Chain::read(credential.certificate.repeat(8).as_bytes()).is_ok());
    assert!(matches!(TrustAnchors::read(b""), Err(CertificateError::Count)));
    let der = [0x30, 0x03, 0x02, 0x01, 0x00];
    let site = crate::site::Site::new();
    let identity = site.sign(Form::Full);
    let presented = Presented { value: &identity, certificates: Some(&der) };
    let refused = site.verifier.verify(&REQUEST, &[presented], NOW).unwrap_err();
    assert!(matches!(refused, IdentityError::Certificate(_)), "{refused}");
}

#[test]
fn a_key_that_is_not_of_p256_is_refused() {
    let authority = Authority::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = leaf(&[], Some(NUMBERS)).signed_by(&key, &authority.issuer).unwrap().pem();
    let site = crate::site::Site::new();
    let identity = site.sign(Form::Full);
    let presented = Presented { value: &identity, certificates: Some(certificate.as_bytes()) };
    let verifier =
        Verifier::new(authority.anchors(), CertificateStore::default(), VerifierOptions::default());
    assert_eq!(verifier.verify(&REQUEST, &[presented], NOW), Err(CertificateError::Key.into()));
}
