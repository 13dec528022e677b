//! `sluice ctl` over TCP: as whoever the certificate says, and never in the clear.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::daemon::Daemon;

/// An authority in `ca.pem`, and certificates with their keys in `NAME.pem` and `NAME.key`.
fn certificates(folder: &Path, names: &[&str]) {
    let write = |name: String, text: String| std::fs::write(folder.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem".into(), params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    for name in names {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([(*name).to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, *name);
        write(format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(format!("{name}.key"), key.serialize_pem());
    }
}

#[test]
fn a_certificate_decides_what_ctl_may_do() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), &["localhost", "sbc", "looker"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.path().display().to_string();
    let more = format!(
        "[api.tcp]\naddress = \"127.0.0.1:{port}\"\ncertificate = \"{at}/localhost.pem\"\n\
         key = \"{at}/localhost.key\"\nclient_ca = \"{at}/ca.pem\"\n\
         [api.tcp.roles]\nsignalling = [\"cn:sbc\"]\nread-only = [\"dns:looker\"]\n\
         [audit]\nfile = \"{at}/audit.jsonl\"\n"
    );
    let mut daemon = Daemon::start_with(folder, &more);
    let address = format!("--address https://localhost:{port} --ca {at}/ca.pem");
    let sbc = format!("{address} --cert {at}/sbc.pem --key {at}/sbc.key");
    let looker = format!("{address} --certificate {at}/looker.pem --tls-key {at}/looker.key");
    daemon.ctl(&format!("{sbc} sessions create s1")).succeeded();
    assert!(daemon.ctl(&format!("{looker} sessions list")).succeeded().stdout.contains("s1"));
    let words = ["not allowed", "signalling or operator", "looker", "read-only"];
    daemon.ctl(&format!("{looker} sessions delete s1")).failed(1, &words);
    daemon.ctl(&format!("{sbc} sessions delete s1")).succeeded();
    daemon.ctl(&format!("--address https://localhost:{port} info")).failed(2, &["--ca"]);
    let clear = sbc.replace("https", "http");
    daemon.ctl(&format!("{clear} info")).failed(1, &["https://"]);
    let audited = std::fs::read_to_string(daemon.path("audit.jsonl")).unwrap();
    assert!(audited.contains("DeleteSession") && audited.contains("ROLE_MISSING"), "{audited}");
    daemon.stop();
}
