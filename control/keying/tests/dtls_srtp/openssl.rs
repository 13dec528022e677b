//! Handshakes with `openssl s_client` and `openssl s_server` over loopback: what both export is compared.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use sluice_keying::dtls_srtp::{
    Certificate, Cookies, DtlsError, Endpoint, Event, Fingerprint, HashFunction, KeyKind, Keys, PeerDtls,
    Role, Settings,
};
use sluice_srtp::Suite;
use tempfile::TempDir;

use super::clock;
use super::relay::{ALL, End};

const PROFILES: [(Suite, &str); 4] = [
    (Suite::AesCm128HmacSha1_80, "SRTP_AES128_CM_SHA1_80"),
    (Suite::AesCm128HmacSha1_32, "SRTP_AES128_CM_SHA1_32"),
    (Suite::AeadAes128Gcm, "SRTP_AEAD_AES_128_GCM"),
    (Suite::AeadAes256Gcm, "SRTP_AEAD_AES_256_GCM"),
];

/// A certificate in files, as its own issuer.
struct Pem {
    _dir: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Pem {
    fn new(algorithm: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| dir.path().join(name));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=peer", "-newkey"])
            .args(algorithm)
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { _dir: dir, certificate, key }
    }

    fn rsa() -> Self {
        Self::new(&["rsa:2048"])
    }

    fn ecdsa() -> Self {
        Self::new(&["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
    }

    fn read(&self) -> Certificate {
        let read = |path: &Path| std::fs::read(path).unwrap();
        Certificate::from_pem(&read(&self.certificate), &read(&self.key)).unwrap()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.read().fingerprint(HashFunction::Sha256)
    }
}

/// One of OpenSSL's tools, and what it says.
struct Tool {
    child: Child,
    _stdin: ChildStdin,
    said: mpsc::Receiver<String>,
}

impl Tool {
    fn start(arguments: &[&str], suite: Suite, profiles: &str, own: Option<&Pem>) -> Self {
        let length = (2 * (suite.key_len() + suite.salt_len())).to_string();
        let mut command = Command::new("openssl");
        command.args(arguments).args(["-dtls1_2", "-use_srtp", profiles]);
        command.args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", &length]);
        match own {
            Some(own) => command.arg("-cert").arg(&own.certificate).arg("-key").arg(&own.key),
            None => &mut command,
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let (say, said) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { _stdin: child.stdin.take().unwrap(), child, said }
    }

    /// The rest of the first line that begins so.
    fn says(&self, beginning: &str) -> Option<String> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let line = self.said.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if let Some(rest) = line.trim().strip_prefix(beginning) {
                return Some(rest.trim().to_owned());
            }
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has an end speak with whoever is at the socket, until it is done or has given up.
fn run(end: &mut End, socket: &UdpSocket, mut remote: Option<SocketAddr>, done: impl Fn(&End) -> bool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let mut buffer = [0; 4096];
    while Instant::now() < until {
        clock::advance_to(Instant::now());
        for datagram in end.drain() {
            socket.send_to(&datagram, remote.expect("it answers only")).unwrap();
        }
        if done(end) {
            return;
        }
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                remote = Some(from);
                clock::advance_to(Instant::now());
                end.take(&buffer[..length]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => panic!("{error}"),
        }
        clock::advance_to(Instant::now());
        end.association.handle_timeout(clock::now());
    }
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn endpoint(certificate: Certificate, settings: Settings) -> Arc<Endpoint> {
    // Associations begin now, not when the tests did.
    clock::advance_to(Instant::now());
    Arc::new(Endpoint::new(settings, Arc::new(certificate)).unwrap())
}

fn generated() -> Certificate {
    Certificate::generate(super::relay::DAY).unwrap()
}

/// What was exported, put together from both keys again.
fn exported(keys: &Keys, role: Role) -> String {
    let (client, server) = match role {
        Role::Client => (&keys.outbound, &keys.inbound),
        Role::Server => (&keys.inbound, &keys.outbound),
    };
    let split = |key: &'_ [u8]| (key[..keys.suite.key_len()].to_vec(), key[keys.suite.key_len()..].to_vec());
    let ((client_key, client_salt), (server_key, server_salt)) =
        (split(&client.key_salt), split(&server.key_salt));
    hex([client_key, server_key, client_salt, server_salt].concat())
}

fn hex(octets: Vec<u8>) -> String {
    octets.into_iter().fold(String::new(), |text, octet| text + &format!("{octet:02X}"))
}

fn vouched(pem: &Pem) -> PeerDtls {
    PeerDtls { fingerprints: vec![pem.fingerprint()], tls_id: None }
}

fn over(end: &End) -> bool {
    end.events.iter().any(|event| matches!(event, Event::Keys(_) | Event::Refused(_) | Event::Failed(_)))
}

/// A handshake with `s_client`; both must have exported the same.
fn with_client(own: Certificate, theirs: &Pem, suite: Suite, cookies: bool, settings: Settings) -> Keys {
    let socket = socket();
    let address = socket.local_addr().unwrap().to_string();
    let mut end = End::new(&endpoint(own, settings), Role::Server, &[suite], Some(&vouched(theirs)));
    if cookies {
        end = end.behind(Cookies::new(clock::now()).unwrap());
    }
    let profiles = PROFILES.map(|(_, name)| name).join(":");
    let tool = Tool::start(&["s_client", "-connect", &address], suite, &profiles, Some(theirs));
    run(&mut end, &socket, None, over);
    let keys = end.keys().unwrap_or_else(|| panic!("{:?}", end.events)).clone();
    assert_eq!(tool.says("Keying material:").as_deref(), Some(&*exported(&keys, Role::Server)));
    keys
}

/// A handshake with `s_server`; both must have exported the same.
fn with_server(own: Certificate, theirs: &Pem, suite: Suite, extra: &[&str]) -> Keys {
    let port = socket().local_addr().unwrap();
    let accept = port.to_string();
    let profile = PROFILES.into_iter().find(|(known, _)| *known == suite).unwrap().1;
    let arguments = [&["s_server", "-accept", &accept, "-Verify", "1"], extra].concat();
    let tool = Tool::start(&arguments, suite, profile, Some(theirs));
    assert!(tool.says("ACCEPT").is_some());
    let mut end = End::new(&endpoint(own, Settings::default()), Role::Client, &ALL, Some(&vouched(theirs)));
    run(&mut end, &socket(), Some(port), over);
    let keys = end.keys().unwrap_or_else(|| panic!("{:?}", end.events)).clone();
    assert_eq!(tool.says("Keying material:").as_deref(), Some(&*exported(&keys, Role::Client)));
    keys
}

#[test]
fn s_client_exports_the_same_for_every_profile() {
    let theirs = Pem::ecdsa();
    for (suite, _) in PROFILES {
        assert_eq!(with_client(generated(), &theirs, suite, false, Settings::default()).suite, suite);
    }
}

#[test]
fn s_server_exports_the_same_for_every_profile() {
    let theirs = Pem::ecdsa();
    for (suite, _) in PROFILES {
        assert_eq!(with_server(generated(), &theirs, suite, &[]).suite, suite);
    }
}

#[test]
fn rsa_certificates_are_as_good_at_either_end() {
    let (own, theirs) = (Pem::rsa(), Pem::rsa());
    assert_eq!(own.read().kind(), KeyKind::Rsa);
    let suite = Suite::AeadAes128Gcm;
    assert!(with_client(own.read(), &theirs, suite, false, Settings::default()).cipher.contains("ECDHE_RSA"));
    assert!(with_server(own.read(), &theirs, suite, &[]).cipher.contains("ECDHE_RSA"));
    assert!(
        with_client(generated(), &theirs, suite, false, Settings::default()).cipher.contains("ECDHE_ECDSA")
    );
    assert!(with_server(generated(), &theirs, suite, &[]).cipher.contains("ECDHE_RSA"));
}

#[test]
fn cookies_are_exchanged_both_ways() {
    let theirs = Pem::ecdsa();
    with_client(generated(), &theirs, Suite::AeadAes128Gcm, true, Settings::default());
    with_server(generated(), &theirs, Suite::AeadAes128Gcm, &["-listen"]);
}

#[test]
fn without_forward_secrecy_there_are_no_keys_unless_they_are_allowed() {
    let (own, theirs) = (Pem::rsa(), Pem::rsa());
    for pfs_only in [true, false] {
        let socket = socket();
        let address = socket.local_addr().unwrap().to_string();
        let endpoint = endpoint(own.read(), Settings { pfs_only, ..Settings::default() });
        let mut end = End::new(&endpoint, Role::Server, &ALL, Some(&vouched(&theirs)));
        let arguments = ["s_client", "-connect", &address, "-cipher", "AES128-GCM-SHA256"];
        let _tool = Tool::start(&arguments, ALL[0], PROFILES[3].1, Some(&theirs));
        run(&mut end, &socket, None, over);
        match end.keys() {
            Some(keys) => assert!(!pfs_only && !keys.forward_secret),
            None => assert!(pfs_only, "{:?}", end.events),
        }
    }
}

#[test]
fn who_shows_no_certificate_is_refused() {
    let socket = socket();
    let address = socket.local_addr().unwrap().to_string();
    let endpoint = endpoint(generated(), Settings::default());
    let mut end = End::new(&endpoint, Role::Server, &ALL, None);
    let _tool = Tool::start(&["s_client", "-connect", &address], ALL[0], PROFILES[3].1, None);
    run(&mut end, &socket, None, over);
    assert!(end.events.contains(&Event::Refused(DtlsError::NoPeerCertificate)), "{:?}", end.events);
}

#[test]
fn who_knows_no_srtp_is_not_answered() {
    let socket = socket();
    let address = socket.local_addr().unwrap().to_string();
    let endpoint = endpoint(generated(), Settings::default());
    let mut end = End::new(&endpoint, Role::Server, &[Suite::AeadAes256Gcm], None);
    let _tool = Tool::start(&["s_client", "-connect", &address], ALL[0], PROFILES[0].1, None);
    run(&mut end, &socket, None, |end| end.ignored > 0);
    assert_eq!(end.ignored, 1);
    assert!(end.events.is_empty(), "{:?}", end.events);
    let state = end.association.state().to_string();
    assert!(state.contains("AES_CM_128_HMAC_SHA1_80"), "{state}");
}
