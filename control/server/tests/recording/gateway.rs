//! Media that ends in the clear at a gateway (RFC 5479 R-PSTN), and that a transcoder changes on its way (R-TRANSCODER).

use std::time::Duration;

use sluice_mixer_client::Ring;
use sluice_proto::v1;
use sluice_proto::v1::Direction::{Inbound, Outbound};
use sluice_srtp::Kind as MediaKind;
use tokio::task::spawn_blocking;

use crate::bed::{Bed, Sender, inbound, open, to_file};
use crate::captured::Recording;
use crate::support::{LegSpec, receive, rtp, udp};

#[path = "../../../mixer-client/examples/mixer/codec.rs"]
#[allow(dead_code, reason = "shared with the example")]
mod codec;

use codec::Codec;

/// A gateway to the telephone network speaks plain RTP on a wire of its own; its peer speaks SRTP.
#[tokio::test]
async fn srtp_ends_in_the_clear_at_a_gateway_and_begins_there() {
    let bed = Bed::start("pstn").await;
    let (phone, trunk) = (udp(), udp());
    let phone_leg = bed.leg("s", "phone", LegSpec::srtp().remote(&phone)).await.unwrap();
    let trunk_leg = bed.leg("s", "trunk", LegSpec::plain().remote(&trunk)).await.unwrap();
    bed.key("s", "phone", "in", Inbound, crate::SUITE, &[1; 30]).await.unwrap();
    bed.key("s", "phone", "out", Outbound, crate::SUITE, &[2; 30]).await.unwrap();
    bed.route("s", "out", "phone", "trunk").await.unwrap();
    bed.route("s", "back", "trunk", "phone").await.unwrap();
    let mut phone = Sender::new(phone, &phone_leg, &[1; 30], 11);
    let mut hears = inbound(crate::SUITE, &[2; 30], &[], 22);
    for sequence in 0..20 {
        let plain = phone.send(sequence);
        assert_eq!(receive(&trunk), plain);
        trunk.send_to(&rtp(sequence, 22, 160), &trunk_leg.local_rtp).unwrap();
    }
    for sequence in 0..20 {
        let sealed = receive(&phone.socket);
        assert_eq!(open(&mut hears, MediaKind::Rtp, &sealed), Some(rtp(sequence, 22, 160)));
    }
    bed.stop().await;
}

/// From μ-law to A-law, as an application of this host does it that has a ring on each side.
#[tokio::test]
async fn a_transcoder_sits_between_two_encrypted_legs() {
    let bed = Bed::start("transcoder").await;
    let (c, d) = (udp(), udp());
    let suite = "AEAD_AES_256_GCM";
    let one_type =
        |spec: LegSpec, payload_type| spec.with(|config| config.payload_types = vec![payload_type]);
    let c_leg = bed.leg("s", "c", one_type(LegSpec::srtp().remote(&c), 0)).await.unwrap();
    bed.leg("s", "d", one_type(LegSpec::srtp().remote(&d), 8)).await.unwrap();
    bed.key("s", "c", "k", Inbound, crate::SUITE, &[3; 30]).await.unwrap();
    bed.key("s", "d", "k", Outbound, suite, &[4; 44]).await.unwrap();
    let ring = || LegSpec::plain().with(|config| config.ring = true);
    let decodes = bed.leg("s", "decodes", ring()).await.unwrap();
    let encodes = bed.leg("s", "encodes", ring()).await.unwrap();
    bed.route("s", "in", "c", "decodes").await.unwrap();
    bed.route("s", "out", "encodes", "d").await.unwrap();
    // A recorder sees both sides of it.
    bed.tap("t", to_file("both", &["c", "encodes"])).await.unwrap();
    let socket = bed.rings();
    let transcoder = spawn_blocking(move || transcode(&socket, &decodes, &encodes, 50));
    bed.eventually(async || {
        let request = v1::GetStatisticsRequest { session: "s".into(), workers_only: false };
        let legs = bed.client().await.get_statistics(request).await.unwrap().into_inner().legs;
        let attached = |leg: &v1::LegStatistics| leg.ring.is_some_and(|ring| ring.attached);
        (legs.iter().filter(|leg| attached(leg)).count() == 2).then_some(())
    })
    .await;
    let mut c = Sender::new(c, &c_leg, &[3; 30], 33);
    let mut hears = inbound(suite, &[4; 44], &[], 44);
    // All at once: the first packet of a plain source waits for the second.
    let sent: Vec<_> = (0..50).map(|sequence| c.send(sequence)).collect();
    for plain in sent {
        let heard = open(&mut hears, MediaKind::Rtp, &receive(&d)).expect("authentic");
        assert_eq!((heard[1], heard.len()), (8, plain.len()), "another payload type");
        let (mut spoken, mut decoded) = (Vec::new(), Vec::new());
        Codec::Mulaw.decode(&plain[12..], &mut spoken);
        Codec::Alaw.decode(&heard[12..], &mut decoded);
        let near =
            |(a, b): (&i16, &i16)| (i32::from(*a) - i32::from(*b)).abs() <= i32::from(*a).abs() / 16 + 16;
        assert!(spoken.iter().zip(&decoded).all(near), "{spoken:?}\n{decoded:?}");
    }
    transcoder.await.unwrap();
    bed.tap_when("t", |tap| tap.packets == 100).await;
    bed.stop_tap("t").await.unwrap();
    let recording = Recording::read(&bed.folder.join("both.pcapng"));
    let types = |leg| recording.from(leg).map(|packet| packet.payload[1]).collect::<Vec<_>>();
    assert_eq!((types("c"), types("encodes")), (vec![0; 50], vec![8; 50]));
    let comments = recording.comments.join("\n");
    assert!(comments.contains("rtpmap:0 PCMU/8000"), "{comments}");
    bed.stop().await;
}

/// Takes so many packets of μ-law, and gives as many of A-law under an SSRC of its own.
fn transcode(socket: &std::path::Path, decodes: &v1::Leg, encodes: &v1::Leg, packets: usize) {
    let connect = |leg: &v1::Leg| Ring::connect(socket, "s", &leg.id, &leg.ring_token).unwrap();
    let (mut from, mut to) = (connect(decodes), connect(encodes));
    let mut done = 0;
    while done < packets {
        assert!(from.wait(Some(Duration::from_secs(10))).unwrap(), "{done} of {packets} came");
        done += from
            .receive(64, |packet| {
                let mut samples = Vec::new();
                Codec::Mulaw.decode(&packet[12..], &mut samples);
                let mut changed = packet[..12].to_vec();
                changed[1] = Codec::Alaw.payload_type();
                changed[8..12].copy_from_slice(&44_u32.to_be_bytes());
                Codec::Alaw.encode(samples.into_iter(), &mut changed);
                to.send(&changed).unwrap();
            })
            .unwrap();
        to.flush();
    }
}
