//! AF_XDP sockets on a veth pair, with the XDP program in front of them.

mod host;

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::{INTERFACE, Pair};
use sluice_classifier::{LegEntry, Policy};
use sluice_io::af_xdp::{XskMode, XskSocket};
use sluice_io::live::{LiveIo, Queue};
use sluice_io::netlink::Resolver;
use sluice_io::xdp::{Attached, Mode, Options};
use sluice_io::{
    Component, Frame, FrameBatch, IoCounters, NextHop, PacketIo, Path, Pool, PoolConfig, SocketToken,
    Trouble, TroubleKind, TxMeta,
};

const CONFIG: PoolConfig = PoolConfig { small: 1024, large: 64 };
const LEG: SocketToken = SocketToken { leg: 5, component: Component::Rtp };
const FAMILIES: [(&str, &str); 2] = [("10.77.0.1:0", "10.77.0.2:0"), ("[fd77::1]:0", "[fd77::2]:0")];

/// A worker's I/O with an AF_XDP socket on every queue, and one leg.
struct Bench {
    attached: Attached,
    pool: Pool,
    io: Option<LiveIo>,
    local: SocketAddr,
    path: Path,
}

impl Bench {
    fn new(mode: Mode, local: &str) -> Self {
        Self::on(INTERFACE, mode, local)
    }

    fn on(interface: &str, mode: Mode, local: &str) -> Self {
        let attached = Attached::attach(interface, &Options { mode, max_legs: 64, ..Options::default() })
            .unwrap_or_else(|error| panic!("{error}"));
        let mut pool = Pool::new(CONFIG).expect("memory");
        let mut io = LiveIo::new(&mut pool).unwrap_or_else(|error| panic!("{error}"));
        let socket = UdpSocket::bind(local).expect("a port");
        socket.set_nonblocking(true).expect("non-blocking");
        let local = socket.local_addr().expect("bound");
        io.register(LEG, Arc::new(socket)).expect("registered");
        let path = if mode == Mode::Generic { Path::XdpGeneric } else { Path::XdpNative };
        let mut bench = Self { attached, pool, io: Some(io), local, path };
        bench.open_queues();
        let entry = LegEntry::new(LEG.leg, Policy::new());
        let entry = if bench.takes_jumbo() { entry.gathered() } else { entry };
        bench.attached.maps().insert_leg(local, entry).expect("room");
        bench
    }

    /// All queues that there are, over one UMEM.
    fn open_queues(&mut self) {
        let (ifindex, generic) = (self.attached.ifindex(), self.path == Path::XdpGeneric);
        let io = self.io.as_mut().expect("open");
        let mut queue = 0;
        while let Ok(socket) = io.open_queue(&mut self.pool, Queue { ifindex, queue, generic }) {
            let mode = if generic { XskMode::Generic } else { XskMode::Copy };
            assert_eq!(socket.mode(), mode, "veth has no zero-copy");
            self.attached.maps().set_socket(queue, socket.as_fd()).expect("room in the map of sockets");
            queue += 1;
        }
        assert!(queue > 0, "no queue could be opened");
        io.fill(&mut self.pool);
    }

    /// Whether this kernel's sockets take packets in several chunks (Linux 6.6).
    fn takes_jumbo(&self) -> bool {
        self.io.as_ref().expect("open").xsks().iter().all(XskSocket::is_multi_buffer)
    }

    fn io(&mut self) -> (&mut Pool, &mut LiveIo) {
        (&mut self.pool, self.io.as_mut().expect("open"))
    }

    fn receive(&mut self, wanted: usize) -> Vec<Frame> {
        let (until, mut all) = (Instant::now() + Duration::from_secs(5), Vec::new());
        while all.len() < wanted && Instant::now() < until {
            let (pool, io) = self.io();
            let mut batch = FrameBatch::new();
            io.receive(pool, &mut batch);
            if batch.is_empty() {
                io.wait(Duration::from_millis(50));
            }
            all.extend(batch.drain());
        }
        all
    }

    fn meta(&self, remote: SocketAddr, next_hop: Option<NextHop>) -> TxMeta {
        TxMeta { socket: LEG, local: self.local, remote, next_hop, dscp: 46 }
    }

    fn send(&mut self, mut frame: Frame, meta: TxMeta) {
        frame.set_egress(meta);
        let mut batch = FrameBatch::new();
        assert!(batch.push(frame).is_ok());
        let (pool, io) = self.io();
        io.transmit(pool, &mut batch);
    }

    fn send_bytes(&mut self, payload: &[u8], meta: TxMeta) {
        let mut frame = self.pool.alloc(payload.len()).expect("a chunk");
        assert!(frame.fill(payload));
        self.send(frame, meta);
    }

    /// The next hop, which the kernel learns from a datagram of the peer's and one of ours.
    fn next_hop(&mut self, remote: SocketAddr) -> NextHop {
        let mut resolver = Resolver::open(vec![self.attached.ifindex()]).expect("netlink");
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            assert!(Instant::now() < until, "never resolved");
            if let Some(hop) = resolver.next_hop(self.local, remote).expect("an answer") {
                return hop;
            }
            self.send_bytes(b"who has?", self.meta(remote, None));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn sent(&mut self, path: Path) -> u64 {
        self.counters().sent[path as usize]
    }

    fn counters(&mut self) -> IoCounters {
        let (pool, io) = self.io();
        io.receive(pool, &mut FrameBatch::new());
        io.counters()
    }

    fn trouble(&mut self) -> Option<Trouble> {
        self.io().1.take_trouble()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(io) = self.io.take() {
            io.close(&mut self.pool);
        }
        if !std::thread::panicking() {
            assert_eq!(self.pool.available(), (CONFIG.small, CONFIG.large), "chunks are missing");
        }
    }
}

/// An RTP packet that can be told from others.
fn rtp(number: u16, len: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 1];
    packet[2..4].copy_from_slice(&number.to_be_bytes());
    packet.resize(12 + len, number as u8);
    packet
}

/// The peer's socket, which stays in its namespace.
fn peer(pair: &Pair, address: &str) -> (UdpSocket, SocketAddr) {
    let socket = Pair::inside(&pair.far, || UdpSocket::bind(address).expect("a port"));
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let remote = socket.local_addr().expect("bound");
    (socket, remote)
}

/// Waits until the peer hears this, whatever comes before.
fn hears(peer: &UdpSocket, payload: &[u8], from: SocketAddr) {
    let mut heard = vec![0; 65_536];
    loop {
        let (len, source) = peer.recv_from(&mut heard).expect("never arrived");
        if heard[..len] == *payload {
            assert_eq!(source, from);
            return;
        }
    }
}

fn in_and_out(test: &str, mode: Mode) {
    let Some(pair) = Pair::new(test, 1500) else { return };
    for (near, far) in FAMILIES {
        let (peer, remote) = peer(&pair, far);
        Pair::inside(&pair.near, || {
            let mut bench = Bench::new(mode, near);
            let hop = bench.next_hop(remote);
            for number in 0..3000_u16 {
                let packet = rtp(number, usize::from(number) % 1400);
                peer.send_to(&packet, bench.local).expect("sent");
                let mut frames = bench.receive(1);
                assert_eq!(frames.len(), 1, "packet {number}");
                let frame = frames.remove(0);
                assert_eq!(frame.payload(), packet);
                let ingress = *frame.ingress().expect("ingress");
                assert_eq!((ingress.local, ingress.remote), (bench.local, remote));
                assert_eq!((ingress.path, ingress.socket), (bench.path, None));
                // Back as it came: the same chunk, with new headers.
                let meta = bench.meta(remote, Some(hop));
                bench.send(frame, meta);
                hears(&peer, &packet, bench.local);
            }
            let path = bench.path;
            assert_eq!(bench.sent(path), 3000);
            let (_, io) = bench.io();
            let counters = io.counters();
            assert_eq!((counters.received[path as usize], counters.receive_malformed), (3000, 0));
            assert_eq!(counters.send_failed, 0);
        });
    }
}

#[test]
fn media_comes_in_and_goes_out_over_native_xdp() {
    in_and_out("media_comes_in_and_goes_out_over_native_xdp", Mode::Native);
}

#[test]
fn media_comes_in_and_goes_out_over_generic_xdp() {
    in_and_out("media_comes_in_and_goes_out_over_generic_xdp", Mode::Generic);
}

#[test]
fn a_vlan_tag_is_put_on_by_one_end_and_read_by_the_other() {
    let Some(pair) = Pair::new("a_vlan_tag_is_put_on_by_one_end", 1500) else { return };
    for (near, far) in FAMILIES {
        let (_, kernel_peer) = peer(&pair, far);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let pair = &pair;
            let far = scope.spawn(move || {
                Pair::inside(&pair.far, || {
                    let mut bench = Bench::on("sl.far", Mode::Native, far);
                    tell.send(bench.local).expect("somebody listens");
                    let frames = bench.receive(3);
                    let heard: Vec<_> = frames
                        .iter()
                        .map(|f| (*f.ingress().expect("ingress"), f.payload().to_vec()))
                        .collect();
                    for frame in frames {
                        bench.pool.free(frame);
                    }
                    heard
                })
            });
            Pair::inside(&pair.near, move || {
                let mut bench = Bench::new(Mode::Native, near);
                let hop = NextHop { vlan: Some(7), ..bench.next_hop(kernel_peer) };
                let remote = told.recv().expect("the far end");
                for number in 0..3 {
                    let meta = bench.meta(remote, Some(hop));
                    bench.send_bytes(&rtp(number, 160), meta);
                }
                let heard = far.join().expect("the far end");
                assert_eq!((heard.len(), bench.sent(Path::XdpNative)), (3, 3));
                for (number, (ingress, payload)) in heard.into_iter().enumerate() {
                    assert_eq!((ingress.path, ingress.remote), (Path::XdpNative, bench.local));
                    assert_eq!(payload, rtp(number as u16, 160));
                }
            });
        });
    }
}

#[test]
fn bursts_of_full_batches_are_all_sent() {
    let Some(pair) = Pair::new("bursts_of_full_batches_are_all_sent", 1500) else { return };
    let (peer, remote) = peer(&pair, FAMILIES[0].1);
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        let hop = bench.next_hop(remote);
        for round in 0..100_u16 {
            let mut batch = FrameBatch::new();
            while !batch.is_full() {
                let mut frame = bench.pool.alloc(200).expect("a chunk: those sent came back");
                assert!(frame.fill(&rtp(round, 160)));
                frame.set_egress(bench.meta(remote, Some(hop)));
                assert!(batch.push(frame).is_ok());
            }
            let (pool, io) = bench.io();
            io.transmit(pool, &mut batch);
            for _ in 0..64 {
                hears(&peer, &rtp(round, 160), bench.local);
            }
        }
        assert_eq!(bench.sent(Path::XdpNative), 6400);
    });
}

#[test]
fn what_does_not_fit_the_hop_or_a_chunk_goes_by_the_kernel_socket_which_fragments_nothing() {
    let Some(pair) = Pair::new("what_does_not_fit_the_link_or_a_chunk", 9000) else { return };
    let (peer, remote) = peer(&pair, FAMILIES[0].1);
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        let hop = bench.next_hop(remote);
        let before = bench.sent(Path::IoUring);
        let small = NextHop { mtu: 600, ..hop };
        for (len, hop) in [(560, small), (573, small)] {
            let packet = rtp(1, len);
            let meta = bench.meta(remote, Some(hop));
            bench.send_bytes(&packet, meta);
            hears(&peer, &packet, bench.local);
        }
        assert_eq!((bench.sent(Path::XdpNative), bench.sent(Path::IoUring) - before), (1, 1));
        let packet = rtp(1, 12_000);
        let meta = bench.meta(remote, Some(hop));
        bench.send_bytes(&packet, meta);
        let kind =
            TroubleKind::TooBig { head: [packet[0], packet[1]], length: packet.len(), mtu: Some(9000) };
        assert_eq!(bench.trouble(), Some(Trouble { socket: LEG, remote, kind }));
        assert_eq!((bench.trouble(), bench.counters().send_too_big), (None, 0), "it was told");
        // And inwards: jumbo media passes the program where the sockets do not take it, and is read from the kernel
        // socket.
        let entry = LegEntry::new(LEG.leg, Policy::new());
        let local = bench.local;
        bench.attached.maps().insert_leg(local, entry).expect("room");
        let packet = rtp(2, 8000);
        peer.send_to(&packet, bench.local).expect("sent");
        let frames = bench.receive(1);
        assert_eq!(frames[0].payload(), packet);
        assert_eq!(frames[0].ingress().expect("ingress").path, Path::IoUring);
        for frame in frames {
            bench.pool.free(frame);
        }
    });
}

fn jumbo_packets(test: &str, mode: Mode) {
    let Some(pair) = Pair::new(test, 9000) else { return };
    for (near, far) in FAMILIES {
        let (peer, remote) = peer(&pair, far);
        Pair::inside(&pair.near, || {
            let mut bench = Bench::new(mode, near);
            if !bench.takes_jumbo() {
                host::skip(test, "this kernel's AF_XDP sockets take one chunk per packet (before 6.6)");
                return;
            }
            let (hop, path) = (bench.next_hop(remote), bench.path);
            let ip = if remote.is_ipv4() { 20 } else { 40 };
            let largest = 9000 - ip - 8 - 12;
            // Where one chunk ends and the next begins, in either direction; what leaves no room for a tag; the MTU.
            let at = [160, 3500, 3584, 3840, 4096, 7680, 8192].into_iter();
            let lengths = at.flat_map(|at| at - 60..at + 4).filter(|len| *len <= largest).chain([largest]);
            let (mut number, mut large, mut split) = (0, 0, 0);
            for len in lengths {
                number += 1;
                let packet = rtp(number, len);
                peer.send_to(&packet, bench.local).expect("sent");
                let mut frames = bench.receive(1);
                assert_eq!(frames.len(), 1, "packet {number} of {len}");
                let frame = frames.remove(0);
                assert!(frame.payload() == packet, "packet {number} of {len} is another");
                assert_eq!(frame.ingress().expect("ingress").path, path, "packet {number} of {len}");
                assert!(frame.capacity() - frame.len() >= 148, "no room for a tag behind {len}");
                large += u64::from(!frame.is_small());
                split += u64::from(packet.len() + 14 + ip + 8 > 4096);
                let meta = bench.meta(remote, Some(hop));
                bench.send(frame, meta);
                hears(&peer, &packet, bench.local);
            }
            assert_eq!(bench.sent(path), u64::from(number), "each counts once");
            let counters = bench.io().1.counters();
            assert_eq!((counters.gathered, counters.split, counters.gather_failed), (large, split, 0));
            assert!(
                large > split && split > 100,
                "{large} of {number} were large, and {split} took several chunks"
            );
            assert_eq!(counters.received[path as usize], u64::from(number));
        });
    }
}

#[test]
fn jumbo_packets_come_and_go_in_several_chunks_over_native_xdp() {
    jumbo_packets("jumbo_packets_over_native_xdp", Mode::Native);
}

#[test]
fn jumbo_packets_come_and_go_in_several_chunks_over_generic_xdp() {
    jumbo_packets("jumbo_packets_over_generic_xdp", Mode::Generic);
}

#[test]
fn jumbo_packets_beyond_the_large_chunks_are_dropped_and_counted() {
    let Some(pair) = Pair::new("jumbo_packets_beyond_the_large_chunks", 9000) else { return };
    let (peer, _) = peer(&pair, FAMILIES[0].1);
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        if !bench.takes_jumbo() {
            host::skip("jumbo_packets_beyond", "this kernel's AF_XDP sockets take one chunk per packet");
            return;
        }
        let taken: Vec<_> = std::iter::from_fn(|| bench.pool.alloc_large()).collect();
        for number in 0..20 {
            peer.send_to(&rtp(number, 8000), bench.local).expect("sent");
        }
        peer.send_to(&rtp(20, 160), bench.local).expect("sent");
        let frames = bench.receive(1);
        assert_eq!(frames[0].payload(), rtp(20, 160));
        assert_eq!(bench.io().1.counters().gather_failed, 20);
        for frame in frames.into_iter().chain(taken) {
            bench.pool.free(frame);
        }
    });
}

#[test]
fn two_interfaces_of_a_worker_have_a_umem_each_over_the_same_memory() {
    let Some(pair) = Pair::new("two_interfaces_of_a_worker", 1500) else { return };
    let (near, far) = (&pair.near, &pair.far);
    host::ip(&format!("-n {near} link add sl.two type veth peer name sl.two.far netns {far}"));
    for (name, interface, host) in [(near, "sl.two", 1), (far, "sl.two.far", 2)] {
        host::ip(&format!("-n {name} addr add 10.78.0.{host}/24 dev {interface}"));
        host::ip(&format!("-n {name} link set {interface} up"));
    }
    let (one, _) = peer(&pair, FAMILIES[0].1);
    let (two, other_remote) = peer(&pair, "10.78.0.2:0");
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        let options = Options { mode: Mode::Native, max_legs: 64, ..Options::default() };
        let mut second = Attached::attach("sl.two", &options).unwrap_or_else(|error| panic!("{error}"));
        let (pool, io) = bench.io();
        let queue = Queue { ifindex: second.ifindex(), queue: 0, generic: false };
        let socket = io.open_queue(pool, queue).unwrap_or_else(|error| panic!("{error}"));
        second.maps().set_socket(0, socket.as_fd()).expect("room");
        io.fill(pool);
        let mut resolver = Resolver::open(vec![second.ifindex()]).expect("netlink");
        let source: SocketAddr = "10.78.0.1:5000".parse().expect("an address");
        let from = UdpSocket::bind(source).expect("a port");
        let until = Instant::now() + Duration::from_secs(5);
        let hop = loop {
            assert!(Instant::now() < until, "never resolved");
            if let Some(hop) = resolver.next_hop(source, other_remote).expect("an answer") {
                break hop;
            }
            from.send_to(b"who has?", other_remote).expect("sent");
            std::thread::sleep(Duration::from_millis(20));
        };
        // What comes by one interface goes by the other, in the same chunk, and back to the pool.
        for number in 0..3000 {
            one.send_to(&rtp(number, 160), bench.local).expect("sent");
            let mut frames = bench.receive(1);
            let meta = TxMeta { local: source, ..bench.meta(other_remote, Some(hop)) };
            bench.send(frames.remove(0), meta);
            hears(&two, &rtp(number, 160), source);
        }
        assert_eq!(bench.sent(Path::XdpNative), 3000);
    });
}

#[test]
fn many_queues_of_a_worker_share_half_of_its_chunks() {
    const QUEUES: u32 = 16;
    let Some(pair) = Pair::new("many_queues_of_a_worker", 1500) else { return };
    let near = &pair.near;
    let queues = format!("numrxqueues {QUEUES} numtxqueues {QUEUES}");
    host::ip(&format!("-n {near} link add sl.many {queues} type veth peer name sl.many.far {queues}"));
    host::ip(&format!("-n {near} link set sl.many up"));
    Pair::inside(near, || {
        let bench = Bench::on("sl.many", Mode::Native, "127.0.0.1:0");
        assert_eq!(bench.io.as_ref().expect("open").xsks().len(), QUEUES as usize);
        assert_eq!(bench.pool.available().0, CONFIG.small / 2, "the other half is for the pipeline");
    });
}

#[test]
fn what_is_not_media_comes_by_the_kernel_socket_beside_it() {
    let Some(pair) = Pair::new("what_is_not_media_comes_by_the_kernel_socket", 1500) else { return };
    let (peer, _) = peer(&pair, FAMILIES[0].1);
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for number in 0..20_u16 {
            peer.send_to(&rtp(number, 160), bench.local).expect("sent");
            peer.send_to(&stun, bench.local).expect("sent");
        }
        let frames = bench.receive(40);
        assert_eq!(frames.len(), 40);
        for frame in frames {
            let ingress = *frame.ingress().expect("ingress");
            let (path, socket) =
                if frame.payload() == stun { (Path::IoUring, Some(LEG)) } else { (Path::XdpNative, None) };
            assert_eq!((ingress.path, ingress.socket), (path, socket));
            bench.pool.free(frame);
        }
    });
}

#[test]
fn a_flood_leaves_half_the_chunks_to_the_pipeline() {
    let Some(pair) = Pair::new("a_flood_leaves_half_the_chunks", 1500) else { return };
    let (peer, _) = peer(&pair, FAMILIES[0].1);
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        for number in 0..5000_u16 {
            peer.send_to(&rtp(number, 160), bench.local).expect("sent");
            if number % 50 == 0 {
                let (pool, io) = bench.io();
                let mut batch = FrameBatch::new();
                io.receive(pool, &mut batch);
                batch.free(pool);
                assert!(pool.available().0 >= CONFIG.small / 2, "{:?}", pool.available());
            }
        }
    });
}

#[test]
fn waiting_ends_by_media_and_not_before() {
    let Some(pair) = Pair::new("waiting_ends_by_media_and_not_before", 1500) else { return };
    let (peer, _) = peer(&pair, FAMILIES[0].1);
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        let local = bench.local;
        let wait = |bench: &mut Bench| {
            let (pool, io) = bench.io();
            let mut batch = FrameBatch::new();
            io.receive(pool, &mut batch);
            batch.free(pool);
            let since = Instant::now();
            io.wait(Duration::from_millis(500));
            since.elapsed()
        };
        assert!(wait(&mut bench) >= Duration::from_millis(490));
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            peer.send_to(&rtp(1, 160), local).expect("sent");
        });
        assert!(wait(&mut bench) < Duration::from_millis(400));
        sender.join().expect("sent");
        for frame in bench.receive(1) {
            bench.pool.free(frame);
        }
    });
}

#[test]
fn an_interface_that_goes_takes_its_sockets_and_nothing_else() {
    let Some(pair) = Pair::new("an_interface_that_goes_takes_its_sockets", 1500) else { return };
    let (_, remote) = peer(&pair, FAMILIES[0].1);
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        let hop = bench.next_hop(remote);
        let other = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let local = other.local_addr().expect("bound");
        let token = SocketToken { leg: 6, component: Component::Rtp };
        bench.io().1.register(token, Arc::new(other)).expect("registered");
        pair.remove_link();
        // Each send takes one of them; the rest goes by the kernel.
        for _ in 0..=bench.io().1.xsks().len() {
            let meta = bench.meta(remote, Some(hop));
            bench.send_bytes(&rtp(1, 160), meta);
        }
        assert!(bench.io().1.xsks().is_empty(), "the sockets are still there");
        assert!(bench.io().1.counters().send_failed >= 1);
        // Waiting must not turn into spinning, and kernel sockets go on.
        let since = Instant::now();
        for _ in 0..4 {
            let (pool, io) = bench.io();
            let mut batch = FrameBatch::new();
            io.receive(pool, &mut batch);
            assert!(batch.is_empty(), "nobody sends");
            io.wait(Duration::from_millis(300));
        }
        assert!(since.elapsed() >= Duration::from_millis(290), "{:?}", since.elapsed());
        let speaker = UdpSocket::bind("127.0.0.1:0").expect("a port");
        speaker.send_to(b"still there?", local).expect("sent");
        let frames = bench.receive(1);
        assert_eq!(frames[0].payload(), b"still there?");
        for frame in frames {
            bench.pool.free(frame);
        }
    });
}

#[test]
fn a_queue_that_is_not_there_or_taken_is_refused_with_the_reason() {
    let Some(pair) = Pair::new("a_queue_that_is_not_there_or_taken", 1500) else { return };
    Pair::inside(&pair.near, || {
        let mut bench = Bench::new(Mode::Native, FAMILIES[0].0);
        let ifindex = bench.attached.ifindex();
        let mut pool = Pool::new(CONFIG).expect("memory");
        let mut second = LiveIo::new(&mut pool).unwrap_or_else(|error| panic!("{error}"));
        for (queue, reason) in [(0, "taken"), (9999, "no queue")] {
            let queue = Queue { ifindex, queue, generic: false };
            let error = second.open_queue(&mut pool, queue).err().expect("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
        second.close(&mut pool);
        assert_eq!(pool.outstanding(), 0);
        // Once the first worker has closed its sockets, the queue can be had, if with some delay.
        let io = bench.io.take().expect("open");
        io.close(&mut bench.pool);
        let mut second = LiveIo::new(&mut pool).unwrap_or_else(|error| panic!("{error}"));
        let again = second.open_queue(&mut pool, Queue { ifindex, queue: 0, generic: false });
        assert!(again.is_ok());
        second.close(&mut pool);
        assert_eq!(pool.outstanding(), 0);
    });
}
