use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sluice_ring::{ApplicationEnd, Geometry};

use super::*;
use crate::{Component, PoolConfig};

/// Whoever has more than there is room for leaves the others theirs, in each batch.
#[test]
fn rings_that_have_much_to_bring_share_a_batch() {
    let mut pool = Pool::new(PoolConfig { small: 64, large: 4 }).unwrap();
    let (mut rings, mut rx, mut counters) = (Rings::default(), FrameBatch::new(), IoCounters::default());
    let mut applications = Vec::new();
    for leg in 1..=3 {
        let kind = SocketType::SEQPACKET;
        let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let (end, offer) = GatewayEnd::create(Geometry::default(), near).unwrap();
        let mut application = ApplicationEnd::open(offer, far).unwrap();
        for _ in 0..if leg == 3 { 2 } else { 100 } {
            application.put(b"x").unwrap();
        }
        application.flush();
        applications.push(application);
        let token = SocketToken { leg, component: Component::Rtp };
        rings.attach(token, Box::new(Ring::new(end, Arc::default()))).unwrap();
    }
    let mut took = |rings: &mut Rings, room| {
        rings.receive(&mut pool, &mut rx, room, &mut counters);
        let mut took = [0; 3];
        for frame in rx.drain() {
            took[frame.ingress().unwrap().socket.unwrap().leg as usize - 1] += 1;
            pool.free(frame);
        }
        took
    };
    assert_eq!(took(&mut rings, 30), [10, 10, 2]);
    let next = took(&mut rings, 30);
    assert!(next[0] >= 10 && next[1] >= 10 && next[2] == 0, "{next:?}");
    drop(rings.detach(SocketToken { leg: 1, component: Component::Rtp }));
    assert_eq!(took(&mut rings, 30), [0, 30, 0], "who is alone waits for nobody");
}

/// The CPUs of all threads of that name.
fn cpus_of(name: &str) -> Vec<String> {
    let of = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        (field("Name:")? == name).then(|| field("Cpus_allowed_list:").map(str::to_owned))?
    };
    std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| of(task.ok()?)).collect()
}

/// The worker leaves waking and giving up to another thread, which is not bound to the worker's CPU.
#[test]
fn applications_are_woken_and_rings_are_given_up_elsewhere() {
    let all = rustix::thread::sched_getaffinity(Some(rustix::process::getpid())).unwrap();
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap();
    let mut one = rustix::thread::CpuSet::new();
    one.set(first);
    rustix::thread::sched_setaffinity(None, &one).unwrap();
    let mut pool = Pool::new(PoolConfig { small: 64, large: 4 }).unwrap();
    let (mut rings, mut counters) = (Rings::default(), IoCounters::default());
    let kind = SocketType::SEQPACKET;
    let (near, far) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let (end, offer) = GatewayEnd::create(Geometry::default(), near).unwrap();
    let mut application = ApplicationEnd::open(offer, far).unwrap();
    let token = SocketToken { leg: 1, component: Component::Rtp };
    rings.attach(token, Box::new(Ring::new(end, Arc::default()))).unwrap();
    let readable = |application: &ApplicationEnd| {
        let fds = [application.connection()];
        crate::poll::wait(&fds, std::time::Duration::from_secs(10));
    };
    for number in 0..50_u8 {
        assert!(application.arm().unwrap());
        let mut frame = pool.alloc(1).unwrap();
        frame.fill(&[number]);
        let (local, remote) = (ring_address(1), application_address(1));
        frame.set_egress(crate::TxMeta { socket: token, local, remote, next_hop: None, dscp: 0 });
        rings.send(&mut pool, frame, &mut counters);
        rings.flush();
        readable(&application);
        assert!(application.hear());
        assert_eq!(application.incoming().peek(), Ok(Some(1)));
        application.incoming().advance();
        application.incoming().release();
    }
    if all.count() > 1 {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let bound = || cpus_of("sluice-wake").iter().any(|cpus| *cpus == first.to_string());
        while bound() {
            assert!(std::time::Instant::now() < deadline, "it is bound to the worker's CPU");
        }
        assert!(!cpus_of("sluice-wake").is_empty());
    }
    rings.end(token);
    readable(&application);
    assert!(!application.hear(), "it is told of the end");
}
