//! Both ends over real shared memory, and how an application gets there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sluice_ring::{
    ApplicationEnd, GatewayEnd, Geometry, Mapping, Offer, OpenError, PutError, Refusal, Request, confirm,
    connect, listen, receive_mapped, receive_request, refuse, refuse_descriptors, send_offer,
};

fn ends(geometry: Geometry) -> (GatewayEnd, ApplicationEnd) {
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (gateway, offer) = GatewayEnd::create(geometry, near).unwrap();
    (gateway, ApplicationEnd::open(offer, far).unwrap())
}

fn readable(fd: impl AsFd, limit: Duration) -> bool {
    let timeout = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
}

macro_rules! take {
    ($end:expr) => {{
        let incoming = $end.incoming();
        incoming.peek().unwrap().map(|length| {
            let mut packet = vec![0; length];
            incoming.read(&mut packet);
            incoming.advance();
            incoming.release();
            packet
        })
    }};
}

#[test]
fn packets_go_both_ways_and_wake_who_sleeps() {
    let (mut gateway, mut application) = ends(Geometry::default());
    assert!(application.arm().unwrap());
    gateway.put(b"down").unwrap();
    gateway.flush();
    assert!(readable(application.connection(), Duration::from_secs(5)));
    assert!(application.hear() && !readable(application.connection(), Duration::ZERO));
    assert_eq!(take!(application).unwrap(), b"down");
    assert!(gateway.incoming().arm());
    application.put(b"up").unwrap();
    application.flush();
    assert!(readable(gateway.doorbell(), Duration::from_secs(5)));
    assert_eq!(take!(gateway).unwrap(), b"up");
    assert_eq!(take!(gateway), None);
}

#[test]
fn an_application_that_does_nothing_costs_the_gateway_what_is_too_much_and_no_time() {
    let (mut gateway, application) = ends(Geometry::new(4, 64).unwrap());
    let begun = Instant::now();
    let mut full = 0;
    // More wake-ups than a socket buffer holds, were they not spared.
    for _ in 0..10_000 {
        full += u32::from(gateway.put(b"x") == Err(PutError::Full));
        gateway.flush();
    }
    assert_eq!(full, 10_000 - 4);
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(application);
    let _ = gateway.put(b"x");
    gateway.flush();
}

#[test]
fn each_end_notices_that_the_other_is_gone() {
    let (gateway, application) = ends(Geometry::default());
    assert!(application.hear());
    drop(gateway);
    assert!(readable(application.connection(), Duration::ZERO));
    assert!(!application.hear());
}

/// Two threads that sleep whenever they find nothing: every packet comes through once, in order and as it was.
#[test]
fn nothing_is_lost_between_threads_that_sleep() {
    const PACKETS: u32 = 200_000;
    let (mut gateway, mut application) = ends(Geometry::new(64, 256).unwrap());
    let thread = thread::spawn(move || {
        let mut expected = 0;
        while expected < PACKETS {
            let Some(packet) = take!(application) else {
                if application.arm().unwrap() {
                    assert!(readable(application.connection(), Duration::from_secs(20)), "a wake-up is lost");
                    assert!(application.hear());
                }
                continue;
            };
            assert_eq!(packet[..4], expected.to_be_bytes());
            assert_eq!(packet.len(), 4 + expected as usize % 200);
            assert!(packet[4..].iter().all(|octet| *octet == expected as u8));
            expected += 1;
        }
    });
    let mut packet = [0; 204];
    for number in 0..PACKETS {
        packet[..4].copy_from_slice(&number.to_be_bytes());
        let length = 4 + number as usize % 200;
        packet[4..length].fill(number as u8);
        while let Err(error) = gateway.put(&packet[..length]) {
            assert_eq!(error, PutError::Full);
            gateway.flush();
            thread::yield_now();
        }
        if number % 7 == 0 {
            gateway.flush();
        }
        if number % 1024 == 0 {
            thread::sleep(Duration::from_micros(50));
        }
    }
    gateway.flush();
    thread.join().unwrap();
}

#[test]
fn memory_that_could_shrink_or_is_no_ring_is_not_taken() {
    let file = |bytes: u64, seals| {
        let file = memfd_create(c"test", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, bytes).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        file
    };
    let open = |file: OwnedFd| Mapping::open(&file).unwrap_err();
    assert!(matches!(open(file(8192, SealFlags::empty())), OpenError::NotSealed));
    assert!(matches!(open(file(8192, SealFlags::GROW)), OpenError::NotSealed));
    assert!(matches!(open(file(8192, SealFlags::SHRINK)), OpenError::NotARing));
    assert!(matches!(open(file(10, SealFlags::SHRINK)), OpenError::NotARing));
    assert!(matches!(open(UnixDatagram::unbound().unwrap().into()), OpenError::NotSealed));
    let (_mapping, memory) = Mapping::create(Geometry::default()).unwrap();
    assert_eq!(Mapping::open(&memory).unwrap().1, Geometry::default());
    assert!(ftruncate(&memory, 4096).is_err() && ftruncate(&memory, 1 << 30).is_err(), "its size is sealed");
}

/// An application that punches a hole into the memory has the gateway's next access make a page, for which there may be
/// no memory.
#[test]
fn an_application_can_take_nothing_out_of_the_memory() {
    use rustix::fs::{FallocateFlags, fallocate, fstat};
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (mut gateway, offer) = GatewayEnd::create(Geometry::default(), near.try_clone().unwrap()).unwrap();
    let theirs = offer.memory.try_clone().unwrap();
    let taken = Offer { memory: theirs.try_clone().unwrap(), doorbell: offer.doorbell.try_clone().unwrap() };
    let mut application = ApplicationEnd::open(taken, far).unwrap();
    receive_mapped(&near).unwrap();
    let (blocks, bytes) = (|| fstat(&theirs).unwrap().st_blocks, Geometry::default().bytes() as u64);
    let punch = || fallocate(&theirs, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, bytes);
    let whole = blocks();
    assert!(whole as u64 * 512 >= bytes, "all of it is there before anybody writes");
    punch().unwrap();
    assert!(blocks() < whole);
    offer.seal().unwrap();
    assert_eq!(blocks(), whole, "it is put back");
    assert_eq!(punch(), Err(rustix::io::Errno::PERM));
    assert!(fcntl_add_seals(&theirs, SealFlags::WRITE).is_err(), "its seals are sealed");
    gateway.put(b"still").unwrap();
    gateway.flush();
    assert_eq!(take!(application).unwrap(), b"still", "and the mappings go on");
    // Whoever seals it so that the gateway cannot is found out.
    let (_gateway, offer) = GatewayEnd::create(Geometry::default(), near).unwrap();
    fcntl_add_seals(&offer.memory, SealFlags::SEAL).unwrap();
    assert!(offer.seal().is_err());
}

fn request() -> Request {
    Request { session: "room".into(), leg: "mixer".into(), token: "secret".into() }
}

#[test]
fn a_request_and_its_answer_cross_the_socket() {
    let folder = std::env::temp_dir().join(format!("sluice-ring-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("rings.sock");
    let listener = listen(&path).unwrap();
    let answer = |grant: bool| {
        let (path, listener) = (path.clone(), listener.try_clone().unwrap());
        let client = thread::spawn(move || connect(&path, &request()));
        assert!(readable(&listener, Duration::from_secs(5)));
        let connection = rustix::net::accept(&listener).unwrap();
        assert!(readable(&connection, Duration::from_secs(5)));
        assert_eq!(receive_request(&connection).unwrap(), request());
        if grant {
            let (mut gateway, offer) =
                GatewayEnd::create(Geometry::default(), connection.try_clone().unwrap()).unwrap();
            send_offer(&connection, &offer).unwrap();
            let (taken, near) = client.join().unwrap().unwrap();
            let mut application = ApplicationEnd::open(taken, near).unwrap();
            receive_mapped(&connection).unwrap();
            offer.seal().unwrap();
            confirm(&connection);
            application.confirmed().unwrap();
            gateway.put(b"first").unwrap();
            gateway.flush();
            assert_eq!(take!(application).unwrap(), b"first");
            return None;
        }
        refuse(&connection, "no such leg");
        Some(client.join().unwrap().unwrap_err())
    };
    assert!(answer(true).is_none());
    let refusal = answer(false).unwrap();
    assert!(matches!(&refusal, Refusal::Refused(reason) if reason == "no such leg"), "{refusal}");
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(matches!(connect(&path, &request()), Err(Refusal::System(_))));
}

#[test]
fn what_is_no_request_is_refused() {
    let (near, far) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let good = request().encode().unwrap();
    let mut long = good.clone();
    long.push(0);
    let mut foreign = good.clone();
    foreign[8] = 3;
    for message in [&b"GET / HTTP/1.1\r\n"[..], &good[..good.len() - 1], &long, &foreign, &[0; 5000]] {
        rustix::net::send(&far, message, rustix::net::SendFlags::empty()).unwrap();
        let error = receive_request(&near).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other, "{error}");
    }
    let endless = Request { token: "x".repeat(257), ..request() };
    assert!(endless.encode().is_err());
    assert!(!format!("{:?}", request()).contains("secret"));
}

/// A receiver would have to close them, which may take as long as their sender likes.
#[test]
fn nobody_passes_descriptors_to_a_gateway() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg};
    let path = std::env::temp_dir().join(format!("sluice-ring-rights-{}", std::process::id()));
    let listener = listen(&path).unwrap();
    if !refuse_descriptors(&listener).unwrap() {
        eprintln!("SKIP: this kernel has no SO_PASSRIGHTS (Linux 6.16)");
        return;
    }
    let kind = SocketType::SEQPACKET;
    let client = rustix::net::socket(AddressFamily::UNIX, kind, None).unwrap();
    rustix::net::connect(&client, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    let passed = [listener.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&passed)));
    let message = [io::IoSlice::new(b"x")];
    // Before anybody accepted.
    let sent = sendmsg(&client, &message, &mut ancillary, SendFlags::empty());
    assert_eq!(sent, Err(rustix::io::Errno::PERM));
    std::fs::remove_file(&path).unwrap();
}

/// A gateway that has no room says so to whoever is connected, without reading what they want.
#[test]
fn a_refusal_arrives_whether_or_not_the_request_was_read() {
    let path = std::env::temp_dir().join(format!("sluice-ring-full-{}", std::process::id()));
    let listener = listen(&path).unwrap();
    for wait in [0, 1, 20] {
        let client = {
            let path = path.clone();
            thread::spawn(move || connect(&path, &request()))
        };
        assert!(readable(&listener, Duration::from_secs(5)));
        let connection = rustix::net::accept(&listener).unwrap();
        thread::sleep(Duration::from_millis(wait));
        refuse(&connection, "full");
        drop(connection);
        let refusal = client.join().unwrap().unwrap_err();
        assert!(matches!(&refusal, Refusal::Refused(reason) if reason == "full"), "{refusal}");
    }
    std::fs::remove_file(&path).unwrap();
}
