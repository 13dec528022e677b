//! openssl s_client and s_server: bare handshakes, whose exported keys (RFC 5705, RFC 5764 section 4.2) are then used by
//! this side's own SRTP: packets arrive only if both ends have derived the same.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail, ensure};
use sluice_proto::v1::CallSide;
use sluice_srtp::Suite;
use sluice_tests::needs;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::signalling::Signalling;
use sluice_tests::site::{Site, expect_exactly, stream};
use sluice_tools::demo::gateway::Key;
use tempfile::TempDir;

use crate::{DTLS, PLAIN, sdp, site};

const PORT: u16 = 4000;
const PHONE: u16 = 6000;
const SETUP: Duration = Duration::from_secs(10);
const SUITES: [(Suite, &str); 4] = [
    (Suite::AesCm128HmacSha1_80, "SRTP_AES128_CM_SHA1_80"),
    (Suite::AesCm128HmacSha1_32, "SRTP_AES128_CM_SHA1_32"),
    (Suite::AeadAes128Gcm, "SRTP_AEAD_AES_128_GCM"),
    (Suite::AeadAes256Gcm, "SRTP_AEAD_AES_256_GCM"),
];
const RSA: &str = "rsa:2048";
const ECDSA: &str = "ec";

#[test]
fn the_keys_that_openssl_exports_as_a_client_are_those_of_the_gateway() -> Result<()> {
    needs!("openssl", "version");
    all(true)
}

#[test]
fn the_keys_that_openssl_exports_as_a_server_are_those_of_the_gateway() -> Result<()> {
    needs!("openssl", "version");
    all(false)
}

/// A peer that begins anew keeps its port, so that the second association has the 5-tuple of the first, against the letter of
/// RFC 8842 section 5.1.
#[test]
fn openssl_makes_another_association_on_the_5_tuple_of_the_one_before() -> Result<()> {
    needs!("openssl", "version");
    let suite = SUITES[2];
    let site = site(&[suite.0.name()], DTLS, PLAIN)?;
    let mut api = Signalling::connect(&site.socket())?;
    let certificate = Certificate::new(ECDSA)?;
    for client in [true, false] {
        let session = format!("again-{client}");
        let (mut before, mut sources) = (None, [Source::new(1, 10), Source::new(2, 10)]);
        for tls_id in ["first-association-01", "second-association-2"] {
            let met = meet(&site, &mut api, &session, &certificate, suite, client, tls_id)
                .with_context(|| format!("{tls_id}, client: {client}\n{}", site.gateway.log()))?;
            drop(met.openssl);
            to_and_fro(&site, &met.call, &mut sources).with_context(|| tls_id.to_owned())?;
            ensure!(before.replace(met.call.own.material.clone()) != Some(met.call.own.material));
        }
        api.end(&session)?;
    }
    Ok(())
}

#[test]
fn openssl_hears_that_a_call_has_ended() -> Result<()> {
    needs!("openssl", "version");
    let suite = SUITES[2];
    let site = site(&[suite.0.name()], DTLS, PLAIN)?;
    let mut api = Signalling::connect(&site.socket())?;
    let certificate = Certificate::new(ECDSA)?;
    let mut met = meet(&site, &mut api, "ends", &certificate, suite, true, "first-association-01")?;
    api.end("ends")?;
    let deadline = Instant::now() + SETUP;
    while met.openssl.child.try_wait()?.is_none() {
        ensure!(Instant::now() < deadline, "nothing ended it:\n{}", met.openssl.log());
        thread::sleep(Duration::from_millis(20));
    }
    // What s_client says of a close_notify; of an ICMP error, or without end, it says something else.
    ensure!(met.openssl.log().lines().any(|line| line.trim() == "closed"), "{}", met.openssl.log());
    Ok(())
}

/// A call under each suite, with certificates of both kinds.
fn all(client: bool) -> Result<()> {
    let names: Vec<_> = SUITES.iter().map(|(suite, _)| suite.name()).collect();
    let site = site(&names, DTLS, PLAIN)?;
    let mut api = Signalling::connect(&site.socket())?;
    for kind in [ECDSA, RSA] {
        let certificate = Certificate::new(kind)?;
        for (number, suite) in SUITES.into_iter().enumerate() {
            let session = format!("{kind}-{number}");
            let of = || format!("{kind}, {}, client: {client}\n{}", suite.1, site.gateway.log());
            call(&site, &mut api, &session, &certificate, suite, client).with_context(of)?;
        }
    }
    Ok(())
}

fn call(
    site: &Site,
    api: &mut Signalling,
    session: &str,
    certificate: &Certificate,
    suite: (Suite, &str),
    client: bool,
) -> Result<()> {
    let met = meet(site, api, session, certificate, suite, client, "first-association-01")?;
    // Without an alert: the association stays, and this side's own SRTP goes on from the same port.
    drop(met.openssl);
    to_and_fro(site, &met.call, &mut [Source::new(1, 10), Source::new(2, 65_530)])?;
    api.end(session).map_err(Into::into)
}

/// openssl and the gateway have made a handshake.
struct Met {
    openssl: Openssl,
    call: Keyed,
}

/// What came of a handshake: keys of this side and of the gateway, and where its legs are.
struct Keyed {
    own: Key,
    theirs: Key,
    to_gateway: SocketAddr,
    to_phones_leg: SocketAddr,
}

/// Has openssl make the association of this name in a call with a plain phone, which begins with the first.
fn meet(
    site: &Site,
    api: &mut Signalling,
    session: &str,
    certificate: &Certificate,
    (suite, profile): (Suite, &str),
    client: bool,
    tls_id: &str,
) -> Result<Met> {
    let (at, phone) = (site.world.peers_at(PORT), site.world.peers_at(PHONE));
    let setup = if client { "active" } else { "passive" };
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {PORT} UDP/TLS/RTP/SAVP 0\r\na=rtcp-mux\r\n\
         a=setup:{setup}\r\na=tls-id:{tls_id}\r\na=fingerprint:sha-256 {1}\r\n",
        at.ip(),
        certificate.fingerprint
    );
    // As a server it has to be there before the gateway begins.
    let server = (!client)
        .then(|| {
            let arguments = ["s_server", "-accept", &at.to_string(), "-Verify", "1"];
            Openssl::start(site, certificate, profile, &arguments)
        })
        .transpose()?;
    let offered = api.offer(session, "", CallSide::Caller, &offer, None)?;
    let answer = format!(
        "v=0\r\no=- 1 1 IN IP4 {0}\r\ns=-\r\nc=IN IP4 {0}\r\nt=0 0\r\nm=audio {PHONE} RTP/AVP 0\r\n",
        phone.ip()
    );
    let answered = api.answer(session, "", &answer, false)?;
    ensure!(sdp::attributes(&answered, "setup") == [if client { "passive" } else { "active" }], "{answered}");
    let to_gateway = sdp::destination(&answered)?;
    let mut openssl = if let Some(server) = server {
        server
    } else {
        let arguments = ["s_client", "-bind", &at.to_string(), "-connect", &to_gateway.to_string()];
        Openssl::start(site, certificate, profile, &arguments)?
    };
    let material = openssl.exported(2 * (suite.key_len() + suite.salt_len()))?;
    let [of_client, of_server] = keys(suite, &material);
    let (own, theirs) = if client { (of_client, of_server) } else { (of_server, of_client) };
    let to_phones_leg = sdp::destination(&offered)?;
    Ok(Met { openssl, call: Keyed { own, theirs, to_gateway, to_phones_leg } })
}

/// Packets from openssl's port to the phone, and back.
fn to_and_fro(site: &Site, call: &Keyed, sources: &mut [Source; 2]) -> Result<()> {
    let mut plain = site.peer(PHONE)?;
    let mut secure = Peer::keyed(site.peer(PORT)?.socket, Some(&call.own), Some(&call.theirs))?;
    let sent = stream(&mut secure, call.to_gateway, &mut sources[0], 20)?;
    expect_exactly(&mut plain, &sent).context("to the phone")?;
    let sent = stream(&mut plain, call.to_phones_leg, &mut sources[1], 20)?;
    expect_exactly(&mut secure, &sent).context("to openssl")
}

/// The keys of client and server in what was exported: two keys, two salts (RFC 5764 section 4.2).
fn keys(suite: Suite, material: &[u8]) -> [Key; 2] {
    let (keys, salts) = material.split_at(2 * suite.key_len());
    [0, 1].map(|of| {
        let key = &keys[of * suite.key_len()..][..suite.key_len()];
        let salt = &salts[of * suite.salt_len()..][..suite.salt_len()];
        Key { suite, material: [key, salt].concat() }
    })
}

/// A certificate of its own signature, in a file with its key.
struct Certificate {
    directory: TempDir,
    fingerprint: String,
}

impl Certificate {
    fn new(kind: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", kind, "-nodes", "-subj", "/CN=peer", "-days", "2"]);
        if kind == ECDSA {
            command.args(["-pkeyopt", "ec_paramgen_curve:P-256"]);
        }
        command
            .arg("-keyout")
            .arg(directory.path().join("key"))
            .arg("-out")
            .arg(directory.path().join("certificate"));
        sluice_tests::venv::run(&mut command)?;
        let mut command = Command::new("openssl");
        command
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(directory.path().join("certificate"));
        let output = String::from_utf8(command.output()?.stdout)?;
        let fingerprint = output.trim().rsplit('=').next().context("no fingerprint")?.to_owned();
        Ok(Self { directory, fingerprint })
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

/// A running openssl; dropped, it is killed.
struct Openssl {
    child: Child,
    directory: TempDir,
}

impl Openssl {
    fn start(site: &Site, certificate: &Certificate, profile: &str, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let log = File::create(directory.path().join("log"))?;
        let mut command = site.peers_namespace().command("openssl");
        command.args(arguments).args(["-dtls1_2", "-use_srtp", profile]);
        command.args(["-cert", &certificate.file("certificate"), "-key", &certificate.file("key")]);
        // 88 octets are the most that a profile needs; what is exported does not depend on how much is.
        command.args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "88"]);
        // It ends with its input.
        command.stdin(Stdio::piped()).stderr(log.try_clone()?).stdout(log);
        let mut this = Self { child: command.spawn()?, directory };
        if let ["s_server", "-accept", at, ..] = arguments {
            this.wait_until_bound(at.parse()?)?;
        }
        Ok(this)
    }

    /// By what the kernel lists: who tried to bind the port would be in openssl's way.
    fn wait_until_bound(&mut self, at: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + SETUP;
        let (listed, local) = (format!("/proc/{}/net/udp", self.child.id()), format!(":{:04X} ", at.port()));
        let is_bound = || {
            let sockets = fs::read_to_string(&listed).unwrap_or_default();
            sockets
                .lines()
                .any(|line| line.split_once(": ").is_some_and(|(_, rest)| rest.get(8..14) == Some(&local)))
        };
        while !is_bound() {
            ensure!(Instant::now() < deadline, "openssl does not listen: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What it exported of its handshake.
    fn exported(&mut self, length: usize) -> Result<Vec<u8>> {
        let deadline = Instant::now() + SETUP;
        loop {
            let log = self.log();
            let line = log.lines().find_map(|line| line.trim().strip_prefix("Keying material: "));
            // Its own length is in the line above.
            if let Some(material) =
                line.and_then(|text| hex::decode(text.trim()).ok()).filter(|all| all.len() == 88)
            {
                return Ok(material[..length].to_vec());
            }
            if Instant::now() >= deadline || self.child.try_wait()?.is_some() {
                bail!("no handshake:\n{log}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        read(&self.directory.path().join("log"))
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
