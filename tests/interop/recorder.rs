//! A recorder that shares no code with us gets the copy of a call under its own key: GStreamer's srtpdec (libsrtp 2.5).

use std::process::Command;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1;
use sluice_srtp::{Mki, Suite};
use sluice_tests::peer::Peer;
use sluice_tests::site::{self, PATIENCE};
use sluice_tools::demo::gateway::{Gateway, Key, Leg, Settings};
use sluice_tools::demo::process::Process;
use sluice_tools::demo::world::Place;

use crate::gstreamer::{LANES, SUITES, srtpdec};
use crate::{START, at, namespace, needs, rtcp_packets, rtp_packets};

#[test]
fn gstreamer_reads_a_tap_under_the_recorder_s_own_key() -> Result<()> {
    needs!("gst-inspect-1.0", "--exists", "srtpdec");
    // Counter mode, and GCM.
    for (suite, names) in [SUITES[0], SUITES[5]] {
        let (namespace, directory) = (namespace()?, tempfile::tempdir()?);
        let key = Key::random(suite)?;
        let command = srtpdec(&namespace, &key, names, Mki::NONE);
        let mut recorder = Process::spawn("gst-launch", command, directory.path())?;
        let mut heard = Vec::new();
        for (_, input, output) in LANES {
            recorder.wait_for_udp(input, START)?;
            heard.push(Peer::plain(namespace.udp(at(output))?));
        }
        let sends = Key::random(Suite::AesCm128HmacSha1_80)?;
        let mut caller = Peer::keyed(namespace.udp(at(0))?, Some(&sends), None)?;
        let place = Place::Inside(namespace);
        let mut gateway = Gateway::start(&Settings {
            executable: site::executable()?,
            place: &place,
            directory: directory.path(),
            interfaces: Vec::new(),
            addresses: vec![at(0).ip()],
            datapath: "io_uring",
            workers: Some(1),
            shared_port: None,
            legs: None,
        })?;
        let leg = Leg::new("a", at(0), caller.address()?).inbound(&sends).rtcp_mux();
        gateway.create_call("s", &[leg], &[])?;
        let request = v1::GetLegRequest { session: "s".into(), leg: "a".into() };
        let to = gateway.call(|client| client.get_leg(request))?.local_rtp.parse()?;
        let file = directory.path().join("recorder.key");
        std::fs::write(&file, hex::encode(&key.material))?;
        let mut tap = Command::new(site::executable()?);
        tap.args(["ctl", "tap", "start", "s", "t", "--suite", suite.name(), "--key-file"]).arg(&file);
        tap.args(["--peer", &at(LANES[0].1).to_string()]);
        tap.env("SLUICE_SOCKET", directory.path().join("sluice.sock"));
        let output = tap.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for (peer, packets) in heard.iter_mut().zip([rtp_packets(96), rtcp_packets()]) {
            for (number, packet) in packets.iter().enumerate() {
                caller.send(to, packet)?;
                let of = || format!("{suite}: packet {number}; gst-launch says: {}", recorder.last_words());
                let received = peer.receive(PATIENCE)?.with_context(of)?;
                ensure!(received == *packet, "{}: {received:02x?} came, {packet:02x?} was sent", of());
            }
        }
        gateway.stop()?;
    }
    Ok(())
}
