//! Beside another implementation: OpenSSL verifies what Sluice signs, and signs what Sluice verifies, under certificates
//! that it made.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::Signature;
use sluice_keying::identity::{
    CertificateStore, Chain, Claims, DialPlan, Form, MediaKeys, Party, Presented, Request, Signer,
    TrustAnchors, Verifier, VerifierOptions,
};

use crate::site::{REQUEST, URL};

const EXTENSIONS: &str = "\
[leaf]
basicConstraints=CA:FALSE
keyUsage=digitalSignature
subjectAltName=URI:sip:example.com
1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:list
[list]
provider=EXPLICIT:0,IA5STRING:1234
range=EXPLICIT:1,SEQUENCE:range
one=EXPLICIT:2,IA5STRING:911
[range]
start=IA5STRING:12155551000
count=INTEGER:1000
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=keyCertSign
";

#[test]
fn openssl_verifies_what_is_signed_and_signs_what_is_verified() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIP: openssl is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Made::new(folder.path());
    for (number, from) in
        ["tel:+12155551000", "tel:+12155551999", "tel:911", "sip:bob@example.com"].into_iter().enumerate()
    {
        let request = Request { from, date: None, ..REQUEST };
        let now = made.now + number as u64;
        let signed = made.signer.sign(&request, Form::Full, now).unwrap();
        made.openssl_verifies(&signed.identity);
        assert!(made.verify(&request, &signed.identity, now).is_ok(), "{from}");

        // Another second, so that it is not the same token again.
        let identity = made.openssl_signs(&request, now + 50);
        assert!(made.verify(&request, &identity, now + 50).is_ok(), "{from}");
        let other = Request { to: "sip:mallory@example.com", ..request };
        assert!(made.verify(&other, &made.openssl_signs(&request, now + 51), now + 51).is_err());
    }
    for from in ["tel:+12155550999", "tel:+12155552000", "tel:112", "sip:bob@example.net"] {
        let request = Request { from, date: None, ..REQUEST };
        assert!(made.verify(&request, &made.openssl_signs(&request, made.now), made.now).is_err(), "{from}");
    }
}

/// Keys and certificates by OpenSSL, in a folder.
struct Made<'a> {
    folder: &'a Path,
    signer: Signer,
    verifier: Verifier,
    now: u64,
}

impl<'a> Made<'a> {
    fn new(folder: &'a Path) -> Self {
        std::fs::write(folder.join("extensions"), EXTENSIONS).unwrap();
        for name in ["ca", "leaf"] {
            run(folder, &format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}.key"));
            run(folder, &format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        }
        run(
            folder,
            "x509 -req -in ca.csr -key ca.key -days 3 -extfile extensions -extensions ca -out ca.pem",
        );
        run(
            folder,
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -extensions leaf -out leaf.pem",
        );
        run(folder, "pkey -in leaf.key -pubout -out leaf.pub");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let chain = Chain::read(&read("leaf.pem")).unwrap();
        let key = String::from_utf8(read("leaf.key")).unwrap();
        let signer = Signer::new(&key, &chain, URL, DialPlan::default()).unwrap();
        let mut store = CertificateStore::default();
        store.insert(URL, chain);
        let verifier =
            Verifier::new(TrustAnchors::read(&read("ca.pem")).unwrap(), store, VerifierOptions::default());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 60;
        Self { folder, signer, verifier, now }
    }

    fn verify(&self, request: &Request<'_>, identity: &str, now: u64) -> Result<(), String> {
        let presented = Presented { value: identity, certificates: None };
        self.verifier.verify(request, &[presented], now).map(|_| ()).map_err(|error| error.to_string())
    }

    fn openssl_verifies(&self, identity: &str) {
        let (token, _) = identity.split_once(';').unwrap();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        std::fs::write(self.folder.join("input"), input).unwrap();
        std::fs::write(self.folder.join("signature"), signature.to_der().as_bytes()).unwrap();
        run(self.folder, "dgst -sha256 -verify leaf.pub -signature signature input");
    }

    fn openssl_signs(&self, request: &Request<'_>, iat: u64) -> String {
        let party = |uri| Party::of_uri(uri, &DialPlan::default()).unwrap();
        let keys = MediaKeys::of_sdp(request.sdp).unwrap();
        let claims = Claims { orig: party(request.from), dest: vec![party(request.to)], iat, keys };
        let input = claims.signing_input(URL);
        std::fs::write(self.folder.join("input"), &input).unwrap();
        run(self.folder, "dgst -sha256 -sign leaf.key -out signature input");
        let der = std::fs::read(self.folder.join("signature")).unwrap();
        let signature = Signature::from_der(&der).unwrap();
        format!("{input}.{};info=<{URL}>", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

fn run(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
