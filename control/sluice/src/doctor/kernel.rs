//! The kernel: its version, io_uring, BPF, AF_XDP.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::statfs;
use sluice_io::probe;

use super::finding::Finding;
use super::{read, read_number};

const AREA: &str = "kernel";
/// `DEFER_TASKRUN` and multishot receive with provided buffer rings.
const NEEDED: (u32, u32) = (6, 1);
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

pub(super) fn examine() -> Vec<Finding> {
    vec![version(), io_uring(), btf(), bpffs(), bpf_jit(), xdp_program(), af_xdp()]
}

fn version() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    version_finding(&release)
}

fn version_finding(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= NEEDED => {
            Finding::ok(AREA, "version", format!("Linux {release}"))
        }
        _ => Finding::fail(
            AREA,
            "version",
            format!("Linux {release}; 6.1 or later is needed"),
            "install a newer kernel (Debian 12 and Ubuntu 24.04 have one)",
        ),
    }
}

fn io_uring() -> Finding {
    match probe::io_uring() {
        Ok(()) => Finding::ok(AREA, "io_uring", "permitted: the datapath that always works"),
        Err(error) => Finding::fail(AREA, "io_uring", error.to_string(), io_uring_remedy()),
    }
}

fn io_uring_remedy() -> &'static str {
    match read_number("/proc/sys/kernel/io_uring_disabled") {
        Some(2) => "sysctl -w kernel.io_uring_disabled=0",
        Some(1) => {
            "sysctl -w kernel.io_uring_disabled=0, or add the user to the group kernel.io_uring_group, or run as root"
        }
        _ => {
            "in a container, allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
        }
    }
}

fn btf() -> Finding {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Finding::ok(AREA, "BTF", "the kernel describes its types");
    }
    // The program uses no kernel types: it loads without.
    Finding::ok(AREA, "BTF", "not there (CONFIG_DEBUG_INFO_BTF): not needed by Sluice's program")
}

fn bpffs() -> Finding {
    match statfs("/sys/fs/bpf") {
        Ok(stat) if stat.f_type == BPF_FS_MAGIC => Finding::ok(AREA, "bpffs", "mounted at /sys/fs/bpf"),
        _ => Finding::warn(
            AREA,
            "bpffs",
            "not mounted at /sys/fs/bpf: without it the XDP program goes when the daemon crashes",
            "mount -t bpf bpf /sys/fs/bpf (Sluice tries it itself as root)",
        ),
    }
}

fn bpf_jit() -> Finding {
    match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => Finding::warn(
            AREA,
            "BPF JIT",
            "off: the XDP program is interpreted, many times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(_) => Finding::ok(AREA, "BPF JIT", "on"),
        None => Finding::ok(AREA, "BPF JIT", "cannot tell (not visible here)"),
    }
}

fn xdp_program() -> Finding {
    match probe::xdp_program() {
        Ok(()) => Finding::ok(AREA, "XDP program", "the verifier takes it"),
        Err(error) => {
            let text = error.to_string();
            let (found, remedy) = split(&text);
            Finding::warn(AREA, "XDP program", format!("not loaded: {found}"), remedy)
        }
    }
}

/// Errors of the engine say what is wrong, then what to do, with a semicolon between.
fn split(text: &str) -> (&str, &str) {
    let (found, remedy) = text.split_once("; ").unwrap_or((text, "media goes by io_uring instead"));
    (found, remedy.trim_start())
}

fn af_xdp() -> Finding {
    match probe::af_xdp_socket() {
        Ok(()) => Finding::ok(AREA, "AF_XDP", "sockets can be made"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Finding::warn(
            AREA,
            "AF_XDP",
            "not permitted: media goes by io_uring",
            "run as root, or grant CAP_NET_RAW (and see capabilities below)",
        ),
        Err(error) => Finding::warn(
            AREA,
            "AF_XDP",
            format!("not there ({error}): media goes by io_uring"),
            "use a kernel with CONFIG_XDP_SOCKETS",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn kernels_before_6_1_fail() {
        for (release, level) in [
            ("6.1.0-44-amd64", Level::Ok),
            ("7.0-rc1", Level::Ok),
            ("6.0.19", Level::Fail),
            ("5.15.0-1-generic", Level::Fail),
            ("strange", Level::Fail),
        ] {
            assert_eq!(version_finding(release).level(), level, "{release}");
        }
    }
}
