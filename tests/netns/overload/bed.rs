//! A daemon with calls, and a generator that plays all of their peers.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use sluice_proto::v1::MoveSessionRequest;
use sluice_srtp::Suite;
use sluice_tests::flood::Flood;
use sluice_tests::peer::Peer;
use sluice_tests::rtp::Source;
use sluice_tests::site::Site;
use sluice_tools::demo::gateway::{Key, Leg};

use crate::books::Books;
use crate::load::{FRAME, Kind, Load};

/// Calls of plain callers, whose packets are cheap to make, to listeners who get SRTP.
pub const CALLS: u16 = 8;
/// Where the good call's caller sends to, and from.
pub const GOOD_PORT: u16 = 4500;
pub const GOOD_PEER: u16 = 25_000;
/// Where SRTP legs of the calls are, which nobody calls in earnest.
pub const FORGED_PORT: u16 = 4600;

/// Daemon, calls, generator.
pub struct Bed {
    // Dropped first: what is in the daemon's namespace.
    pub flood: Flood,
    pub load: Load,
    /// The good call's caller seals, its listener hears.
    caller: Peer,
    listener: Peer,
    source: Source,
    expected: Vec<Vec<u8>>,
    rtcp_before: u64,
    /// Peers that do not listen to what comes, but are there.
    _deaf: Vec<UdpSocket>,
    pub site: Site,
}

impl Bed {
    pub fn new(datapath: &str) -> Result<Self> {
        let mut site = Site::with(1500, datapath)?;
        if datapath == "io_uring" {
            // Without XDP or GRO a veth device does not take a driver's frames.
            let mut ethtool = site.gateway_namespace().command("ethtool");
            let done = ethtool.args(["-K", site.interface(), "gro", "on"]).status()?;
            ensure!(done.success(), "ethtool: {done}");
        }
        let suite = Suite::AesCm128HmacSha1_80;
        let inward = Key::random(suite)?;
        let caller = Peer::keyed(site.peer(GOOD_PEER)?.socket, Some(&inward), None)?;
        let listener = site.peer(35_000)?;
        let good = [
            Leg::new("good", site.at(GOOD_PORT), caller.address()?).inbound(&inward),
            Leg::new("heard", site.at(5500), listener.address()?),
        ];
        site.gateway.create_call("good", &good, &[("good", "heard")])?;
        let (mut deaf, mut sessions) = (Vec::new(), vec!["good".to_owned()]);
        for call in 0..CALLS {
            let (from, to) = (20_000 + 10 * call, 30_000 + 10 * call);
            for port in [from, from + 1, to, to + 1, from + 2] {
                deaf.push(site.peer(port)?.socket);
            }
            let key = Key::random(suite)?;
            let legs = [
                Leg::new("p", site.at(4000 + 10 * call), site.world.peers_at(from)),
                Leg::new("l", site.at(5000 + 10 * call), site.world.peers_at(to)).outbound(&key),
                // Somebody who will not be heard for all the forgeries.
                Leg::new("s", site.at(FORGED_PORT + 10 * call), site.world.peers_at(from + 2)).inbound(&key),
            ];
            let session = format!("call-{call}");
            site.gateway.create_call(&session, &legs, &[("p", "l")])?;
            sessions.push(session);
        }
        // All of them where their media arrives: this is about one worker.
        for session in sessions {
            let request = MoveSessionRequest { session, worker: 0 };
            site.gateway.call(|client| client.move_session(request))?;
        }
        let load = Load::new(&site)?;
        let flood = Flood::open(&site, FRAME)?;
        let (source, expected) = (Source::new(0x600d, 0), Vec::new());
        let mut bed =
            Self { flood, load, caller, listener, source, expected, rtcp_before: 0, _deaf: deaf, site };
        bed.warm_up()?;
        Ok(bed)
    }

    /// Streams are known, next hops as well.
    fn warm_up(&mut self) -> Result<()> {
        for _ in 0..20 {
            self.flood.pour(2000.0, Duration::from_millis(100), &mut self.load.writer(Kind::Media))?;
            self.good_alone(2000.0, 20)?;
            thread::sleep(Duration::from_millis(100));
            if self.good_lost()? == 0 {
                self.quiet_books()?;
                return Ok(());
            }
        }
        anyhow::bail!("the daemon does not forward: {}", self.site.gateway.log())
    }

    /// Packets per second that the daemon takes of valid media when there is more than enough.
    pub fn capacity(&mut self) -> Result<f64> {
        let time = Duration::from_secs(1);
        let before = self.books()?;
        let poured = self.flood.pour(f64::INFINITY, time, &mut self.load.writer(Kind::Media))?;
        let seen = self.quiet_books()?.since(&before);
        seen.balance(poured)?;
        Ok(seen.received() as f64 / time.as_secs_f64())
    }

    /// So many packets of the good call at this rate; frames sent.
    pub fn good_alone(&mut self, rate: f64, count: usize) -> Result<u64> {
        let sealed = self.make_good(count)?;
        let mut writer = self.load.good_beside(&sealed, None);
        self.flood.pour_all(rate, count as u64, &mut writer)?;
        Ok(count as u64)
    }

    /// So many frames at this rate, of which every tenth is of the good call and the others are of this kind.
    pub fn good_beside(&mut self, kind: Kind, rate: f64, count: usize) -> Result<u64> {
        let sealed = self.make_good(count / 10)?;
        let mut writer = self.load.good_beside(&sealed, Some((kind, 9)));
        self.flood.pour_all(rate, count as u64, &mut writer)?;
        Ok(count as u64)
    }

    fn make_good(&mut self, count: usize) -> Result<Vec<Vec<u8>>> {
        self.expected = (0..count).map(|_| self.source.next_packet()).collect();
        self.expected.iter().map(|packet| self.caller.seal(packet)).collect()
    }

    /// How many of the good call's last packets its listener has not got; an error if it got anything else.
    pub fn good_lost(&mut self) -> Result<u64> {
        let mut heard = self.listener.receive_all(Duration::from_millis(300))?;
        heard.sort_unstable();
        let mut expected = std::mem::take(&mut self.expected);
        expected.sort_unstable();
        let right = expected.iter().filter(|packet| heard.binary_search(packet).is_ok()).count();
        ensure!(heard.len() == right, "{} packets came, of which {right} are right", heard.len());
        Ok((expected.len() - right) as u64)
    }

    /// From now on RTCP packets of plain calls are counted anew.
    pub fn forget_rtcp(&mut self) -> Result<()> {
        self.load.forget_rtcp();
        self.rtcp_before = self.rtcp_total()?;
        Ok(())
    }

    /// How many of them the daemon accepted.
    pub fn rtcp_heard(&mut self) -> Result<u64> {
        Ok(self.rtcp_total()? - self.rtcp_before)
    }

    fn rtcp_total(&mut self) -> Result<u64> {
        let legs = self.site.gateway.statistics()?.legs;
        Ok(legs.iter().filter(|leg| leg.leg == "p").map(|leg| leg.received_rtcp_packets).sum())
    }

    /// What everybody has counted by now.
    pub fn books(&mut self) -> Result<Books> {
        Books::read(&mut self.site)
    }

    /// The same once nothing moves any more.
    pub fn quiet_books(&mut self) -> Result<Books> {
        let mut last = self.books()?;
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(100));
            let now = self.books()?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
        anyhow::bail!("the daemon never rests: {last:?}")
    }
}
