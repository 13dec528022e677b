//! The daemon as a media distributor of RFC 8723: it has hop-by-hop keys only.

use std::slice::from_mut;
use std::sync::Arc;

use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_srtp::{
    Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, ReplayWindow, SessionKeys, Suite, protect,
    unprotect,
};

use crate::support::{Daemon, LegSpec, receive, rtp, udp};

/// An endpoint's key: the end-to-end half is everybody's, the other half is the hop's.
fn master(hop: u8) -> (Vec<u8>, Vec<u8>) {
    ([[0xee; 16], [hop; 16]].concat(), [[0xdd; 12], [hop; 12]].concat())
}

fn endpoint(hop: u8) -> Arc<SessionKeys> {
    let (key, salt) = master(hop);
    let master = MasterKey::new(Suite::DoubleAeadAes128Gcm, &key, &salt).unwrap();
    Arc::new(SessionKeys::derive_with(KeyId(1), &master, &KeyOptions::default()).unwrap())
}

/// What the distributor is given: the second half of key and salt.
fn hop_key(hop: u8) -> Vec<u8> {
    let (key, salt) = master(hop);
    [&key[16..], &salt[12..]].concat()
}

#[tokio::test]
async fn a_media_distributor_forwards_what_it_cannot_read() {
    let daemon = Daemon::start("perc").await;
    daemon.session("s").await;
    let (alice, bob) = (udp(), udp());
    let up = daemon.leg("s", "alice", LegSpec::srtp().remote(&alice)).await.unwrap();
    daemon.leg("s", "bob", LegSpec::srtp().remote(&bob)).await.unwrap();
    daemon.route("s", "conference", "alice", "bob").await.unwrap();
    let suite = Suite::AeadAes128Gcm.name();
    daemon.key("s", "alice", "up", Inbound, suite, &hop_key(1)).await.unwrap();
    daemon.key("s", "bob", "down", Outbound, suite, &hop_key(2)).await.unwrap();

    let ssrc = 0xa11ce;
    let mut sender = sluice_srtp::Outbound::new(ssrc, endpoint(1), 0);
    let mut receiver = sluice_srtp::Inbound::new(ssrc, endpoint(2), ReplayWindow::default(), 0);
    for sequence in 65_530..65_546_u32 {
        let plain = rtp(sequence as u16, ssrc, 160);
        let mut buffer = [&plain[..], &[0; MAX_OVERHEAD]].concat();
        let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, plain.len())];
        protect(from_mut(&mut sender), &mut jobs);
        assert_eq!(jobs[0].result, Ok(()));
        let sent = &jobs[0].packet[..jobs[0].len];
        alice.send_to(sent, &up.local_rtp).unwrap();
        let mut came = receive(&bob);
        assert_eq!(came.len(), sent.len());
        assert_ne!(came, sent, "another hop, another key");
        let len = came.len();
        let mut jobs = [Job::new(0, Kind::Rtp, &mut came, len)];
        unprotect(from_mut(&mut receiver), &mut jobs);
        assert_eq!(jobs[0].result, Ok(()));
        assert_eq!(jobs[0].packet[..jobs[0].len], plain);
    }
    daemon.stop().await;
}
