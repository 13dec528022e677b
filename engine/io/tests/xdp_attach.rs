//! The program on real (veth) interfaces: modes, jumbo frames, what a crash leaves and who takes it over.

mod host;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use host::{INTERFACE, Pair};
use sluice_classifier::{Counter, LegEntry, Policy};
use sluice_io::xdp::{Attached, AttachedMode, Mode, Options, Query, XdpError};

const RTP: [u8; 20] = [0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 1, 7, 7, 7, 7, 7, 7, 7, 7];
const STUN: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// In the media range, but cut short.
const MALFORMED: [u8; 6] = [0x80, 0, 0, 1, 0, 0];

fn options(mode: Mode) -> Options {
    Options { mode, max_legs: 64, ..Options::default() }
}

fn attach(mode: Mode) -> Attached {
    Attached::attach(INTERFACE, &options(mode)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(mode: Mode) -> XdpError {
    match Attached::attach(INTERFACE, &options(mode)) {
        Ok(_) => panic!("it attached"),
        Err(error) => error,
    }
}

/// A leg's socket in our namespace.
fn leg_socket(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).expect("the leg's address");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let local = socket.local_addr().expect("bound");
    (socket, local)
}

/// Sends a datagram from the peer and says what arrived at the leg's socket.
fn deliver(pair: &Pair, leg: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
    let to = leg.local_addr().expect("bound");
    Pair::inside(&pair.far, || {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any).expect("a port").send_to(datagram, to).expect("a route");
    });
    let mut received = vec![0; 65_536];
    let length = leg.recv(&mut received).unwrap_or_else(|error| panic!("nothing arrived: {error}"));
    received.truncate(length);
    received
}

/// Counters of a known leg on an interface without AF_XDP sockets: counted as media, and passed.
fn counts_and_passes(mode: Mode, expected: AttachedMode, address: &str) {
    let Some(pair) = Pair::new("counts_and_passes", 1500) else { return };
    Pair::inside(&pair.near, || {
        let mut attached = attach(mode);
        assert_eq!(attached.mode(), expected);
        assert!(attached.is_attached() && !attached.took_over());
        let (leg, local) = leg_socket(address);
        assert_eq!(deliver(&pair, &leg, &RTP), RTP);
        assert_eq!(attached.counters().expect("counters")[Counter::NoLeg], 1);
        attached.maps().insert_leg(local, LegEntry::new(1, Policy::new())).expect("room");
        assert_eq!(deliver(&pair, &leg, &RTP), RTP);
        assert_eq!(deliver(&pair, &leg, &STUN), STUN);
        assert_eq!(deliver(&pair, &leg, &MALFORMED), MALFORMED);
        let counters = attached.counters().expect("counters");
        for counter in [Counter::Rtp, Counter::Stun, Counter::TooShort] {
            assert_eq!(counters[counter], 1, "{counter:?}");
        }
        assert_eq!(counters[Counter::NoSocket], 2);
        let pin = attached.pinned_at();
        attached.detach().expect("detached");
        assert!(pin.is_none_or(|pin| !pin.exists() && !pin.parent().is_some_and(Path::exists)));
        assert_eq!(program(), None);
    });
}

/// The program that the interface has, asked from inside the namespace.
fn program() -> Option<u32> {
    let index = std::fs::read_to_string(format!("/sys/class/net/{INTERFACE}/ifindex")).ok();
    let index = index.map_or_else(ifindex_by_ip, |text| text.trim().parse().expect("a number"));
    Query::open().expect("netlink").program_of(index).expect("an answer").map(|seen| seen.program)
}

/// /sys shows the namespace that it was mounted in; `ip` asks netlink.
fn ifindex_by_ip() -> u32 {
    let output = Command::new("ip").args(["-o", "link", "show", INTERFACE]).output().expect("ip");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split(':').next().and_then(|index| index.parse().ok()).expect("an index")
}

#[test]
fn native_mode_counts_and_passes_over_ipv4() {
    counts_and_passes(Mode::Native, AttachedMode::Native, "10.77.0.1:0");
}

#[test]
fn native_mode_counts_and_passes_over_ipv6() {
    counts_and_passes(Mode::Auto, AttachedMode::Native, "[fd77::1]:0");
}

#[test]
fn generic_mode_counts_and_passes() {
    counts_and_passes(Mode::Generic, AttachedMode::Generic, "10.77.0.1:0");
}

#[test]
fn jumbo_frames_reach_the_kernel_socket() {
    let Some(pair) = Pair::new("jumbo_frames_reach_the_kernel_socket", 9000) else { return };
    for mode in [Mode::Native, Mode::Generic] {
        Pair::inside(&pair.near, || {
            let mut attached = attach(mode);
            let (leg, local) = leg_socket("10.77.0.1:0");
            attached.maps().insert_leg(local, LegEntry::new(1, Policy::new())).expect("room");
            let jumbo = [&RTP[..], &[7; 8900]].concat();
            assert_eq!(deliver(&pair, &leg, &jumbo), jumbo);
            assert_eq!(deliver(&pair, &leg, &RTP), RTP);
            let counters = attached.counters().expect("counters");
            assert_eq!((counters[Counter::TooLarge], counters[Counter::Rtp]), (1, 1), "{mode:?}");
        });
    }
}

#[test]
fn dropping_detaches() {
    let Some(pair) = Pair::new("dropping_detaches", 1500) else { return };
    Pair::inside(&pair.near, || {
        drop(attach(Mode::Auto));
        assert_eq!(program(), None);
    });
}

#[test]
fn an_interface_that_is_gone_is_noticed() {
    let Some(pair) = Pair::new("an_interface_that_is_gone_is_noticed", 1500) else { return };
    Pair::inside(&pair.near, || {
        let attached = attach(Mode::Auto);
        pair.remove_link();
        assert!(!attached.is_attached());
        pair.make_link(1500);
        assert!(!attached.is_attached());
        drop(attached);
        assert!(attach(Mode::Auto).is_attached());
    });
}

#[test]
fn errors_say_what_is_wrong() {
    let Some(pair) = Pair::new("errors_say_what_is_wrong", 1500) else { return };
    Pair::inside(&pair.near, || {
        let missing = Attached::attach("nosuch0", &Options::default()).err().expect("no such interface");
        assert!(missing.to_string().contains("no network interface \"nosuch0\""), "{missing}");

        let unpinned = Options { pin: false, ..options(Mode::Native) };
        let other = Attached::attach(INTERFACE, &unpinned).unwrap_or_else(|error| panic!("{error}"));
        for mode in [Mode::Auto, Mode::Native, Mode::Generic] {
            let error = refused(mode);
            assert!(matches!(error, XdpError::OtherProgram { program: Some(_), .. }), "{mode:?}: {error}");
        }
        assert!(other.is_attached());
    });
}

#[test]
fn a_second_living_daemon_is_refused() {
    let Some(pair) = Pair::new("a_second_living_daemon_is_refused", 1500) else { return };
    Pair::inside(&pair.near, || {
        let first = attach(Mode::Auto);
        if first.pinned_at().is_none() {
            return host::skip("a_second_living_daemon_is_refused", "no bpffs here");
        }
        let error = refused(Mode::Auto);
        assert!(matches!(error, XdpError::InUse { .. }), "{error}");
        assert!(first.is_attached());
    });
}

/// The child of the crash tests: attaches in the namespace that it is started in, knows a leg, waits.
#[test]
#[ignore = "started by the crash tests"]
fn a_daemon_that_will_be_killed() {
    let Ok(mode) = std::env::var("SLUICE_TEST_MODE") else { return };
    let mut attached = attach(if mode == "generic" { Mode::Generic } else { Mode::Native });
    let leg: SocketAddr = std::env::var("SLUICE_TEST_LEG").expect("set").parse().expect("an address");
    attached.maps().insert_leg(leg, LegEntry::new(1, Policy::new())).expect("room");
    println!("attached {}", attached.pinned_at().is_some());
    std::thread::sleep(Duration::from_mins(1));
}

/// Starts that child in this thread's namespace, behind the words of a wrapper; says whether its link is
/// pinned.
fn start_daemon(wrapper: &[&str], mode: &str, leg: SocketAddr) -> (Child, bool) {
    let this = std::env::current_exe().expect("this test");
    let mut words: Vec<&OsStr> = wrapper.iter().map(OsStr::new).collect();
    words.push(this.as_os_str());
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", "a_daemon_that_will_be_killed", "--ignored", "--nocapture"])
        .env("SLUICE_TEST_MODE", mode)
        .env("SLUICE_TEST_LEG", leg.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let pinned = output.lines().map_while(Result::ok).find_map(|line| {
        line.split("attached ").nth(1).and_then(|pinned| pinned.trim().parse::<bool>().ok())
    });
    (child, pinned.expect("the child attaches"))
}

/// The same where only a pinned link is of use; `None`, said loudly, where there is no bpffs.
fn daemon(mode: &str, leg: SocketAddr) -> Option<Child> {
    let (child, pinned) = start_daemon(&[], mode, leg);
    if pinned {
        return Some(child);
    }
    kill(child);
    host::skip("crash test", "no bpffs here, so that a crash detaches");
    None
}

fn kill(mut child: Child) {
    child.kill().expect("kill -9");
    child.wait().expect("its end");
}

#[test]
fn a_new_daemon_takes_over_what_a_crash_left() {
    let Some(pair) = Pair::new("a_new_daemon_takes_over_what_a_crash_left", 1500) else { return };
    Pair::inside(&pair.near, || {
        let (leg, local) = leg_socket("10.77.0.1:0");
        let Some(child) = daemon("native", local) else { return };
        kill(child);
        let left = program().expect("the program is still attached");
        for datagram in [&RTP[..], &STUN, &MALFORMED] {
            assert_eq!(deliver(&pair, &leg, datagram), datagram, "while no daemon runs everything passes");
        }

        let mut attached = attach(Mode::Auto);
        assert!(attached.took_over() && attached.is_attached());
        assert_ne!(program(), Some(left), "our program replaced the old one");
        assert_eq!(attached.maps().legs(), 0);
        assert_eq!(deliver(&pair, &leg, &RTP), RTP);
        let counters = attached.counters().expect("counters");
        assert_eq!((counters[Counter::NoLeg], counters[Counter::Rtp]), (1, 0), "no stale leg");
        attached.detach().expect("detached");
        assert_eq!(program(), None);
    });
}

#[test]
fn there_is_no_moment_without_a_program_during_a_takeover() {
    let test = "there_is_no_moment_without_a_program_during_a_takeover";
    let Some(pair) = Pair::new(test, 1500) else { return };
    Pair::inside(&pair.near, || {
        let (_leg, local) = leg_socket("10.77.0.1:0");
        let Some(child) = daemon("native", local) else { return };
        kill(child);
        let (index, query) = (ifindex_by_ip(), Query::open().expect("netlink"));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut looks = 0_u32;
                let end = Instant::now() + Duration::from_secs(20);
                while !done.load(std::sync::atomic::Ordering::Acquire) && Instant::now() < end {
                    assert!(query.program_of(index).expect("an answer").is_some(), "a gap");
                    looks += 1;
                }
                looks
            });
            let attached = attach(Mode::Auto);
            done.store(true, std::sync::atomic::Ordering::Release);
            assert!(watcher.join().expect("no gap was seen") > 10);
            assert!(attached.took_over());
        });
    });
}

#[test]
fn another_mode_or_another_interface_is_not_taken_over() {
    let test = "another_mode_or_another_interface_is_not_taken_over";
    let Some(pair) = Pair::new(test, 1500) else { return };
    Pair::inside(&pair.near, || {
        let (_leg, local) = leg_socket("10.77.0.1:0");
        let Some(child) = daemon("generic", local) else { return };
        kill(child);
        let attached = attach(Mode::Native);
        assert_eq!((attached.mode(), attached.took_over()), (AttachedMode::Native, false));
        drop(attached);

        let Some(child) = daemon("native", local) else { return };
        kill(child);
        pair.remove_link();
        pair.make_link(1500);
        let attached = attach(Mode::Auto);
        assert!(!attached.took_over() && attached.is_attached());
        assert!(attached.pinned_at().is_some());
    });
}

/// `ip netns exec` hides bpffs: the daemon mounts one that lives as long as its mount namespace, or, where
/// it may not mount, goes without. Either way a crash detaches the program.
#[test]
fn without_a_lasting_bpffs_a_crash_detaches() {
    let test = "without_a_lasting_bpffs_a_crash_detaches";
    let Some(pair) = Pair::new(test, 1500) else { return };
    Pair::inside(&pair.near, || {
        let (_leg, local) = leg_socket("10.77.0.1:0");
        let bare = ["ip", "netns", "exec", &pair.near];
        let may_not_mount = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
        for (wrapper, may_mount) in [(bare.to_vec(), true), ([&bare[..], &may_not_mount].concat(), false)] {
            let (child, pinned) = start_daemon(&wrapper, "native", local);
            assert_eq!(pinned, may_mount);
            assert!(program().is_some());
            kill(child);
            let end = Instant::now() + Duration::from_secs(10);
            while program().is_some() {
                assert!(Instant::now() < end, "the program is still attached");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
}

/// The child of the test without privileges.
#[test]
#[ignore = "started by the test without privileges"]
fn a_daemon_without_capabilities() {
    if std::env::var_os("SLUICE_TEST_UNPRIVILEGED").is_some() {
        println!("refused: {}", Attached::attach("lo", &Options::default()).err().expect("no capabilities"));
    }
}

#[test]
fn missing_capabilities_are_named() {
    if host::load("missing_capabilities_are_named").is_none() {
        return;
    }
    let directory = std::env::current_exe().expect("this test");
    let copy = std::env::temp_dir().join(format!("sluice-unprivileged-{}", std::process::id()));
    std::fs::copy(directory, &copy).expect("a copy that anybody may run");
    let output = Command::new(&copy)
        .args(["--exact", "a_daemon_without_capabilities", "--ignored", "--nocapture"])
        .env("SLUICE_TEST_UNPRIVILEGED", "1")
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .expect("it runs");
    std::fs::remove_file(&copy).expect("removed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("CAP_BPF and CAP_NET_ADMIN are missing"), "{text}");
}
