//! An offer and an answer, with a line of dashes between them and between further pairs, through the gateway: nothing panics,
//! what the gateway writes it can read, and a side that must have SRTP never gets anything else. Handshakes and checks have
//! what the peer said of them.
//!
//! The first letter chooses the policy. Each text is read as a fragment with candidates as well.
#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sluice_keying::dtls_srtp::{Fingerprint, HashFunction};
use sluice_keying::ice::Candidate;
use sluice_keying::negotiation::{
    Agreed, IceFragment, LocalAnswer, LocalOffer, Origin, OwnAddresses, OwnMedia, Protected, RemoteAnswer,
    RemoteOffer, Standing,
};
use sluice_keying::policy::{
    BestEffortForm, DtlsSetup, Feedback, ForeignKeying, Handling, IceUse, Keying, Policy, Security, Side,
};
use sluice_keying::sdp::{MAX_MEDIA, Sdp};

const BETWEEN: &str = "--\n";

fuzz_target!(|input: &str| {
    let mut letters = input.chars();
    let policy = policy(letters.next().map_or(0, u32::from));
    let mut texts = letters.as_str().split(BETWEEN);
    texts.clone().for_each(check_fragment);
    let mut call = Call::default();
    while let Some(offer) = texts.next() {
        call.exchange(&policy, offer, texts.next());
    }
});

fn policy(bits: u32) -> Policy {
    let pick = |at: u32, of: u32| (bits >> at) % of;
    let security = |at| [Security::Required, Security::BestEffort, Security::Plain][pick(at, 3) as usize];
    let handling = |at| [Handling::Terminate, Handling::Pass][pick(at, 2) as usize];
    let form = [BestEffortForm::Osrtp, BestEffortForm::Capabilities, BestEffortForm::DualLines][pick(1, 3) as usize];
    let foreign = [ForeignKeying::Remove, ForeignKeying::Pass, ForeignKeying::Refuse][pick(2, 3) as usize];
    let mut policy = Policy { foreign_keying: foreign, ..Policy::default() };
    (policy.caller.security, policy.callee.security) = (security(0), security(3));
    for peer in [&mut policy.caller, &mut policy.callee] {
        (peer.best_effort, peer.rtcp_mux, peer.bundle) = (form, handling(4), handling(5));
        peer.ice = [IceUse::WhenOffered, IceUse::Off, IceUse::Lite, IceUse::Full][pick(6, 4) as usize];
        peer.dtls_setup = [DtlsSetup::Actpass, DtlsSetup::Active, DtlsSetup::Passive][pick(8, 3) as usize];
        peer.feedback = [Feedback::Pass, Feedback::Add, Feedback::Remove][pick(7, 3) as usize];
        peer.both_keyings = pick(9, 2) == 1;
        peer.short_rtcp_tags = pick(10, 2) == 1;
    }
    let dtls_first = vec![Keying::DtlsSrtp, Keying::Sdes, Keying::None];
    policy.callee.keyings = (pick(11, 2) == 1).then_some(dtls_first);
    policy
}

struct Call {
    origins: [Origin; 2],
    standing: [Standing; 2],
    counter: u32,
}

impl Default for Call {
    fn default() -> Self {
        let mut zero = |octets: &mut [u8]| octets.fill(0);
        let origins = [Origin::new(&mut zero), Origin::new(&mut zero)];
        Self { origins, standing: Default::default(), counter: 0 }
    }
}

impl Call {
    fn exchange(&mut self, policy: &Policy, offer: &str, answer: Option<&str>) {
        let Ok(offer) = RemoteOffer::reread(offer, policy, Side::Caller, &self.standing[0]) else { return };
        assert!(offer.transports() <= self.standing[0].transports() + MAX_MEDIA);
        let (here, there) = (own(1, &offer), own(2, &offer));
        let counter = &mut self.counter;
        let mut random = |octets: &mut [u8]| {
            *counter += 1;
            octets.iter_mut().zip(counter.to_be_bytes().iter().cycle()).for_each(|(octet, count)| *octet = *count);
        };
        let [caller, callee] = &mut self.origins;
        let local =
            LocalOffer::recompose(&offer, &self.standing[1], &there, policy, Side::Callee, callee, &mut random);
        let Ok(local) = local else { return };
        check(local.sdp());
        let Some(answer) = answer else { return };
        let Ok(answer) = RemoteAnswer::read(&local, answer, policy) else { return };
        let made =
            LocalAnswer::compose(&offer, &answer, &here, policy, Side::Caller, caller, &mut random);
        let Ok(made) = made else { return };
        check(made.sdp());
        check_agreed(policy.caller.security, &made.agreed());
        check_agreed(policy.callee.security, &answer.agreed());
        self.standing = [made.standing().clone(), answer.standing().clone()];
    }
}

fn own(host: u8, offer: &RemoteOffer) -> Vec<OwnMedia> {
    let at = |port| SocketAddr::from(([198, 51, 100, host], port));
    let port = |n: usize| 1024 + 2 * (n % 30_000) as u16;
    let certificate: Arc<[Fingerprint]> = [Fingerprint::of(HashFunction::Sha256, &[host])].into();
    let candidate = |component, address| Candidate::host(component, address, u16::MAX);
    let own = |n| {
        let mut own = OwnMedia::new(at(port(n)), at(port(n) + 1));
        own.dtls = Some(Arc::clone(&certificate));
        let candidates = vec![candidate(1, own.rtp), candidate(2, own.rtcp)];
        own.ice = Some(Arc::new(OwnAddresses { candidates, selected: vec![(1, at(9))] }));
        own
    };
    (0..offer.transports()).map(own).collect()
}

fn check_fragment(text: &str) {
    if let Ok(fragment) = IceFragment::parse(text) {
        let again = IceFragment::parse(&fragment.write());
        assert!(again.is_ok_and(|again| again == fragment));
    }
}

/// What is written is SDP, if not larger than what is read.
fn check(text: &str) {
    assert!(text.len() > 1 << 19 || Sdp::parse(text).is_ok_and(|sdp| sdp.write().as_str() == text));
}

fn check_agreed(security: Security, agreed: &[Option<Agreed>]) {
    for agreed in agreed.iter().flatten() {
        let plain = [&agreed.inbound, &agreed.outbound].map(|one| *one == Protected::Plain);
        assert_eq!(plain[0], plain[1]);
        assert!(security != Security::Required || !plain[0]);
        assert!(security != Security::Plain || plain[0]);
        assert!(agreed.dtls.is_none() || agreed.inbound == Protected::InMediaPath);
        assert!(agreed.dtls.iter().all(|dtls| !dtls.peer.fingerprints.is_empty() && !dtls.suites.is_empty()));
    }
}
