//! The engine on a veth pair with XDP in the kernel. Needs root; says so where it is skipped.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sluice_datapath::{
    Command, DropReason, EarlyMedia, Engine, EngineConfig, Event, InterfaceConfig, Latching, LegSetup,
    LegStats, Mode, Protection, RouteOptions, WorkerCount,
};
use sluice_io::Path;
use sluice_srtp::ReplayWindow;

const PATIENCE: Duration = Duration::from_secs(10);

/// A veth pair between this network namespace and one of its own.
struct Veth {
    namespace: String,
    ours: String,
    net: u8,
}

fn ip(arguments: &str) -> bool {
    let status = Process::new("ip").args(arguments.split_whitespace()).status();
    status.is_ok_and(|status| status.success())
}

impl Veth {
    fn new(net: u8) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: network namespaces and XDP need root");
            return None;
        }
        let (namespace, ours) = (format!("sldp-{}-{net}", std::process::id()), format!("sldp{net}"));
        let veth = Self { namespace: namespace.clone(), ours: ours.clone(), net };
        for line in [
            format!("netns add {namespace}"),
            format!("link add {ours} type veth peer name peer netns {namespace}"),
            format!("addr add 10.77.{net}.1/24 dev {ours}"),
            format!("link set {ours} up"),
            format!("-n {namespace} addr add 10.77.{net}.2/24 dev peer"),
            format!("-n {namespace} link set peer up"),
        ] {
            assert!(ip(&line), "ip {line}");
        }
        Some(veth)
    }

    /// A socket in the other namespace.
    fn peer(&self) -> UdpSocket {
        let (namespace, address) = (self.namespace.clone(), format!("10.77.{}.2:0", self.net));
        let open = move || {
            let file = File::open(format!("/run/netns/{namespace}")).unwrap();
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                .unwrap();
            UdpSocket::bind(address).unwrap()
        };
        let socket = std::thread::spawn(open).join().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn bound(&self) -> Arc<UdpSocket> {
        let socket = UdpSocket::bind(format!("10.77.{}.1:0", self.net)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Arc::new(socket)
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.ours));
        ip(&format!("netns del {}", self.namespace));
    }
}

fn leg(id: u32, socket: &Arc<UdpSocket>, remote: SocketAddr) -> LegSetup {
    LegSetup {
        leg: id,
        local: socket.local_addr().unwrap(),
        rtp: Some(Arc::clone(socket)),
        rtcp: None,
        remote: Some(remote),
        rtcp_remote: None,
        latching: Latching::SignalledOnly,
        inbound: Protection::Plain,
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

fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[sequence as u8; 160]);
    packet
}

/// Both legs' peers are in the other namespace; what one sends, the other receives.
struct Call {
    engine: Engine,
    events: sluice_datapath::EventReceiver,
    sender: UdpSocket,
    receiver: UdpSocket,
    to: SocketAddr,
    stats: Arc<LegStats>,
    next: u16,
}

impl Call {
    fn new(veth: &Veth, datapath: Mode) -> Self {
        let (engine, events) = Engine::start(EngineConfig {
            interfaces: vec![InterfaceConfig::new(&veth.ours)],
            workers: WorkerCount::Exactly(2),
            datapath,
            small_chunks: 2048,
            large_chunks: 64,
            ..EngineConfig::default()
        })
        .unwrap();
        let (sender, receiver) = (veth.peer(), veth.peer());
        let (inward, outward) = (veth.bound(), veth.bound());
        let setup = leg(1, &inward, sender.local_addr().unwrap());
        let stats = Arc::clone(&setup.stats);
        for command in [
            Command::AddLeg(Box::new(setup)),
            Command::AddLeg(Box::new(leg(2, &outward, receiver.local_addr().unwrap()))),
            Command::AddRoute { route: 1, from: 1, to: 2, options: RouteOptions::default() },
        ] {
            engine.command(0, command).unwrap().wait(PATIENCE).unwrap().unwrap();
        }
        Self { engine, events, sender, receiver, to: inward.local_addr().unwrap(), stats, next: 0 }
    }

    /// Sends packets and waits for each at the other end.
    fn play(&mut self, packets: u16) {
        let mut buffer = [0; 2048];
        for _ in 0..packets {
            self.sender.send_to(&rtp(self.next), self.to).unwrap();
            self.next += 1;
            // The first waits for the second: probation.
            if self.next > 1 {
                for sequence in if self.next == 2 { 0..2 } else { self.next - 1..self.next } {
                    let (len, _) = self.receiver.recv_from(&mut buffer).unwrap();
                    assert_eq!(&buffer[..len], rtp(sequence));
                }
            }
        }
    }

    fn received_by(&self, path: Path) -> u64 {
        self.engine.stats().iter().map(|worker| worker.io.received[path as usize]).sum()
    }

    /// Nothing was lost anywhere, whichever worker received it.
    fn check(&self) {
        // A worker publishes what its I/O counted at the end of a round, just after the last packet left.
        std::thread::sleep(Duration::from_millis(100));
        for worker in self.engine.stats() {
            assert_eq!(worker.unaccounted(), 0);
            assert_eq!(worker.dropped.get(DropReason::HandoffFull), 0);
        }
    }
}

fn media_takes(net: u8, datapath: Mode, path: Path) {
    let Some(veth) = Veth::new(net) else { return };
    let mut call = Call::new(&veth, datapath);
    assert_eq!(call.engine.report().path, path, "{:?}", call.engine.report());
    call.play(200);
    call.check();
    assert_eq!(call.received_by(path), 200);
    assert_eq!(call.stats.snapshot().path, Some(path));
    let sent = |call: &Call| call.engine.stats()[0].io.sent[path as usize];
    let deadline = Instant::now() + PATIENCE;
    while sent(&call) == 0 {
        assert!(Instant::now() < deadline, "the next hop is never learnt: {:?}", call.engine.stats()[0].io);
        call.play(10);
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = sent(&call);
    call.play(100);
    call.check();
    assert_eq!(sent(&call) - before, 100, "what is sent goes past the kernel, too");
    let counters = call.engine.xdp_counters();
    let rtp = counters[0].1.iter().find(|(counter, _)| counter.name() == "rtp").unwrap().1;
    assert_eq!(rtp, u64::from(call.next));
    call.engine.shutdown();
}

#[test]
fn media_comes_in_by_the_drivers_xdp() {
    media_takes(1, Mode::Auto, Path::XdpNative);
}

#[test]
fn media_comes_in_by_generic_xdp() {
    media_takes(2, Mode::XdpGeneric, Path::XdpGeneric);
}

fn output(program: &str, arguments: &str) -> Option<String> {
    let output = Process::new(program).args(arguments.split_whitespace()).output().ok()?;
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The kernel's number of the link that holds the interface's XDP program; `None` without bpftool.
fn link_on(interface: &str) -> Option<String> {
    let shown = output("ip", &format!("link show dev {interface}"))?;
    let program = shown.split("prog/xdp id ").nth(1).expect("the program is attached");
    let program = program.split_whitespace().next().unwrap();
    let links = output("bpftool", "link show")?;
    let ours = format!("prog {program} ");
    let line = links.lines().find(|line| format!("{line} ").contains(&ours)).expect("it has a link");
    Some(line.split(':').next().unwrap().to_owned())
}

#[test]
fn a_program_that_is_detached_in_the_middle_of_a_call_is_reported_and_media_goes_on() {
    let Some(veth) = Veth::new(3) else { return };
    let mut call = Call::new(&veth, Mode::Auto);
    call.play(100);
    let Some(link) = link_on(&veth.ours) else {
        return eprintln!("SKIPPED: bpftool, which detaches the program, is not installed");
    };
    let detached = Process::new("bpftool").args(["link", "detach", "id", &link]).status();
    assert!(detached.unwrap().success());
    call.play(100);
    call.check();
    assert!(call.received_by(Path::IoUring) >= 100);
    let deadline = Instant::now() + PATIENCE;
    let mut told = (false, false);
    while told != (true, true) {
        match call.events.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap() {
            Event::DatapathDegraded { interface, .. } => told.0 |= interface == veth.ours,
            Event::PathChange { leg: 1, from: Path::XdpNative, to: Path::IoUring, .. } => told.1 = true,
            _ => {}
        }
        if !told.1 {
            call.play(1);
        }
    }
    assert_eq!(call.engine.report().path, Path::IoUring);
}
