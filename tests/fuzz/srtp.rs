//! What the SRTP targets share: a session chosen by the input, and a stream that it directs.

use std::sync::Arc;

use sluice_srtp::{
    Cryptex, DerivationRate, Error, ExtensionIds, Inbound, Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD,
    MasterKey, Mki, Omit, Outbound, ReplayWindow, SessionKeys, Suite, protect, unprotect,
};

const SSRC: u32 = 0x1020_3040;

type Verdict = Result<Vec<u8>, Error>;

/// The first two octets choose suite and MKI; the next tells raw packets from directed streams.
pub fn run(kind: Kind, input: &[u8]) {
    let Some(([suite, mki, how], rest)) = input.split_first_chunk::<3>() else { return };
    let suite = Suite::ALL[usize::from(*suite) % Suite::ALL.len()];
    let material = vec![0x42; suite.key_len() + suite.salt_len()];
    let master = MasterKey::from_concatenated(suite, &material).expect("lengths of the suite");
    let mki = Mki::new(&[0xab; 128][..usize::from(*mki) % 129]).expect("not too long");
    let omit = Omit {
        rtcp_encryption: how & 2 != 0,
        rtp_encryption: how & 4 != 0,
        rtp_authentication: how & 8 != 0,
    };
    let derivation_rate = DerivationRate::new(if how & 16 == 0 { 0 } else { 1 << 15 }).expect("a rate");
    let encrypted_extensions =
        if how & 32 == 0 { ExtensionIds::NONE } else { (1..8).chain(16..20).collect() };
    let cryptex = match how >> 6 {
        0 | 1 => Cryptex::Off,
        2 => Cryptex::On,
        _ => Cryptex::Required,
    };
    let options =
        KeyOptions { mki, omit, derivation_rate, encrypted_extensions, cryptex, ..KeyOptions::default() };
    // AEAD suites refuse to leave out half of what they are.
    let Ok(keys) = SessionKeys::derive_with(KeyId(1), &master, &options) else { return };
    let keys = Arc::new(keys);
    if how & 1 == 0 { raw(&keys, kind, cryptex, rest) } else { directed(&keys, kind, rest) }
}

fn inbound(keys: &Arc<SessionKeys>) -> Inbound {
    Inbound::new(SSRC, keys.clone(), ReplayWindow::default(), 0)
}

fn with_ssrc(kind: Kind, packet: &mut [u8]) {
    let at = if kind == Kind::Rtp { 8 } else { 4 };
    if let Some(ssrc) = packet.get_mut(at..at + 4) {
        ssrc.copy_from_slice(&SSRC.to_be_bytes());
    }
}

/// Octets as they are: refused unchanged as SRTP wherever there is a tag; if they can be sent at all, they come back.
fn raw(keys: &Arc<SessionKeys>, kind: Kind, cryptex: Cryptex, rest: &[u8]) {
    let mut packet = rest.to_vec();
    with_ssrc(kind, &mut packet);
    let forged = receive(&mut inbound(keys), &[(kind, packet.clone())]).remove(0);
    assert!(forged.is_err() || (kind == Kind::Rtp && !keys.authenticates_rtp()), "a forgery");
    if let Ok(protected) = send(&mut Outbound::new(SSRC, keys.clone(), 0), kind, &packet) {
        let verdict = receive(&mut inbound(keys), &[(kind, protected)]).remove(0);
        assert_eq!(verdict, Ok(as_received(kind, cryptex, packet)));
    }
}

/// CSRCs without an extension come with an empty one where cryptex hid them (RFC 9335 §5.1).
fn as_received(kind: Kind, cryptex: Cryptex, mut packet: Vec<u8>) -> Vec<u8> {
    let csrcs = usize::from(packet[0] & 0x0f) * 4;
    if kind == Kind::Rtp && cryptex != Cryptex::Off && csrcs > 0 && packet[0] & 0x10 == 0 {
        packet[0] |= 0x10;
        packet.splice(12 + csrcs..12 + csrcs, [0xbe, 0xde, 0, 0]);
    }
    packet
}

/// Four octets a packet: step of the sequence number, size, damage, and where. All in one batch must
/// fare as one by one.
fn directed(keys: &Arc<SessionKeys>, kind: Kind, script: &[u8]) {
    let mut outbound = Outbound::new(SSRC, keys.clone(), 0);
    let mut sequence = 65_500_u16;
    let mut packets = Vec::new();
    for [step, size, damage, place] in script.as_chunks().0.iter().take(60) {
        sequence = sequence.wrapping_add_signed(i16::from(*step as i8));
        let mut plain = vec![0x80, 96];
        plain.extend(sequence.to_be_bytes());
        plain.extend(vec![*size; 8 + usize::from(*size)]);
        with_ssrc(kind, &mut plain);
        let Ok(mut protected) = send(&mut outbound, kind, &plain) else { continue };
        if damage & 1 == 1 {
            packets.push((kind, protected.clone()));
        }
        let at = usize::from(*place) % protected.len();
        protected[at] ^= damage >> 1;
        packets.push((kind, protected));
    }
    let mut alone = inbound(keys);
    let one_by_one: Vec<Verdict> =
        packets.iter().map(|packet| receive(&mut alone, std::slice::from_ref(packet)).remove(0)).collect();
    let mut together = inbound(keys);
    let batch = receive(&mut together, &packets);
    for (alone, together) in one_by_one.iter().zip(&batch) {
        assert_eq!(alone.as_ref().ok(), together.as_ref().ok());
    }
    assert_eq!(alone.position(), together.position());
}

fn send(context: &mut Outbound, kind: Kind, plain: &[u8]) -> Verdict {
    let mut buffer = [plain, &[0; MAX_OVERHEAD]].concat();
    let mut jobs = [Job::new(0, kind, &mut buffer, plain.len())];
    protect(std::slice::from_mut(context), &mut jobs);
    let (result, len) = (jobs[0].result, jobs[0].len);
    assert!(result.is_ok() || buffer[..plain.len()] == *plain);
    result.map(|()| buffer[..len].to_vec())
}

fn receive(context: &mut Inbound, packets: &[(Kind, Vec<u8>)]) -> Vec<Verdict> {
    let mut buffers: Vec<Vec<u8>> = packets.iter().map(|(_, packet)| packet.clone()).collect();
    let mut jobs: Vec<Job<'_>> = buffers
        .iter_mut()
        .zip(packets)
        .map(|(buffer, (kind, packet))| Job::new(0, *kind, buffer, packet.len()))
        .collect();
    unprotect(std::slice::from_mut(context), &mut jobs);
    let mut verdicts = Vec::new();
    for (job, (_, packet)) in jobs.iter().zip(packets) {
        assert!(job.result.is_ok() || job.packet == packet, "refused, and changed");
        verdicts.push(job.result.map(|()| job.packet[..job.len].to_vec()));
    }
    verdicts
}
