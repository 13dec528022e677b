//! Which association it is: RFC 8842 sections 3 to 6.

use sluice_keying::dtls_srtp::{AgreedDtls, Role};
use sluice_keying::negotiation::{Agreed, Standing};
use sluice_keying::policy::{Security, Side};

use super::dtls::{TLS_ID, answer, call, fingerprint, offer};
use super::support::{Call, Peer, at, audio, certificate, lines};

fn dtls(agreed: &[Option<Agreed>]) -> AgreedDtls {
    at(agreed, 0).dtls.clone().expect("a handshake")
}

/// A caller that offered a handshake, and what was agreed on with it.
fn answered(text: &str) -> (Call, AgreedDtls) {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let agreed = offered(&mut call, text);
    (call, agreed)
}

/// The caller offers anew.
fn offered(call: &mut Call, text: &str) -> AgreedDtls {
    dtls(&call.exchange(Side::Caller, text, Peer::Plain).expect(text).made.agreed())
}

/// The gateway offers anew, and the callee answers.
fn reoffered(call: &mut Call, text: &str) -> AgreedDtls {
    let key = format!("crypto:{}", super::support::crypto(1, super::support::CM80, b'a'));
    let (remote, local) = call.offer(Side::Caller, &audio("RTP/SAVP", &[&key])).expect("an offer");
    dtls(&call.answer(&remote, &local, text).expect(text).0.agreed())
}

#[test]
fn an_association_stays_while_the_peer_says_the_same() {
    let (mut call, one) = answered(&offer("actpass"));
    let two = offered(&mut call, &offer("actpass"));
    assert!(two.continues(&one) && two == one);
    let hold = offer("actpass") + "a=sendonly\r\n";
    assert_eq!(offered(&mut call, &hold), one, "a hold is no change");
    let old_hold = offer("actpass").replace("c=IN IP4 192.0.2.10", "c=IN IP4 0.0.0.0");
    assert_eq!(offered(&mut call, &old_hold), one);
    assert_eq!(offered(&mut call, &offer("passive")), one, "the role that it has");
    let elsewhere = offer("actpass").replace("audio 4000", "audio 4100");
    assert_eq!(offered(&mut call, &elsewhere), one, "it names the association, wherever it is");
}

#[test]
fn an_association_is_another_one_where_the_peer_says_so() {
    let named = offer("actpass").replace(TLS_ID, "tls-id:another-one-of-these-ids");
    let certified = offer("actpass").replace(&fingerprint(b'p'), &fingerprint(b'r'));
    let one_more = offer("actpass") + &format!("a={}\r\n", fingerprint(b'r'));
    for text in [&named, &certified, &one_more, &offer("active")] {
        let (mut call, one) = answered(&offer("actpass"));
        let two = offered(&mut call, text);
        assert!(!two.continues(&one), "{text}");
        assert_eq!(two.association, 2, "{text}");
        assert_ne!(two.own.tls_id, one.own.tls_id, "RFC 8842 section 5.3: a new unique value");
        assert_eq!(two.own.fingerprints, one.own.fingerprints);
        assert!(offered(&mut call, text).continues(&two), "and stays from then on");
    }
    let (mut call, one) = answered(&offer("actpass"));
    assert_eq!((one.role, offered(&mut call, &offer("active")).role), (Role::Client, Role::Server));
}

#[test]
fn of_who_names_nothing_the_address_counts_but_not_with_ice() {
    let unnamed = |port: &str| offer("actpass").replace(&format!("a={TLS_ID}\r\n"), "").replace("4000", port);
    let (mut call, one) = answered(&unnamed("4000"));
    assert_eq!(offered(&mut call, &unnamed("4000")), one);
    let held = unnamed("4000").replace("c=IN IP4 192.0.2.10", "c=IN IP4 0.0.0.0");
    assert_eq!(offered(&mut call, &held), one);
    assert!(!offered(&mut call, &unnamed("4100")).continues(&one));
    let with_ice = |port: &str, ufrag: &str| {
        let candidate = format!("a=candidate:1 1 UDP 1 192.0.2.10 {port} typ host\r\n");
        let ice = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\na=rtcp-mux\r\n");
        unnamed(port) + &candidate + &ice
    };
    let (mut call, one) = answered(&with_ice("4000", "abcd"));
    assert_eq!(offered(&mut call, &with_ice("4100", "abcd")), one, "a switch between candidates");
    assert_eq!(offered(&mut call, &with_ice("4100", "efgh")), one, "a restart of checks alone");
    // Who has a name from now on asks for an association of that name.
    assert!(!offered(&mut call, &offer("actpass")).continues(&one));
}

#[test]
fn the_gateways_end_stays_with_its_certificate_and_address() {
    let (mut call, one) = answered(&offer("actpass"));
    call.own[0][0].dtls = Some([certificate(b'Z')].into());
    let two = offered(&mut call, &offer("actpass"));
    assert!(!two.continues(&one) && two.own.tls_id != one.own.tls_id);
    call.own[0][0].rtp.set_port(10_500);
    let three = offered(&mut call, &offer("actpass"));
    assert!(three.association == 3 && three.own.tls_id != two.own.tls_id);
}

#[test]
fn an_offer_names_the_association_that_stands_and_leaves_the_role_open() {
    let mut call = call();
    let one = reoffered(&mut call, &answer("active"));
    assert_eq!((one.role, one.association), (Role::Server, 1));
    let two = reoffered(&mut call, &answer("active"));
    assert_eq!(two, one);
    let key = format!("crypto:{}", super::support::crypto(1, super::support::CM80, b'a'));
    let (_, local) = call.offer(Side::Caller, &audio("RTP/SAVP", &[&key])).expect("an offer");
    assert_eq!(lines(local.sdp(), "a=tls-id"), [format!("a=tls-id:{}", one.own.tls_id)]);
    assert_eq!(lines(local.sdp(), "a=setup"), ["a=setup:actpass"]);
    let standing = local.offered()[0].clone().and_then(|offered| offered.dtls?.standing);
    assert_eq!(standing, Some(one.clone()));
    // The answerer makes another one of it, under the offerer's name (section 5.1).
    let named = answer("active").replace(TLS_ID, "tls-id:another-one-of-these-ids");
    let three = reoffered(&mut call, &named);
    assert!(!three.continues(&one));
    assert_eq!((three.association, &three.own.tls_id), (2, &one.own.tls_id));
    assert!(!reoffered(&mut call, &answer("passive")).continues(&three), "another role");
}

#[test]
fn answers_of_several_peers_to_one_offer_are_told_apart() {
    let mut call = call();
    let key = format!("crypto:{}", super::support::crypto(1, super::support::CM80, b'a'));
    let (remote, local) = call.offer(Side::Caller, &audio("RTP/SAVP", &[&key])).expect("an offer");
    let (one, _) = call.answer(&remote, &local, &answer("active")).expect("a phone");
    let (again, _) = call.answer(&remote, &local, &answer("active")).expect("the same");
    let other = answer("active").replace(&fingerprint(b'q'), &fingerprint(b'r'));
    let (two, _) = call.answer(&remote, &local, &other).expect("another");
    assert!(dtls(&again.agreed()).continues(&dtls(&one.agreed())));
    assert!(!dtls(&two.agreed()).continues(&dtls(&one.agreed())));
}

#[test]
fn an_answer_given_twice_names_one_association() {
    let mut call = Call::new(Security::Required, Security::Plain).in_media_path();
    let (mut remote, local) = call.offer(Side::Caller, &offer("actpass")).expect("an offer");
    let text = Peer::Plain.answer(local.sdp());
    let (_, early) = call.answer(&remote, &local, &text).expect("a provisional answer");
    remote.answered(&early);
    let (_, last) = call.answer(&remote, &local, &text).expect("the final one");
    assert_eq!((early.sdp(), early.agreed()), (last.sdp(), last.agreed()));
}

#[test]
fn a_standing_without_keys_asks_for_another_association() {
    let mut call = call();
    let one = reoffered(&mut call, &answer("active"));
    call.standing[1] = Standing::rekeyed(&call.standing[1]);
    let two = reoffered(&mut call, &answer("active"));
    assert!(!two.continues(&one));
    assert_ne!(two.own.tls_id, one.own.tls_id);
    assert_eq!(two.association, 2);
}

#[test]
fn a_line_that_was_removed_begins_anew() {
    let video = "m=video 4002 RTP/AVP 96\r\n";
    let mut call = Call::new(Security::BestEffort, Security::Plain).in_media_path();
    let one = offered(&mut call, &(offer("actpass") + video));
    let removed = offer("actpass").replace("audio 4000", "audio 0") + video;
    let exchange = call.exchange(Side::Caller, &removed, Peer::Plain).expect("video");
    assert!(exchange.made.agreed()[0].is_none());
    let two = offered(&mut call, &(offer("actpass") + video));
    assert!(two.own.tls_id != one.own.tls_id && !two.continues(&one));
}
