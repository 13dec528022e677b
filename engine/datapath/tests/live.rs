//! The whole engine on loopback: real sockets, real io_uring, real threads.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_classifier::Verdict;
use sluice_datapath::{
    Command, CommandError, Direction, EarlyMedia, Engine, EngineConfig, EngineError, Event, EventReceiver,
    InterfaceConfig, Latching, LegSetup, LegStats, Mode, Protection, RocOnRekey, RouteOptions, WorkerCount,
};
use sluice_io::Component;
use sluice_srtp::{
    Contexts, Job, KeyId, Kind, Lifetime, MAX_OVERHEAD, MasterKey, Mki, Outbound, ReplayWindow,
};
use sluice_srtp::{SessionKeys, Suite, protect};

const PATIENCE: Duration = Duration::from_secs(10);

fn config() -> EngineConfig {
    EngineConfig {
        workers: WorkerCount::Exactly(1),
        datapath: Mode::IoUring,
        small_chunks: 256,
        large_chunks: 128,
        ..EngineConfig::default()
    }
}

fn bound() -> Arc<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    Arc::new(socket)
}

/// A peer that waits for what it expects.
fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn leg(id: u32, socket: &Arc<UdpSocket>, remote: SocketAddr, inbound: Protection) -> Box<LegSetup> {
    Box::new(LegSetup {
        leg: id,
        local: socket.local_addr().unwrap(),
        rtp: Some(Arc::clone(socket)),
        rtcp: None,
        remote: Some(remote),
        rtcp_remote: None,
        latching: Latching::SignalledOnly,
        inbound,
        outbound: Protection::Plain,
        window: ReplayWindow::default(),
        payload_types: None,
        max_streams: LegSetup::DEFAULT_MAX_STREAMS,
        roc_trials: 0,
        early_media: EarlyMedia::Drop,
        dscp: 0,
        sharing: None,
        stats: Arc::new(LegStats::new()),
    })
}

fn keys(id: u64) -> Arc<SessionKeys> {
    let suite = Suite::AesCm128HmacSha1_80;
    let master = MasterKey::new(suite, &[id as u8; 16], &[7; 14]).unwrap();
    Arc::new(SessionKeys::derive(KeyId(id), &master, Mki::NONE, Lifetime::MAX).unwrap())
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[sequence as u8; 160]);
    packet
}

fn protected(context: &mut [Outbound], packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, packet.len())];
    protect(context, &mut jobs);
    jobs[0].result.unwrap();
    let len = jobs[0].len;
    buffer.truncate(len);
    buffer
}

fn apply(engine: &Engine, command: Command) -> Result<(), CommandError> {
    engine.command(0, command).unwrap().wait(PATIENCE).expect("an answer")
}

fn wait_for(events: &EventReceiver, wanted: impl Fn(&Event) -> bool) -> Event {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let event =
            events.recv_timeout(deadline.saturating_duration_since(Instant::now())).expect("an event");
        if wanted(&event) {
            return event;
        }
    }
}

#[test]
fn srtp_comes_out_as_the_rtp_that_went_in() {
    let (engine, events) = Engine::start(config()).unwrap();
    let (sender, receiver, inward, outward) = (peer(), peer(), bound(), bound());
    let stats = Arc::new(LegStats::new());
    let mut setup = leg(1, &inward, sender.local_addr().unwrap(), Protection::Srtp);
    setup.stats = Arc::clone(&stats);
    apply(&engine, Command::AddLeg(setup)).unwrap();
    let setup = leg(2, &outward, receiver.local_addr().unwrap(), Protection::Plain);
    apply(&engine, Command::AddLeg(setup)).unwrap();
    let install = Command::InstallKeys {
        leg: 1,
        direction: Direction::Inbound,
        keys: vec![keys(1)],
        shared: false,
        roc: RocOnRekey::Keep,
        more_follow: false,
    };
    apply(&engine, install).unwrap();
    apply(&engine, Command::AddRoute { route: 1, from: 1, to: 2, options: RouteOptions::default() }).unwrap();

    let mut context = [Outbound::new(9, keys(1), 0)];
    assert!(Contexts::get(&context[..], 0).is_some());
    let mut buffer = [0; 2048];
    for sequence in 0..200 {
        let packet = protected(&mut context, &rtp(sequence));
        sender.send_to(&packet, inward.local_addr().unwrap()).unwrap();
        let (len, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&rtp(sequence)[..], outward.local_addr().unwrap()));
    }
    wait_for(&events, |event| matches!(event, Event::FirstMedia { leg: 1, ssrc: 9, .. }));
    assert_eq!(stats.snapshot().received_rtp.packets, 200);
    let worker = &engine.stats()[0];
    assert_eq!((worker.sent, worker.unaccounted()), (200, 0));
    assert!(worker.latency.p99().is_some());
    assert!(engine.report().workers[0].alive);
    engine.shutdown();
}

#[test]
fn negotiation_reaches_control_and_its_answer_the_peer() {
    let (engine, events) = Engine::start(config()).unwrap();
    let (peer, socket) = (peer(), bound());
    let setup = leg(1, &socket, peer.local_addr().unwrap(), Protection::Srtp);
    apply(&engine, Command::AddLeg(setup)).unwrap();
    let hello = [22, 0xfe, 0xfd, 0, 0];
    peer.send_to(&hello, socket.local_addr().unwrap()).unwrap();
    let event = wait_for(&events, |event| matches!(event, Event::Negotiation { .. }));
    let Event::Negotiation { leg: 1, component, remote, verdict: Verdict::Dtls, bytes } = event else {
        panic!("{event:?}")
    };
    assert_eq!((component, remote, &*bytes), (Component::Rtp, peer.local_addr().unwrap(), &hello[..]));
    apply(&engine, Command::SendDatagram { leg: 1, component, remote, bytes: vec![22, 1, 2, 3] }).unwrap();
    let mut buffer = [0; 64];
    let (len, _) = peer.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], [22, 1, 2, 3]);
}

#[test]
fn commands_that_cannot_be_applied_say_why() {
    let (engine, _events) = Engine::start(config()).unwrap();
    assert_eq!(apply(&engine, Command::RemoveLeg { leg: 7 }), Err(CommandError::UnknownLeg(7)));
    let ticket = engine.command(5, Command::RemoveLeg { leg: 7 }).unwrap();
    assert_eq!(ticket.wait(PATIENCE), Some(Err(CommandError::NoSuchWorker(5))));
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let interfaces = vec![InterfaceConfig::new("nosuch0")];
    for datapath in [Mode::Auto, Mode::IoUring, Mode::XdpGeneric] {
        let result = Engine::start(EngineConfig { interfaces: interfaces.clone(), datapath, ..config() });
        assert!(matches!(result, Err(EngineError::NoInterface { name }) if name == "nosuch0"));
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    for config in [
        EngineConfig { workers: WorkerCount::Exactly(0), ..config() },
        EngineConfig { datapath: Mode::XdpNative, interfaces: Vec::new(), ..config() },
        EngineConfig { interfaces: vec![InterfaceConfig::new("../etc")], ..config() },
        EngineConfig { large_chunks: 0, ..config() },
    ] {
        assert!(matches!(Engine::start(config), Err(EngineError::Config { .. })));
    }
}

#[test]
fn several_workers_start_and_stop_and_leave_nothing_behind() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Once before, for what libraries keep.
    drop(Engine::start(EngineConfig { workers: WorkerCount::Exactly(3), ..config() }).unwrap());
    let before = (threads(), descriptors());
    for _ in 0..3 {
        let (engine, _events) =
            Engine::start(EngineConfig { workers: WorkerCount::Exactly(3), ..config() }).unwrap();
        assert_eq!(engine.workers(), 3);
        engine.shutdown();
    }
    // Other tests of this file run beside this one and come and go.
    let after = (threads(), descriptors());
    assert!(after.0 <= before.0 + 8 && after.1 <= before.1 + 40, "{before:?} {after:?}");
}
