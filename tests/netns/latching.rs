//! Whom a leg follows to another address under each policy, and that nobody without its key can have it.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1::Latching;
use sluice_srtp::Suite;
use sluice_tests::needs_root;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::{Source, sender_report};
use sluice_tests::site::{PACE, Site, expect_exactly, expect_nothing, stream};
use sluice_tools::demo::gateway::{Key, Leg};

const POLICIES: [Latching; 4] =
    [Latching::Never, Latching::SignalledOnly, Latching::FirstAuthenticated, Latching::NewestAuthenticated];

#[test]
fn each_policy_follows_whom_it_says_and_never_who_is_not_authentic() -> Result<()> {
    needs_root!();
    for datapath in ["auto", "io_uring"] {
        let mut site = Site::with(1500, datapath)?;
        for (number, policy) in (0..).zip(POLICIES) {
            let case = || format!("{datapath}, {policy:?}");
            Setting::new(&mut site, policy, 4000 + 100 * number)?.play(policy).with_context(case)?;
            let path = if datapath == "auto" { "xdp-native" } else { "io_uring" };
            let leg = site.gateway.leg(policy.as_str_name(), "a")?;
            ensure!(leg.path == path, "{}: media came by {}", case(), leg.path);
            if policy != Latching::SignalledOnly {
                ensure!(leg.drops.iter().any(|drop| drop.reason == "auth_failed"), "{}: {leg:?}", case());
            }
        }
    }
    Ok(())
}

/// A call between a caller with a key and another peer without, and somebody who sees and sends all he likes.
struct Setting {
    caller: Peer,
    other: Peer,
    attacker: Peer,
    /// Where the caller may go.
    places: Vec<std::net::UdpSocket>,
    into: SocketAddr,
    back: SocketAddr,
    up: Source,
    down: Source,
    seen: Vec<Vec<u8>>,
}

impl Setting {
    fn new(site: &mut Site, policy: Latching, port: u16) -> Result<Self> {
        let keys = [Key::random(Suite::AesCm128HmacSha1_80)?, Key::random(Suite::AeadAes256Gcm)?];
        let caller = Peer::keyed(site.peer(port)?.socket, Some(&keys[0]), Some(&keys[1]))?;
        let (other, attacker) = (site.peer(port + 10)?, site.peer(port + 20)?);
        let places = [site.peer(port + 30)?.socket, site.peer(port + 40)?.socket].into();
        let (into, back) = (site.at(port), site.at(port + 10));
        let mut leg = Leg::new("a", into, caller.address()?).inbound(&keys[0]).outbound(&keys[1]).rtcp_mux();
        leg.config.latching = policy as i32;
        let legs = [leg, Leg::new("b", back, other.address()?).rtcp_mux()];
        site.gateway.create_call(policy.as_str_name(), &legs, &[("a", "b"), ("b", "a")])?;
        let (up, down) = (Source::new(1, 65_530), Source::new(2, 0));
        Ok(Self { caller, other, attacker, places, into, back, up, down, seen: Vec::new() })
    }

    fn play(mut self, policy: Latching) -> Result<()> {
        self.speak(true).context("at the signalled address")?;
        self.attack().context("before the caller moves")?;
        // At a second address, and then at a third.
        let mut stays = Vec::new();
        for turn in 0..2 {
            let place = self.places.remove(0);
            let heard = policy != Latching::SignalledOnly;
            let followed = match policy {
                Latching::NewestAuthenticated => true,
                Latching::FirstAuthenticated => turn == 0,
                _ => false,
            };
            let left = std::mem::replace(&mut self.caller.socket, place);
            self.speak(heard).with_context(|| format!("moved {turn}"))?;
            if followed {
                stays.push(Peer::plain(left));
            } else {
                let moved = std::mem::replace(&mut self.caller.socket, left);
                stays.push(Peer::plain(moved));
            }
            self.attack().with_context(|| format!("after move {turn}"))?;
        }
        stays.iter_mut().try_for_each(expect_nothing).context("where the caller is not")
    }

    /// The caller sends: heard by the other, or not.
    fn speak(&mut self, heard: bool) -> Result<()> {
        let mut sent = Vec::new();
        for number in 0..10 {
            let report = number == 9;
            let packet = if report { sender_report(1, number) } else { self.up.next_packet() };
            self.seen.push(self.caller.send(self.into, &packet)?);
            sent.push(packet);
            std::thread::sleep(PACE);
        }
        if heard { expect_exactly(&mut self.other, &sent) } else { expect_nothing(&mut self.other) }
    }

    /// Forged, replayed, plain, and from an address of his own: nobody hears it, and the caller's media is the
    /// caller's.
    fn attack(&mut self) -> Result<()> {
        let mut forged = Vec::new();
        for sealed in &self.seen {
            let mut tampered = sealed.clone();
            let last = tampered.len() - 1;
            tampered[last] ^= 1;
            forged.extend([tampered, sealed.clone()]);
        }
        // Further on than the caller is, and of another stream.
        forged.extend((0..5).map(|step| self.up.packet(self.up.sequence.wrapping_add(100 + step))));
        forged.extend((0..5).map(|step| Source::new(0xbad, 1).packet(step)));
        forged.push(sender_report(1, 99));
        for packet in forged {
            self.attacker.socket.send_to(&packet, self.into)?;
            std::thread::sleep(PACE / 4);
        }
        expect_nothing(&mut self.other).context("the other heard the attacker")?;
        let sent = stream(&mut self.other, self.back, &mut self.down, 10)?;
        expect_exactly(&mut self.caller, &sent).context("what is the caller's")?;
        expect_nothing(&mut self.attacker).context("the attacker got something")
    }
}
