//! Against libsrtp: the same bytes sent, the same verdicts on what is received, over random packets
//! with losses, reordering, replays, forgeries and rollovers.
//!
//! `SLUICE_DIFFERENTIAL=N` sets how many packets each case takes (default 2,000).

mod support;

use sluice_srtp::{Error, Inbound, KeyOptions, Kind, Omit, Outbound, Position, ReplayWindow, Suite};
use support::libsrtp::{self, Session, Setup, Status};
use support::{Random, derive, keys, receive, receive_all, send};

const SSRC: u32 = 0xcafe_babe;

/// A suite with one of several forms of packets.
struct Case {
    suite: Suite,
    mki: &'static [u8],
    omit: Omit,
    material: Vec<u8>,
    random: Random,
}

fn cases() -> impl Iterator<Item = Case> {
    let all = Omit::default();
    let clear_rtcp = Omit { rtcp_encryption: true, ..all };
    let clear_rtp = Omit { rtp_encryption: true, ..all };
    let unauthenticated = Omit { rtp_authentication: true, ..all };
    let forms: [(&[u8], Omit); 6] = [
        (b"", all),
        (b"", clear_rtcp),
        (b"key1", all),
        (&[0x5a; 128], clear_rtcp),
        (b"", clear_rtp),
        (b"", unauthenticated),
    ];
    let possible = |suite: Suite, omit: Omit| {
        let aead = suite.is_aead();
        !aead || !(omit.rtp_encryption || omit.rtp_authentication)
    };
    Suite::ALL.into_iter().filter(|suite| libsrtp::has(*suite)).enumerate().flat_map(move |(i, suite)| {
        let forms = forms.into_iter().enumerate().filter(move |(_, (_, omit))| possible(suite, *omit));
        forms.map(move |(j, (mki, omit))| {
            let mut random = Random(0x9e37_79b9 + 16 * i as u64 + j as u64);
            let material = random.bytes(suite.key_len() + suite.salt_len());
            Case { suite, mki, omit, material, random }
        })
    })
}

impl Case {
    fn session(&self) -> Session {
        Session::new(&Setup {
            suite: self.suite,
            material: &self.material,
            mki: self.mki,
            omit: self.omit,
            encrypted_extensions: &[],
            ssrc: SSRC,
        })
    }

    fn outbound(&self) -> Outbound {
        let keys = keys(self.suite, &self.material, self.mki, self.omit);
        // libsrtp gives its first SRTCP packet index 1, RFC 3711 §3.4 gives it 0.
        Outbound::resume(SSRC, keys, Position { rtp: None, rtcp: Some(0) }, 0)
    }

    fn inbound(&self) -> Inbound {
        let keys = keys(self.suite, &self.material, self.mki, self.omit);
        Inbound::new(SSRC, keys, ReplayWindow::default(), 0)
    }

    /// libsrtp 2.5 looks for the MKI of SRTCP as if its tag were as short as that of SRTP: it cannot
    /// read what it sends itself.
    fn is_readable(&self, kind: Kind) -> bool {
        kind == Kind::Rtp || self.mki.is_empty() || !self.suite.name().ends_with("_32")
    }

    fn name(&self) -> String {
        format!("{} mki {} {:?}", self.suite, self.mki.len(), self.omit)
    }
}

fn packets() -> usize {
    std::env::var("SLUICE_DIFFERENTIAL").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

#[test]
fn libsrtp_and_sluice_send_the_same_bytes_and_read_each_other() {
    let (mut sent, mut suites) = (0, 0);
    for mut case in cases() {
        suites += 1;
        let (mut theirs, mut ours) = (case.session(), case.outbound());
        let (mut their_receiver, mut our_receiver) = (case.session(), case.inbound());
        let mut sequence = case.random.next() as u16;
        for i in 0..packets() {
            let (kind, plain) = if case.random.one_in(5) {
                (Kind::Rtcp, case.random.rtcp(SSRC))
            } else {
                sequence = sequence.wrapping_add(1 + case.random.below(400) as u16);
                let payload = case.random.payload();
                (Kind::Rtp, case.random.rtp(SSRC, sequence, payload))
            };
            sent += 1;
            let expected = theirs.protect(kind, &plain).unwrap();
            assert_eq!(send(&mut ours, kind, &plain).unwrap(), expected, "{} packet {i}", case.name());
            assert_eq!(receive(&mut our_receiver, kind, &expected).unwrap(), plain, "{}", case.name());
            if case.is_readable(kind) {
                let read = their_receiver.unprotect(kind, &expected);
                assert_eq!(read, Ok(plain), "{} packet {i} {kind:?}", case.name());
            }
        }
        assert!(ours.position().roc() > 1, "{}: the run crosses rollovers", case.name());
        assert_eq!(our_receiver.position(), ours.position());
    }
    println!("{sent} packets of {suites} cases: the same octets, read by both");
}

#[test]
fn libsrtp_and_sluice_encrypt_the_same_header_extension_elements() {
    for suite in Suite::ALL.into_iter().filter(|suite| libsrtp::has(*suite)) {
        for ids in [&[1_u8, 3, 4][..], &[2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], &[200, 255]] {
            let mut random = Random(0x0006_9040 + suite as u64);
            let material = random.bytes(suite.key_len() + suite.salt_len());
            let (omit, mki) = (Omit::default(), &b""[..]);
            let setup =
                Setup { suite, material: &material, mki, omit, ssrc: SSRC, encrypted_extensions: ids };
            let (mut theirs, mut their_receiver) = (Session::new(&setup), Session::new(&setup));
            let options =
                KeyOptions { encrypted_extensions: ids.iter().copied().collect(), ..KeyOptions::default() };
            let keys = derive(suite, &material, &options);
            let mut ours = Outbound::new(SSRC, keys.clone(), 0);
            let mut receiver = Inbound::new(SSRC, keys, ReplayWindow::default(), 0);
            for sequence in 0..400 {
                let plain = random.rtp_with_elements(SSRC, sequence);
                let expected = theirs.protect(Kind::Rtp, &plain).unwrap();
                let got = send(&mut ours, Kind::Rtp, &plain).unwrap();
                assert_eq!(got, expected, "{suite} {ids:?} {plain:02x?}");
                assert_eq!(receive(&mut receiver, Kind::Rtp, &expected).unwrap(), plain, "{suite} {ids:?}");
                assert_eq!(their_receiver.unprotect(Kind::Rtp, &expected), Ok(plain), "{suite} {ids:?}");
            }
        }
    }
}

#[test]
fn libsrtp_and_sluice_agree_on_every_packet_of_a_bad_network() {
    let mut seen = Seen::default();
    // Without tags nobody notices damage.
    for mut case in cases().filter(|case| !case.omit.rtp_authentication) {
        let mut sender = case.session();
        let (mut theirs, mut ours) = (case.session(), case.inbound());
        let case_is_readable = [Kind::Rtp, Kind::Rtcp].map(|kind| (kind, case.is_readable(kind)));
        let case_is_readable = |kind| case_is_readable.contains(&(kind, true));
        let mut network = Network::new(&mut case.random);
        let mut left = packets();
        while left > 0 {
            let alone = network.random.one_in(2);
            let size = if alone { 1 } else { 2 + network.random.below(80) as usize };
            let batch: Vec<Datagram> = (0..size).map(|_| network.next(&mut sender)).collect();
            let packets: Vec<_> = batch.iter().map(|d| (d.kind, d.bytes.clone())).collect();
            let results = receive_all(&mut ours, &packets);
            for (datagram, result) in batch.iter().zip(results) {
                if !case_is_readable(datagram.kind) {
                    continue;
                }
                let expected = theirs.unprotect(datagram.kind, &datagram.bytes);
                seen.compare(datagram, &expected, &result, alone);
            }
            left = left.saturating_sub(size);
        }
        assert!(ours.position().roc() > 0, "{}: the run crosses a rollover", case.suite);
    }
    println!("{seen:?}");
    let Seen { accepted, replayed, too_old, forged, unknown_mki } = seen;
    assert!([accepted, replayed, too_old, forged, unknown_mki].iter().all(|count| *count > 20), "{seen:?}");
}

/// A packet as it arrives.
#[derive(Clone, Debug)]
struct Datagram {
    kind: Kind,
    bytes: Vec<u8>,
    /// A bit is wrong.
    damaged: bool,
    /// One of the clear header: the two may disagree on what is wrong, not on whether.
    bad_header: bool,
}

/// Loses, delays, repeats and damages.
struct Network<'a> {
    random: &'a mut Random,
    sequence: u16,
    /// Sent and yet to arrive; some arrive more than once.
    held: Vec<Datagram>,
}

impl<'a> Network<'a> {
    fn new(random: &'a mut Random) -> Self {
        Self { sequence: 62_000 + random.below(1000) as u16, random, held: Vec::new() }
    }

    fn next(&mut self, sender: &mut Session) -> Datagram {
        while self.held.len() < 30 || self.random.one_in(2) {
            let sent = self.send(sender);
            if !self.random.one_in(10) {
                self.held.push(sent);
            }
        }
        // Mostly in order; now and then anything that is still around, which comes again later.
        let at = if self.random.one_in(4) { self.random.below(self.held.len() as u64) as usize } else { 0 };
        let again = self.random.one_in(6);
        let mut datagram = if again { self.held[at].clone() } else { self.held.remove(at) };
        if self.held.len() > 60 {
            self.held.truncate(50);
        }
        if self.random.one_in(5) {
            self.damage(&mut datagram);
        }
        datagram
    }

    fn send(&mut self, sender: &mut Session) -> Datagram {
        let (kind, plain) = if self.random.one_in(5) {
            (Kind::Rtcp, self.random.rtcp(SSRC))
        } else {
            let step = if self.random.one_in(100) { self.random.below(3000) } else { 0 };
            self.sequence = self.sequence.wrapping_add(1 + step as u16);
            let payload = self.random.payload();
            (Kind::Rtp, self.random.rtp(SSRC, self.sequence, payload))
        };
        let bytes = sender.protect(kind, &plain).unwrap();
        Datagram { kind, bytes, damaged: false, bad_header: false }
    }

    fn damage(&mut self, datagram: &mut Datagram) {
        let at = self.random.below(datagram.bytes.len() as u64) as usize;
        datagram.bytes[at] ^= 1 << self.random.below(8);
        datagram.damaged = true;
        datagram.bad_header = match datagram.kind {
            Kind::Rtcp => at < 8,
            // Up to the longest CSRC list and extension.
            Kind::Rtp => at < 12 + 60 + 4 + 80,
        };
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    accepted: usize,
    replayed: usize,
    too_old: usize,
    forged: usize,
    unknown_mki: usize,
}

impl Seen {
    fn compare(
        &mut self,
        datagram: &Datagram,
        theirs: &Result<Vec<u8>, Status>,
        ours: &Result<Vec<u8>, Error>,
        alone: bool,
    ) {
        let agree = match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                self.accepted += 1;
                theirs == ours
            }
            // NSS reports a wrong GCM tag as a cipher failure (8).
            (Err(Status(7 | 8)), Err(Error::AuthFailed)) => {
                self.forged += 1;
                true
            }
            (Err(Status(9)), Err(Error::Replayed)) => {
                self.replayed += 1;
                true
            }
            (Err(Status(10)), Err(Error::TooOld)) => {
                self.too_old += 1;
                true
            }
            (Err(Status(25)), Err(Error::UnknownMki)) => {
                self.unknown_mki += 1;
                true
            }
            (Err(theirs), Err(ours)) => {
                datagram.bad_header || excused(*theirs, *ours, datagram.damaged, alone)
            }
            _ => false,
        };
        assert!(agree, "libsrtp {theirs:?}\nsluice {ours:?}\n{datagram:02x?}");
    }
}

/// Whether both refusals are right, of a packet that is wrong twice over.
fn excused(theirs: Status, ours: Error, damaged: bool, alone: bool) -> bool {
    match (theirs, ours) {
        // The E flag is not as agreed. Under GCM libsrtp believes it, and finds the tag wrong.
        (Status(14), Error::NotEncrypted) => true,
        (Status(7 | 8), Error::NotEncrypted)
        // libsrtp looks for replays after it looks at the E flag, and before it looks at the MKI.
        | (Status(14), Error::Replayed | Error::TooOld)
        | (Status(9 | 10), Error::UnknownMki) => damaged,
        // A packet before it in our batch took its index, or moved the window past it.
        (Status(9 | 10), Error::AuthFailed) => !alone && damaged,
        (Status(10), Error::Replayed) => !alone,
        _ => false,
    }
}
