//! A certification authority, signers under it, and the request that the tests are about.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use sluice_keying::identity::{
    CertificateStore, Chain, DialPlan, Form, IdentityError, Presented, Request, Signer, TrustAnchors,
    Verified, Verifier, VerifierOptions,
};

/// Fri, 25 Sep 2015 19:12:25 GMT.
pub(crate) const NOW: u64 = 1_443_208_345;
pub(crate) const URL: &str = "https://cert.example.org/passport.cer";
pub(crate) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n\
    a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3E:4B:65:2E:7D:46:3F:54:42:CD:54:F1\r\n\
    m=audio 49170 UDP/TLS/RTP/SAVP 0\r\nc=IN IP4 192.0.2.1\r\n";

pub(crate) const REQUEST: Request<'static> = Request {
    from: "sip:+12155551212@example.com;user=phone",
    to: "sip:alice@example.com",
    date: Some("Fri, 25 Sep 2015 19:12:25 GMT"),
    sdp: SDP,
};

/// TNAuthList: `[1] { "12155551000", 1000 }`.
pub(crate) const NUMBERS: &[u8] = b"\x30\x15\xa1\x13\x30\x11\x16\x0b12155551000\x02\x02\x03\xe8";
/// TNAuthList: `[0] "1234"`.
pub(crate) const PROVIDER: &[u8] = b"\x30\x08\xa0\x06\x16\x041234";

pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = ca("Tests");
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    pub(crate) fn anchors(&self) -> TrustAnchors {
        TrustAnchors::read(self.certificate.pem().as_bytes()).unwrap()
    }

    /// A signer's key and certificate, in PEM.
    pub(crate) fn issue(&self, params: &CertificateParams) -> Credential {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Credential { key: key.serialize_pem(), certificate: certificate.pem() }
    }
}

pub(crate) struct Credential {
    pub(crate) key: String,
    pub(crate) certificate: String,
}

impl Credential {
    pub(crate) fn chain(&self) -> Chain {
        Chain::read(self.certificate.as_bytes()).unwrap()
    }

    pub(crate) fn signer(&self) -> Signer {
        Signer::new(&self.key, &self.chain(), URL, DialPlan::default()).unwrap()
    }
}

/// What a signer's certificate is to say.
pub(crate) fn leaf(san: &[SanType], numbers: Option<&[u8]>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2015, 1, 1);
    params.not_after = date_time_ymd(2015, 12, 31);
    params.subject_alt_names = san.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if let Some(list) = numbers {
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 26];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, list.to_vec())];
    }
    params
}

pub(crate) fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2014, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 1);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

pub(crate) fn with_purpose(
    mut params: CertificateParams,
    purpose: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    params.extended_key_usages = vec![purpose];
    params
}

/// Numbers signed and verified under one authority.
pub(crate) struct Site {
    pub(crate) signer: Signer,
    pub(crate) credential: Credential,
    pub(crate) verifier: Verifier,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(VerifierOptions::default())
    }

    pub(crate) fn with(options: VerifierOptions) -> Self {
        let authority = Authority::new();
        let credential = authority.issue(&leaf(&[], Some(NUMBERS)));
        let mut store = CertificateStore::default();
        store.insert(URL, credential.chain());
        let verifier = Verifier::new(authority.anchors(), store, options);
        Self { signer: credential.signer(), credential, verifier }
    }

    pub(crate) fn sign(&self, form: Form) -> String {
        self.signer.sign(&REQUEST, form, NOW).unwrap().identity
    }

    pub(crate) fn verify(&self, request: &Request<'_>, identity: &str) -> Result<Verified, IdentityError> {
        self.verifier.verify(request, &[Presented { value: identity, certificates: None }], NOW)
    }
}
