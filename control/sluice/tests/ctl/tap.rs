//! Taps from the command line.

use std::net::UdpSocket;
use std::time::Duration;

use crate::daemon::Daemon;

#[test]
fn a_call_is_recorded_to_a_file_and_to_a_recorder_under_a_key_that_is_told_once_asked_for() {
    let mut daemon = Daemon::start();
    let folder = daemon.path("recordings");
    let recorder = UdpSocket::bind("127.0.0.1:0").unwrap();
    recorder.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remote = peer.local_addr().unwrap();
    daemon.ctl("sessions create s").succeeded();
    daemon.ctl(&format!("legs create s a --inbound plain --outbound plain --remote {remote}")).succeeded();
    let leg = daemon.ctl("--json legs show s a").succeeded().json();
    // The folder is configured, and not there yet.
    daemon.ctl("tap start s file --file call").failed(1, &["folder"]);
    std::fs::create_dir(&folder).unwrap();
    let started = daemon.ctl("tap start s file --leg a --file call --codec 96=opus/48000/2").succeeded();
    assert!(
        started.stdout.contains("running") && started.stdout.contains("call.pcapng"),
        "{}",
        started.stdout
    );
    let to = recorder.local_addr().unwrap();
    let suite = "AES_CM_128_HMAC_SHA1_80";
    daemon.ctl(&format!("tap start s peer --peer {to} --rtcp-mux --suite {suite}")).succeeded();
    daemon.ctl(&format!("tap start s clear --peer {to} --plain")).failed(1, &["plain_peers"]);
    daemon.ctl("tap start s bad --file ../bad").failed(1, &["file.name"]);
    let key = daemon.ctl("tap key s peer").succeeded().stdout;
    let (named, hex) = key.trim().split_once(' ').expect("suite and key");
    assert_eq!((named, hex.len()), (suite, 60));
    let shown = daemon.ctl("--json tap show s peer").succeeded();
    assert!(!shown.stdout.contains(hex) && shown.json()["config"]["peer"]["key"]["suite"] == suite);
    let mut watch = daemon.ctl_process("watch", "watch s");
    std::thread::sleep(Duration::from_millis(300));
    for sequence in 0..5_u8 {
        let packet = [&[0x80, 0, 0, sequence][..], &[0; 4], &[0, 0, 0, 9], &[sequence; 160]].concat();
        peer.send_to(&packet, leg["local_rtp"].as_str().unwrap()).unwrap();
    }
    let mut copy = [0; 2048];
    for _ in 0..5 {
        assert_eq!(recorder.recv(&mut copy).unwrap(), 172 + 10);
    }
    let list = daemon.ctl("tap list").succeeded().stdout;
    assert!(list.contains("file call") && list.contains(&format!("{to} {suite}")), "{list}");
    let stopped = daemon.ctl("--json tap stop s file").succeeded().json();
    assert_eq!((&stopped["packets"], &stopped["end"]), (&"5".into(), &"TAP_END_STOPPED".into()));
    assert!(folder.join("call.pcapng").exists());
    daemon.ctl("tap stop s nothing").failed(1, &["not found"]);
    daemon.ctl("sessions delete s").succeeded();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !watch.output().contains("tap peer has ended (session)") {
        assert!(std::time::Instant::now() < deadline, "{}", watch.output());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(watch.output().contains("tap file has ended (stopped) after 5 packets"), "{}", watch.output());
    watch.kill();
    assert!(!daemon.log().contains(hex), "no key is in the log");
    daemon.stop();
}
