//! A worker's pipeline without threads or sockets' traffic: datagrams in, datagrams out, time by hand.
#![allow(unreachable_pub, reason = "shared by the files of this test")]

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use sluice_datapath::{
    Command, CommandError, Direction, DropReason, EarlyMedia, Event, EventReceiver, Latching, LegSetup,
    LegStats, LegUpdate, Limits, Origin, Pipeline, Protection, RocOnRekey, RouteOptions, Shared, Signalled,
    Steering, Tuning, WorkerSnapshot,
};
use sluice_io::memory::{MemoryIo, Wire};
use sluice_io::{Component, FrameBatch, Ingress, Path, Pool, PoolConfig, SocketToken, TxMeta};
use sluice_srtp::{
    Error, Inbound, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow,
    SessionKeys, Suite, protect, unprotect,
};

pub const SECOND: u64 = 1_000_000_000;
pub const MILLI: u64 = 1_000_000;

thread_local! { static NOW: Cell<u64> = const { Cell::new(SECOND) }; }

fn clock() -> u64 {
    NOW.get()
}

/// A datagram that the pipeline sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub meta: TxMeta,
    pub bytes: Vec<u8>,
}

pub struct Harness {
    pub pipeline: Pipeline,
    pub pool: Pool,
    pub io: MemoryIo,
    pub events: EventReceiver,
    pub path: Path,
    sent: Vec<Sent>,
    wire: Wire,
    commanded: Vec<Sent>,
    sockets: Vec<Arc<UdpSocket>>,
}

/// A peer's address.
pub fn peer(port: u16) -> SocketAddr {
    ([127, 0, 0, 9], port).into()
}

impl Harness {
    pub fn new() -> Self {
        Self::with(Limits { legs: 64, routes: 256, streams: 256, ..limits() }, Tuning::default())
    }

    pub fn with(limits: Limits, tuning: Tuning) -> Self {
        let (shared, events) = Shared::new(&limits, 1);
        Self::made_of(limits, tuning, shared, events)
    }

    /// One that tells of its legs.
    pub fn steered(steering: Arc<dyn Steering>) -> Self {
        let (shared, events) = Shared::new(&limits(), 1);
        Self::made_of(limits(), Tuning::default(), shared.with_steering(steering), events)
    }

    fn made_of(limits: Limits, tuning: Tuning, shared: Shared, events: EventReceiver) -> Self {
        NOW.set(SECOND);
        let pipeline = Pipeline::new(0, limits, tuning, shared, clock);
        let pool = Pool::new(PoolConfig { small: 1024, large: 16 }).unwrap();
        let (io, wire) = MemoryIo::new().unwrap();
        let (sent, commanded, sockets) = Default::default();
        Self { pipeline, pool, io, events, path: Path::Memory, sent, wire, commanded, sockets }
    }

    /// A setting to start from: SRTP in, plain out, the peer at port 1000 + leg.
    pub fn setup(&mut self, leg: u32) -> LegSetup {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        self.sockets.push(Arc::clone(&socket));
        LegSetup {
            leg,
            local: socket.local_addr().unwrap(),
            rtp: Some(socket),
            rtcp: None,
            remote: Some(peer(1000 + leg as u16)),
            rtcp_remote: None,
            latching: Latching::SignalledOnly,
            inbound: Protection::Srtp,
            outbound: Protection::Plain,
            window: ReplayWindow::default(),
            payload_types: None,
            max_streams: 8,
            roc_trials: 0,
            early_media: EarlyMedia::Drop,
            dscp: 0,
            sharing: None,
            stats: Arc::new(LegStats::new()),
        }
    }

    pub fn socket(&mut self) -> Arc<UdpSocket> {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        self.sockets.push(Arc::clone(&socket));
        socket
    }

    /// Adds the leg; its statistics.
    pub fn add(&mut self, setup: LegSetup) -> Arc<LegStats> {
        let stats = Arc::clone(&setup.stats);
        self.apply(Command::AddLeg(Box::new(setup))).unwrap();
        stats
    }

    /// Adds a leg of this protection each way, with a key of its own where it is SRTP: key 10 × leg inbound,
    /// 10 × leg + 1 outbound.
    pub fn leg(&mut self, leg: u32, inbound: Protection, outbound: Protection) -> Arc<LegStats> {
        let setup = LegSetup { inbound, outbound, ..self.setup(leg) };
        let stats = self.add(setup);
        if inbound == Protection::Srtp {
            self.install(leg, Direction::Inbound, key(10 * u64::from(leg))).unwrap();
        }
        if outbound == Protection::Srtp {
            self.install(leg, Direction::Outbound, key(10 * u64::from(leg) + 1)).unwrap();
        }
        stats
    }

    pub fn install(
        &mut self,
        leg: u32,
        direction: Direction,
        keys: Arc<SessionKeys>,
    ) -> Result<(), CommandError> {
        self.apply(Command::InstallKeys {
            leg,
            direction,
            keys: vec![keys],
            shared: false,
            roc: RocOnRekey::Keep,
            more_follow: false,
        })
    }

    /// Installs a key under which rollover counters go on in this way.
    pub fn rekey(
        &mut self,
        leg: u32,
        direction: Direction,
        keys: Arc<SessionKeys>,
        roc: RocOnRekey,
    ) -> Result<(), CommandError> {
        let keys = vec![keys];
        self.apply(Command::InstallKeys { leg, direction, keys, shared: false, roc, more_follow: false })
    }

    /// Changes a leg.
    pub fn update(&mut self, update: LegUpdate) {
        self.apply(Command::UpdateLeg(update)).unwrap();
    }

    /// Installs a key for sending that other legs may have as well.
    pub fn install_shared(&mut self, leg: u32, keys: &Arc<SessionKeys>) -> Result<(), CommandError> {
        let keys = vec![Arc::clone(keys)];
        self.apply(Command::InstallKeys {
            leg,
            direction: Direction::Outbound,
            keys,
            shared: true,
            roc: RocOnRekey::Keep,
            more_follow: false,
        })
    }

    pub fn route(&mut self, route: u32, from: u32, to: u32) {
        self.route_with(route, from, to, RouteOptions::default());
    }

    pub fn route_with(&mut self, route: u32, from: u32, to: u32, options: RouteOptions) {
        self.apply(Command::AddRoute { route, from, to, options }).unwrap();
    }

    /// Signalling tells where the leg's peer is.
    pub fn signal(&mut self, leg: u32, rtp: SocketAddr) {
        let remote = Some(Signalled { rtp, rtcp: None });
        self.apply(Command::UpdateLeg(LegUpdate { remote, ..LegUpdate::new(leg) })).unwrap();
    }

    pub fn apply(&mut self, command: Command) -> Result<(), CommandError> {
        let applied = self.pipeline.apply(command, &mut self.io, &mut self.pool);
        let sent = self.wire.sent().into_iter();
        self.commanded.extend(sent.map(|sent| Sent { meta: sent.meta, bytes: sent.payload }));
        applied
    }

    /// What commands had sent since this was asked last.
    pub fn sent_by_commands(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.commanded)
    }

    /// The leg's own peer sends a datagram.
    pub fn receive(&mut self, leg: u32, bytes: &[u8]) -> Vec<Sent> {
        self.receive_from(leg, peer(1000 + leg as u16), bytes)
    }

    pub fn receive_from(&mut self, leg: u32, remote: SocketAddr, bytes: &[u8]) -> Vec<Sent> {
        self.receive_batch(&[(leg, Component::Rtp, remote, bytes.to_vec())])
    }

    /// A datagram arrives at a local address, as by XDP.
    pub fn receive_at(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) -> Vec<Sent> {
        self.receive_all_at(local, &[(remote, bytes.to_vec())])
    }

    pub fn receive_all_at(&mut self, local: SocketAddr, datagrams: &[(SocketAddr, Vec<u8>)]) -> Vec<Sent> {
        let mut rx = FrameBatch::new();
        for (remote, bytes) in datagrams {
            let mut frame = self.pool.alloc(bytes.len() + MAX_OVERHEAD).unwrap();
            assert!(frame.fill(bytes));
            let (remote, path, received_at) = (*remote, self.path, clock());
            frame.set_ingress(Ingress { local, remote, socket: None, path, received_at });
            rx.push(frame).unwrap();
        }
        self.process(&mut rx)
    }

    /// Takes datagrams through the pipeline as one batch; what it sent.
    pub fn receive_batch(&mut self, datagrams: &[(u32, Component, SocketAddr, Vec<u8>)]) -> Vec<Sent> {
        let mut rx = FrameBatch::new();
        for (leg, component, remote, bytes) in datagrams {
            let mut frame = self.pool.alloc(bytes.len() + MAX_OVERHEAD).unwrap();
            assert!(frame.fill(bytes));
            frame.set_ingress(Ingress {
                local: ([127, 0, 0, 1], 1).into(),
                remote: *remote,
                socket: Some(SocketToken { leg: *leg, component: *component }),
                path: self.path,
                received_at: clock(),
            });
            rx.push(frame).unwrap();
        }
        self.process(&mut rx)
    }

    pub fn process(&mut self, rx: &mut FrameBatch) -> Vec<Sent> {
        let sent = &mut self.sent;
        self.pipeline.process(rx, Origin::Io, &mut self.pool, &mut |pool: &mut Pool, tx: &mut FrameBatch| {
            for frame in tx.drain() {
                sent.push(Sent { meta: *frame.egress().unwrap(), bytes: frame.payload().to_vec() });
                pool.free(frame);
            }
        });
        self.check();
        std::mem::take(&mut self.sent)
    }

    /// Every datagram is accounted for, and every chunk is either free, or held for probation or for a key.
    pub fn check(&self) {
        let stats = self.stats();
        assert_eq!(stats.unaccounted(), 0, "{stats:?}");
        assert_eq!(u64::from(self.pool.outstanding()), stats.held + stats.early.held);
        let early = stats.early;
        assert_eq!(early.total, early.held + early.released + early.evicted, "{early:?}");
    }

    /// Lets time pass, with housekeeping.
    pub fn pass(&mut self, nanoseconds: u64) {
        let end = clock() + nanoseconds;
        while clock() < end {
            NOW.set(end.min(clock() + SECOND / 4));
            self.pipeline.keep_house(&mut self.pool);
        }
        self.check();
    }

    pub fn stats(&self) -> WorkerSnapshot {
        self.pipeline.stats().snapshot()
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.stats().dropped.get(reason)
    }

    pub fn events(&self) -> Vec<Event> {
        self.events.drain().collect()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.pipeline.clear(&mut self.pool);
            assert_eq!(self.pool.outstanding(), 0, "frames leaked");
        }
    }
}

pub fn limits() -> Limits {
    Limits { egress_contexts: 512, commands: 16, events: 4096, handoff: 16, ..Limits::default() }
}

/// Key number `id`, AES_CM_128_HMAC_SHA1_80.
pub fn key(id: u64) -> Arc<SessionKeys> {
    key_of(id, Suite::AesCm128HmacSha1_80, Lifetime::MAX)
}

pub fn key_of(id: u64, suite: Suite, lifetime: Lifetime) -> Arc<SessionKeys> {
    let mut material = [0x5a; 46];
    material[..8].copy_from_slice(&id.to_be_bytes());
    let master =
        MasterKey::from_concatenated(suite, &material[..suite.key_len() + suite.salt_len()]).unwrap();
    Arc::new(SessionKeys::derive(KeyId(id), &master, Mki::NONE, lifetime).unwrap())
}

pub fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..40).map(|n| (sequence as u8) ^ n));
    packet
}

/// A receiver report about `about`.
pub fn rtcp(ssrc: u32, about: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&about.to_be_bytes());
    packet.extend_from_slice(&[0; 20]);
    packet
}

/// The SRTP side of a peer: sends one SSRC, receives another.
pub struct Peer {
    outbound: [Outbound; 1],
    inbound: [Inbound; 1],
}

impl Peer {
    /// Sends `ssrc` under `sends`, receives `hears` under `receives`.
    pub fn new(ssrc: u32, sends: &Arc<SessionKeys>, hears: u32, receives: &Arc<SessionKeys>) -> Self {
        Self {
            outbound: [Outbound::new(ssrc, Arc::clone(sends), 0)],
            inbound: [Inbound::new(hears, Arc::clone(receives), ReplayWindow::default(), 0)],
        }
    }

    /// The peer of a leg made by [`Harness::leg`].
    pub fn of(leg: u32, ssrc: u32, hears: u32) -> Self {
        let leg = u64::from(leg);
        Self::new(ssrc, &key(10 * leg), hears, &key(10 * leg + 1))
    }

    /// One whose stream has run for long: its next packet has this rollover counter.
    pub fn at_roc(mut self, roc: u32, keys: &Arc<SessionKeys>) -> Self {
        self.outbound = [Outbound::new(self.outbound[0].ssrc(), Arc::clone(keys), roc)];
        self
    }

    pub fn rekey_sending(&mut self, keys: &Arc<SessionKeys>) {
        self.outbound[0].switch(Arc::clone(keys));
    }

    pub fn install(&mut self, keys: &Arc<SessionKeys>) {
        self.inbound[0].install(Arc::clone(keys));
    }

    pub fn protect(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + MAX_OVERHEAD, 0);
        let mut jobs = [Job::new(0, kind(packet), &mut buffer, packet.len())];
        protect(&mut self.outbound[..], &mut jobs);
        jobs[0].result.unwrap();
        let len = jobs[0].len;
        buffer.truncate(len);
        buffer
    }

    pub fn unprotect(&mut self, packet: &[u8]) -> Result<Vec<u8>, Error> {
        let mut buffer = packet.to_vec();
        let mut jobs = [Job::new(0, kind(packet), &mut buffer, packet.len())];
        unprotect(&mut self.inbound[..], &mut jobs);
        jobs[0].result?;
        let len = jobs[0].len;
        buffer.truncate(len);
        Ok(buffer)
    }
}

fn kind(packet: &[u8]) -> Kind {
    if (192..224).contains(&packet[1]) { Kind::Rtcp } else { Kind::Rtp }
}

/// Something that looks like SRTP of this SSRC, with a wrong tag.
pub fn forged(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = rtp(ssrc, sequence);
    packet.extend_from_slice(&[0xee; 10]);
    packet
}
