//! Kernel sockets through io_uring, on loopback: no privilege needed.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_io::live::LiveIo;
use sluice_io::{
    Component, Frame, FrameBatch, IoCounters, PacketIo, Path, Pool, PoolConfig, SocketToken, Trouble,
    TroubleKind, TxMeta, Unreachable,
};

const CONFIG: PoolConfig = PoolConfig { small: 64, large: 64 };

/// A worker's I/O. At the end no chunk may be missing.
struct Bench {
    pool: Pool,
    io: Option<LiveIo>,
}

impl Bench {
    fn new() -> Self {
        let mut pool = Pool::new(CONFIG).expect("memory");
        let io = LiveIo::new(&mut pool).unwrap_or_else(|error| panic!("{error}"));
        Self { pool, io: Some(io) }
    }

    fn io(&mut self) -> &mut LiveIo {
        self.io.as_mut().expect("open")
    }

    fn counters(&mut self) -> IoCounters {
        self.io().counters()
    }

    /// Registers a new socket on an address.
    fn open(&mut self, leg: u32, address: &str) -> SocketAddr {
        let socket = UdpSocket::bind(address).expect("a port");
        socket.set_nonblocking(true).expect("non-blocking");
        let local = socket.local_addr().expect("bound");
        self.io().register(token(leg), Arc::new(socket)).expect("registered");
        local
    }

    /// Whatever arrives until `wanted` frames have, or for a while.
    fn receive(&mut self, wanted: usize) -> Vec<Frame> {
        let (until, mut all) = (Instant::now() + Duration::from_secs(5), Vec::new());
        while all.len() < wanted && Instant::now() < until {
            let (pool, io) = (&mut self.pool, self.io.as_mut().expect("open"));
            let mut batch = FrameBatch::new();
            io.receive(pool, &mut batch);
            if batch.is_empty() {
                io.wait(Duration::from_millis(20));
            }
            all.extend(batch.drain());
        }
        all
    }

    /// The payloads, and the frames back to the pool.
    fn payloads(&mut self, wanted: usize) -> Vec<Vec<u8>> {
        let (until, mut payloads) = (Instant::now() + Duration::from_secs(5), Vec::new());
        while payloads.len() < wanted && Instant::now() < until {
            for frame in self.receive(1) {
                payloads.push(frame.payload().to_vec());
                self.pool.free(frame);
            }
        }
        payloads
    }

    fn send(&mut self, leg: u32, local: SocketAddr, remote: SocketAddr, dscp: u8, payload: &[u8]) {
        let mut frame = self.pool.alloc(payload.len()).expect("a chunk");
        assert!(frame.fill(payload));
        frame.set_egress(TxMeta { socket: token(leg), local, remote, next_hop: None, dscp });
        let mut batch = FrameBatch::new();
        assert!(batch.push(frame).is_ok());
        let (pool, io) = (&mut self.pool, self.io.as_mut().expect("open"));
        io.transmit(pool, &mut batch);
        assert!(batch.is_empty());
    }

    /// Turns until the condition holds.
    fn until(&mut self, condition: impl Fn(&IoCounters) -> bool) {
        let until = Instant::now() + Duration::from_secs(5);
        while !condition(&self.counters()) {
            assert!(Instant::now() < until, "never: {:?}", self.counters());
            self.receive(0);
            let (pool, io) = (&mut self.pool, self.io.as_mut().expect("open"));
            let mut batch = FrameBatch::new();
            io.receive(pool, &mut batch);
            batch.free(pool);
            io.wait(Duration::from_millis(5));
        }
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

const fn token(leg: u32) -> SocketToken {
    SocketToken { leg, component: Component::Rtp }
}

/// Held by who opens very many sockets: two at a time are more than a process may have.
fn many_sockets() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Raises the limit of open files; says so if that is not enough.
fn may_open(files: u32) -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).expect("up to the hard limit");
    let enough = limit.maximum.is_none_or(|most| most >= u64::from(files));
    if !enough {
        eprintln!("SKIP: {limit:?} is too few descriptors for {files}");
    }
    enough
}

fn peer(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let local = socket.local_addr().expect("bound");
    (socket, local)
}

#[test]
fn datagrams_come_in_and_go_out_in_both_families_and_name_their_ends() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut bench = Bench::new();
        let local = bench.open(7, address);
        let (peer, remote) = peer(address);
        for payload in [&b"media"[..], b"", &[9; 1400]] {
            peer.send_to(payload, local).expect("sent");
            let frames = bench.receive(1);
            assert_eq!(frames.len(), 1);
            let ingress = *frames[0].ingress().expect("ingress");
            assert_eq!((ingress.local, ingress.remote), (local, remote));
            assert_eq!((ingress.socket, ingress.path), (Some(token(7)), Path::IoUring));
            assert_eq!(frames[0].payload(), payload);
            for frame in frames {
                bench.pool.free(frame);
            }
            bench.send(7, local, remote, 46, payload);
            let mut heard = [0; 2000];
            let (len, from) = peer.recv_from(&mut heard).expect("an answer");
            assert_eq!((&heard[..len], from), (payload, local));
        }
        let counters = bench.counters();
        assert_eq!((counters.received[2], counters.sent[2], counters.send_failed), (3, 3, 0));
    }
}

#[test]
fn the_code_point_is_on_the_wire() {
    for (address, level, ask, kind) in [
        ("127.0.0.1:0", libc::IPPROTO_IP, libc::IP_RECVTOS, libc::IP_TOS),
        ("[::1]:0", libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, libc::IPV6_TCLASS),
    ] {
        let mut bench = Bench::new();
        let local = bench.open(1, address);
        let (peer, remote) = peer(address);
        wire::ask_for(&peer, level, ask);
        bench.send(1, local, remote, 46, b"voice");
        assert_eq!(wire::class_of_next(&peer, level, kind), Some(46 << 2));
        bench.send(1, local, remote, 0, b"data");
        assert_eq!(wire::class_of_next(&peer, level, kind), Some(0));
    }
}

#[test]
fn many_sockets_are_told_apart() {
    let mut bench = Bench::new();
    let locals: Vec<SocketAddr> = (0..300).map(|leg| bench.open(leg, "127.0.0.1:0")).collect();
    let (peer, _) = peer("127.0.0.1:0");
    for round in 0..3_u32 {
        // Less at a time than there are buffers.
        for chunk in (0..300_u32).collect::<Vec<_>>().chunks(25) {
            for leg in chunk {
                peer.send_to(&(leg + round).to_be_bytes(), locals[*leg as usize]).expect("sent");
            }
            let frames = bench.receive(chunk.len());
            assert_eq!(frames.len(), chunk.len());
            for frame in frames {
                let leg = frame.ingress().and_then(|ingress| ingress.socket).expect("a socket").leg;
                assert_eq!(frame.payload(), (leg + round).to_be_bytes());
                bench.pool.free(frame);
            }
        }
    }
}

#[test]
fn ten_thousand_sockets_are_registered_and_let_go_of_without_looking_at_all_of_them() {
    const SOCKETS: u32 = 10_000;
    let _alone = many_sockets();
    if !may_open(SOCKETS + 100) {
        return;
    }
    let mut bench = Bench::new();
    let (socket, from) = peer("127.0.0.1:0");
    let locals: Vec<_> = (0..SOCKETS).map(|leg| bench.open(leg, "127.0.0.1:0")).collect();
    for leg in (0..SOCKETS).step_by(487) {
        socket.send_to(&leg.to_be_bytes(), locals[leg as usize]).unwrap();
        let frame = bench.receive(1).pop().expect("a datagram");
        assert_eq!(frame.payload(), leg.to_be_bytes());
        assert_eq!(frame.ingress().map(|ingress| ingress.socket), Some(Some(token(leg))));
        bench.pool.free(frame);
        bench.send(leg, locals[leg as usize], from, 0, b"back");
        assert_eq!(socket.recv_from(&mut [0; 16]).unwrap(), (4, locals[leg as usize]));
    }
    // A third of them go, in another order, and others take their places.
    for leg in (0..SOCKETS).rev().filter(|leg| leg % 3 == 0) {
        bench.io().unregister(token(leg));
    }
    assert!(bench.receive(0).is_empty());
    for leg in (0..SOCKETS).filter(|leg| leg % 3 == 0) {
        let local = bench.open(leg, "127.0.0.1:0");
        if leg < 60 {
            socket.send_to(&[1], local).unwrap();
            let frame = bench.receive(1).pop().expect("a datagram");
            assert_eq!(frame.ingress().map(|ingress| ingress.socket), Some(Some(token(leg))));
            bench.pool.free(frame);
        }
    }
}

#[test]
fn a_burst_beyond_the_buffers_is_received_in_turns_and_nothing_is_lost() {
    let mut bench = Bench::new();
    let local = bench.open(1, "127.0.0.1:0");
    let (peer, _) = peer("127.0.0.1:0");
    for round in 0..5_u32 {
        let sent: HashSet<Vec<u8>> =
            (0..150_u32).map(|i| (round * 1000 + i).to_be_bytes().to_vec()).collect();
        for payload in &sent {
            peer.send_to(payload, local).expect("sent");
        }
        let heard: HashSet<Vec<u8>> = bench.payloads(150).into_iter().collect();
        assert_eq!(heard, sent);
    }
}

#[test]
fn a_pool_without_chunks_pauses_receiving_and_goes_on_afterwards() {
    let mut bench = Bench::new();
    let local = bench.open(1, "127.0.0.1:0");
    let (peer, _) = peer("127.0.0.1:0");
    for i in 0..100_u8 {
        peer.send_to(&[i], local).expect("sent");
    }
    // Kept instead of freed: all large chunks end up here.
    let kept = bench.receive(CONFIG.large as usize);
    assert_eq!(kept.len(), CONFIG.large as usize);
    bench.until(|counters| counters.pool_empty > 0);
    for frame in kept {
        bench.pool.free(frame);
    }
    assert_eq!(bench.payloads(36).len(), 36);
}

#[test]
fn jumbo_datagrams_pass_and_what_no_chunk_holds_is_counted() {
    let mut bench = Bench::new();
    let local = bench.open(1, "127.0.0.1:0");
    let (peer, remote) = peer("127.0.0.1:0");
    for len in [1472, 4000, 8972, 9600, 15_900] {
        let payload = vec![len as u8; len];
        peer.send_to(&payload, local).expect("sent");
        assert_eq!(bench.payloads(1), std::slice::from_ref(&payload));
        bench.send(1, local, remote, 0, &payload);
        let mut heard = vec![0; 65_536];
        let (len, _) = peer.recv_from(&mut heard).expect("an answer");
        assert_eq!(heard[..len], payload);
    }
    for len in [16_300, 65_507] {
        peer.send_to(&vec![1; len], local).expect("sent");
    }
    bench.until(|counters| counters.receive_truncated == 2);
    peer.send_to(b"after", local).expect("sent");
    assert_eq!(bench.payloads(1), [b"after".to_vec()]);
    assert_eq!(bench.counters().received[2], 6);
}

#[test]
fn nobody_listening_is_counted_and_the_socket_goes_on() {
    let mut bench = Bench::new();
    let local = bench.open(1, "127.0.0.1:0");
    let (peer, remote) = peer("127.0.0.1:0");
    let (gone, nobody) = self::peer("127.0.0.1:0");
    drop(gone);
    for _ in 0..3 {
        bench.send(1, local, nobody, 0, b"hello?");
        bench.receive(0);
    }
    bench.until(|counters| counters.socket_errors >= 3);
    let why = Unreachable::Port;
    let kind = TroubleKind::Unreachable { why, by: Some(local.ip()) };
    for _ in 0..3 {
        let told = bench.io().take_trouble();
        assert_eq!(told, Some(Trouble { socket: token(1), remote: nobody, kind }));
    }
    peer.send_to(b"still here", local).expect("sent");
    assert_eq!(bench.payloads(1), [b"still here".to_vec()]);
    bench.send(1, local, remote, 0, b"so am I");
    assert_eq!(peer.recv(&mut [0; 20]).expect("an answer"), 7);
}

#[test]
fn what_icmp_tells_of_one_peer_costs_the_others_no_packet() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut bench = Bench::new();
        let local = bench.open(1, address);
        let (peer, remote) = peer(address);
        let (gone, nobody) = self::peer(address);
        drop(gone);
        // The kernel has the next send of the socket fail for what became of the one before.
        for number in 0..500_u32 {
            bench.send(1, local, nobody, 0, b"hello?");
            bench.send(1, local, remote, 0, &number.to_be_bytes());
            let mut heard = [0; 8];
            assert_eq!(peer.recv(&mut heard).expect("an answer"), 4);
            assert_eq!(heard[..4], number.to_be_bytes());
            while bench.io().take_trouble().is_some() {}
        }
        let counters = bench.counters();
        assert_eq!((counters.send_failed, counters.sent[Path::IoUring as usize]), (0, 1000));
        assert!(counters.socket_errors > 100, "{counters:?}");
    }
}

#[test]
fn a_burst_of_icmp_costs_a_turn_no_more_than_so_many_calls() {
    const MOST: u64 = 256;
    let mut bench = Bench::new();
    let (gone, nobody) = peer("127.0.0.1:0");
    drop(gone);
    let mut sockets = Vec::new();
    for leg in 0..16 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("non-blocking");
        sockets.push(socket.try_clone().expect("a descriptor"));
        bench.io().register(token(leg), Arc::new(socket)).expect("registered");
    }
    // Of two sends one fails, for what became of the one before; the last does not.
    for socket in &sockets {
        for _ in 0..201 {
            let _ = socket.send_to(b"hello?", nobody);
        }
    }
    let (mut total, mut idle) = (0, 0);
    while idle < 3 {
        let (pool, io) = (&mut bench.pool, bench.io.as_mut().expect("open"));
        io.receive(pool, &mut FrameBatch::new());
        let taken = bench.counters().socket_errors - total;
        assert!(taken <= MOST, "{taken} in one turn");
        total += taken;
        idle = if taken == 0 { idle + 1 } else { 0 };
    }
    assert!(total > 2 * MOST, "{total}");
}

#[test]
fn a_burst_to_ten_thousand_sockets_that_exhausts_the_buffers_is_received_in_turns() {
    const SOCKETS: u32 = 10_000;
    const EACH: u32 = 5;
    let _alone = many_sockets();
    if !may_open(SOCKETS + 100) {
        return;
    }
    let mut bench = Bench::new();
    let (peer, _) = peer("127.0.0.1:0");
    let locals: Vec<_> = (0..SOCKETS).map(|leg| bench.open(leg, "127.0.0.1:0")).collect();
    // Far more than the 32 buffers, some of each socket: those of one turn do not fit.
    for (leg, local) in locals.iter().enumerate() {
        for number in 0..EACH {
            peer.send_to(&(leg as u32 * EACH + number).to_be_bytes(), local).expect("sent");
        }
    }
    let began = Instant::now();
    let mut heard = Vec::new();
    while heard.len() < (SOCKETS * EACH) as usize && began.elapsed() < Duration::from_mins(1) {
        heard.extend(bench.payloads(1000));
    }
    eprintln!("{} datagrams in {:?}", heard.len(), began.elapsed());
    assert_eq!(heard.len(), (SOCKETS * EACH) as usize);
    let sent: HashSet<_> = (0..SOCKETS * EACH).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(heard.into_iter().collect::<HashSet<_>>(), sent);
    let counters = bench.counters();
    assert!(counters.buffers_empty > 100, "{counters:?}");
    assert_eq!((counters.socket_errors, counters.receive_truncated), (0, 0));
}

#[test]
fn a_socket_unregistered_under_traffic_is_silent_closed_and_may_come_back() {
    let mut bench = Bench::new();
    let stays = bench.open(1, "127.0.0.1:0");
    let (peer, _) = peer("127.0.0.1:0");
    for _ in 0..50 {
        let local = bench.open(2, "127.0.0.1:0");
        for i in 0..10 {
            peer.send_to(&[i], local).expect("sent");
            peer.send_to(&[100 + i], stays).expect("sent");
        }
        bench.io().unregister(token(2));
        bench.io().unregister(token(2));
        let heard = bench.payloads(10);
        assert_eq!(heard.iter().filter(|payload| payload[0] >= 100).count(), 10);
        let until = Instant::now() + Duration::from_secs(5);
        // The port is free again once the kernel has let go of the socket.
        while UdpSocket::bind(local).is_err() {
            assert!(Instant::now() < until, "never closed");
            bench.receive(0);
            let (pool, io) = (&mut bench.pool, bench.io.as_mut().expect("open"));
            io.receive(pool, &mut FrameBatch::new());
        }
    }
}

#[test]
fn sends_without_a_socket_or_an_address_are_counted_and_freed() {
    let mut bench = Bench::new();
    let local = bench.open(1, "127.0.0.1:0");
    bench.send(9, local, local, 0, b"from nowhere");
    bench.send(1, local, "[::1]:9".parse().expect("an address"), 0, b"wrong family");
    bench.until(|counters| counters.send_failed == 2);
    let frame = bench.pool.alloc(10).expect("a chunk");
    let mut batch = FrameBatch::new();
    assert!(batch.push(frame).is_ok());
    let (pool, io) = (&mut bench.pool, bench.io.as_mut().expect("open"));
    io.transmit(pool, &mut batch);
    assert_eq!(bench.counters().send_failed, 3);
}

#[test]
fn a_full_load_of_sends_is_delivered() {
    let mut bench = Bench::new();
    let local = bench.open(1, "127.0.0.1:0");
    let (peer, remote) = peer("127.0.0.1:0");
    for round in 0..100_u32 {
        let mut batch = FrameBatch::new();
        while !batch.is_full()
            && let Some(mut frame) = bench.pool.alloc_small()
        {
            assert!(frame.fill(&round.to_be_bytes()));
            frame.set_egress(TxMeta { socket: token(1), local, remote, next_hop: None, dscp: 0 });
            assert!(batch.push(frame).is_ok());
        }
        let queued = batch.len();
        assert_eq!(queued, 64, "every chunk is back");
        let (pool, io) = (&mut bench.pool, bench.io.as_mut().expect("open"));
        io.transmit(pool, &mut batch);
        for _ in 0..queued {
            let mut heard = [0; 4];
            peer.recv(&mut heard).expect("an answer");
            assert_eq!(heard, round.to_be_bytes());
        }
    }
}

#[test]
fn waiting_ends_by_a_datagram_a_waker_or_the_time() {
    let mut bench = Bench::new();
    let local = bench.open(1, "127.0.0.1:0");
    let (peer, _) = peer("127.0.0.1:0");
    let wait = |bench: &mut Bench| {
        let (pool, io) = (&mut bench.pool, bench.io.as_mut().expect("open"));
        io.receive(pool, &mut FrameBatch::new());
        let since = Instant::now();
        io.wait(Duration::from_millis(400));
        since.elapsed()
    };
    assert!(wait(&mut bench) >= Duration::from_millis(390));
    let waker = bench.io().waker();
    waker.wake();
    assert!(wait(&mut bench) < Duration::from_millis(300), "woken before");
    assert!(wait(&mut bench) >= Duration::from_millis(390), "a wake-up counts once");
    let sender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        peer.send_to(b"x", local).expect("sent");
    });
    assert!(wait(&mut bench) < Duration::from_millis(300), "woken by a datagram");
    sender.join().expect("sent");
    assert_eq!(bench.payloads(1).len(), 1);
}

#[test]
fn closing_in_the_middle_of_traffic_gives_every_chunk_back() {
    for _ in 0..20 {
        let mut bench = Bench::new();
        let local = bench.open(1, "127.0.0.1:0");
        let (peer, remote) = peer("127.0.0.1:0");
        let sender = std::thread::spawn(move || {
            for _ in 0..500 {
                // The socket may be closed by now.
                let _ = peer.send_to(&[1; 1000], local);
            }
        });
        for frame in bench.receive(20) {
            bench.pool.free(frame);
        }
        for _ in 0..10 {
            bench.send(1, local, remote, 0, b"last words");
        }
        // Dropped here, which closes and counts.
        drop(bench);
        sender.join().expect("sent");
    }
}

#[test]
fn a_pool_too_small_to_receive_into_is_refused_with_advice() {
    let mut pool = Pool::new(PoolConfig { small: 8, large: 8 }).expect("memory");
    let error = LiveIo::new(&mut pool).err().expect("refused").to_string();
    assert!(error.contains("at least 32"), "{error}");
}

/// The traffic class as the receiver sees it.
mod wire {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    pub(super) fn ask_for(socket: &UdpSocket, level: i32, option: i32) {
        let on: i32 = 1;
        // SAFETY: the option's value is an int that lives through the call.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as u32,
            )
        };
        assert_eq!(set, 0);
    }

    pub(super) fn class_of_next(socket: &UdpSocket, level: i32, kind: i32) -> Option<u8> {
        let (mut payload, mut control) = ([0_u8; 100], [0_u64; 16]);
        let mut vector = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
        // SAFETY: all-zero is a valid msghdr; every pointer put in points to a local that lives through the
        // calls, and the control messages are walked by the C library's own macros.
        unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            (header.msg_iov, header.msg_iovlen) = (&raw mut vector, 1);
            (header.msg_control, header.msg_controllen) =
                (control.as_mut_ptr().cast(), size_of_val(&control));
            assert!(libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) >= 0);
            let mut message = libc::CMSG_FIRSTHDR(&raw const header);
            while let Some(found) = message.as_ref() {
                if (found.cmsg_level, found.cmsg_type) == (level, kind) {
                    return Some(*libc::CMSG_DATA(message));
                }
                message = libc::CMSG_NXTHDR(&raw const header, message);
            }
        }
        None
    }
}
