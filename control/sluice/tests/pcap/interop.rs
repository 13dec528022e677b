//! SRTP of ffmpeg and GStreamer, which share no code with Sluice (GStreamer's is libsrtp).

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sluice_srtp::Suite;
use sluice_tools::demo::process::Process;

use crate::capture::{Datagram, FORMS, Form, read};
use crate::media::{Bench, key, rtp};

const LIMIT: Duration = Duration::from_secs(20);

/// Two adjacent UDP ports of the test's own: one for RTP and one for RTCP.
struct Ports {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

impl Ports {
    fn open() -> Self {
        for _ in 0..100 {
            let rtp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            let port = rtp.local_addr().expect("it is bound").port();
            let Ok(rtcp) = UdpSocket::bind(("127.0.0.1", port.saturating_add(1))) else { continue };
            for socket in [&rtp, &rtcp] {
                socket.set_nonblocking(true).expect("it can be");
            }
            return Self { rtp, rtcp };
        }
        panic!("no two adjacent ports");
    }

    fn port(&self) -> u16 {
        self.rtp.local_addr().expect("it is bound").port()
    }

    /// What came until the sender has ended.
    fn receive_from(&self, mut sender: Process) -> Vec<Datagram> {
        let deadline = Instant::now() + LIMIT;
        let mut datagrams = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            let status = sender.finished().expect("it can be asked");
            for socket in [&self.rtp, &self.rtcp] {
                let destination: SocketAddr = socket.local_addr().expect("it is bound");
                while let Ok((len, source)) = socket.recv_from(&mut buffer) {
                    datagrams.push(Datagram { source, destination, payload: buffer[..len].to_vec() });
                }
            }
            if let Some(status) = status {
                assert!(status.success(), "{}", sender.last_words());
                return datagrams;
            }
            assert!(Instant::now() < deadline, "not done: {}", sender.last_words());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The payloads of the RTP packets, which have neither CSRCs nor extensions.
fn media_of(datagrams: &[Datagram], port: u16) -> Vec<u8> {
    let to_port = datagrams.iter().filter(|datagram| datagram.destination.port() == port);
    to_port.flat_map(|datagram| datagram.payload[12..].to_vec()).collect()
}

fn ffmpeg(directory: &Path, output: &[&str]) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "warning", "-f", "lavfi"]);
    command.args(["-i", "sine=frequency=440:sample_rate=8000:duration=2", "-c:a", "pcm_mulaw"]);
    Process::spawn(
        "ffmpeg",
        {
            command.args(output);
            command
        },
        directory,
    )
    .expect("ffmpeg is installed")
}

#[test]
fn ffmpegs_srtp_is_decrypted_to_what_ffmpeg_encoded() {
    let bench = Bench::new();
    let ports = Ports::open();
    let key = key(Suite::AesCm128HmacSha1_80, 9);
    let base64 = BASE64.encode(hex::decode(&key).unwrap());
    let reference = bench.path("sine.mulaw");
    let mut encode = ffmpeg(bench.directory(), &["-f", "mulaw", reference.to_str().unwrap()]);
    encode.succeed(LIMIT).unwrap();
    let reference = std::fs::read(reference).unwrap();
    assert_eq!(reference.len(), 16_000);
    // 172 octets are 20 ms of μ-law and the RTP header. Not in real time: 100 packets fit into any
    // socket's buffer.
    let to = format!("srtp://127.0.0.1:{}?pkt_size=172", ports.port());
    let suite = ["-f", "rtp", "-srtp_out_suite", "AES_CM_128_HMAC_SHA1_80", "-srtp_out_params"];
    let sender = ffmpeg(bench.directory(), &[&suite[..], &[&base64, &to]].concat());
    let secret = ports.receive_from(sender);
    assert_ne!(media_of(&secret, ports.port())[..160], reference[..160], "it is encrypted");
    let reports = secret.iter().filter(|datagram| datagram.destination.port() != ports.port()).count();
    assert!(reports > 0, "no RTCP");
    for form in FORMS {
        bench.capture("secret", form, &secret);
        let summary = bench.convert("unprotect", "secret", "clear", &["--key", &base64, "--json"]);
        let summary = summary.succeeded().json();
        assert_eq!(summary["converted"], secret.len(), "{form:?}: {summary}");
        assert_eq!(summary["streams"][0]["suite"], "AES_CM_128_HMAC_SHA1_80");
        assert_eq!(summary["streams"][0]["rtp_packets"], secret.len() - reports);
        let clear = read(&bench.path("clear"));
        assert!(media_of(&clear, ports.port()) == reference, "{form:?}: not what ffmpeg encoded");
        for report in clear.iter().filter(|datagram| datagram.destination.port() != ports.port()) {
            assert_eq!(report.payload[1], 200, "a sender report");
            // The length of a compound packet's first part; an SRTCP trailer would follow the last.
            assert!(report.payload.len().is_multiple_of(4));
        }
    }
}

fn gstreamer(directory: &Path, pipeline: &[&str]) -> Process {
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").args(pipeline.iter().flat_map(|part| part.split(' ')));
    Process::spawn("gstreamer", command, directory).expect("GStreamer is installed")
}

#[test]
fn gstreamers_srtp_with_a_rollover_is_decrypted_to_what_it_encoded() {
    let bench = Bench::new();
    let ports = Ports::open();
    let key = key(Suite::AeadAes256Gcm, 5);
    let tone =
        "audiotestsrc num-buffers=80 samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1 ! mulawenc";
    let sender = gstreamer(
        bench.directory(),
        &[
            tone,
            "! tee name=tone ! queue ! filesink",
            &format!("location={}", bench.path("tone.mulaw").display()),
            "tone. ! queue ! rtppcmupay min-ptime=20000000 max-ptime=20000000 seqnum-offset=65500",
            &format!("! srtpenc key={key} rtp-cipher=aes-256-gcm rtp-auth=null"),
            "rtcp-cipher=aes-256-gcm rtcp-auth=null ! udpsink sync=false host=127.0.0.1",
            &format!("port={}", ports.port()),
        ],
    );
    let secret = ports.receive_from(sender);
    let reference = std::fs::read(bench.path("tone.mulaw")).unwrap();
    assert_eq!((secret.len(), reference.len()), (80, 80 * 160));
    for form in FORMS {
        bench.capture("secret", form, &secret);
        let summary = bench.convert("unprotect", "secret", "clear", &["--key", &key, "--json"]);
        let summary = summary.succeeded().json();
        assert_eq!((&summary["converted"], &summary["left_out"]), (&80.into(), &0.into()), "{summary}");
        assert_eq!(summary["streams"][0]["initial_roc"], 0);
        let clear = read(&bench.path("clear"));
        assert!(media_of(&clear, ports.port()) == reference, "{form:?}: not what GStreamer encoded");
    }
    // A capture that begins when the sequence numbers have rolled over: the ROC is found.
    let sequence = |datagram: &Datagram| u16::from_be_bytes([datagram.payload[2], datagram.payload[3]]);
    let late = secret.iter().position(|datagram| sequence(datagram) < 100).unwrap();
    assert_eq!(late, 36);
    bench.capture("late", Form::Pcap, &secret[late..]);
    let summary = bench.convert("unprotect", "late", "clear", &["--key", &key, "--json"]).succeeded().json();
    assert_eq!((&summary["converted"], &summary["streams"][0]["initial_roc"]), (&44.into(), &1.into()));
    assert!(media_of(&read(&bench.path("clear")), ports.port()) == reference[late * 160..]);
}

#[test]
fn what_is_protected_libsrtp_decrypts() {
    let bench = Bench::new();
    let payloads: Vec<Vec<u8>> = (0..80_u8).map(|i| (0..160_u8).map(|j| i ^ j).collect()).collect();
    let clear = (0..).zip(&payloads).map(|(index, payload): (u16, _)| {
        let mut packet = rtp(0xcafe, 65_500_u16.wrapping_add(index), payload);
        if packet[0] != 0x80 {
            packet.drain(12..24);
            packet[0] = 0x80;
        }
        Datagram::new("192.0.2.1:4000", "192.0.2.2:5000", packet)
    });
    // GStreamer's parser takes no pcapng.
    bench.capture("clear", Form::Pcap, &clear.collect::<Vec<_>>());
    for (suite, cipher, auth) in [
        (Suite::AesCm128HmacSha1_80, "aes-128-icm", "hmac-sha1-80"),
        (Suite::AesCm128HmacSha1_32, "aes-128-icm", "hmac-sha1-32"),
        (Suite::AeadAes128Gcm, "aes-128-gcm", "null"),
        (Suite::AeadAes256Gcm, "aes-256-gcm", "null"),
    ] {
        let key = key(suite, 6);
        bench.convert("protect", "clear", "secret", &["--key", &key, "--suite", suite.name()]).succeeded();
        let caps = format!(
            "caps=application/x-srtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0,\
             ssrc=(uint)51966,srtp-key=(buffer){key},srtp-cipher={cipher},srtp-auth={auth},\
             srtcp-cipher={cipher},srtcp-auth={auth}"
        );
        let (secret, media) = (bench.path("secret"), bench.path("media"));
        let mut receiver = gstreamer(
            bench.directory(),
            &[
                &format!(
                    "filesrc location={} ! pcapparse {caps} ! identity ! srtpdec ! rtppcmudepay",
                    secret.display()
                ),
                &format!("! filesink location={}", media.display()),
            ],
        );
        receiver.succeed(LIMIT).unwrap();
        assert!(std::fs::read(media).unwrap() == payloads.concat(), "{suite}: {}", receiver.last_words());
    }
}
