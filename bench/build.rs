//! Finds out what the bench can compare with: versions of the peers from the lock file, and whether
//! intel-ipsec-mb is installed.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ipsec_mb)");
    #[cfg(feature = "peers")]
    {
        versions();
        ipsec_mb();
    }
}

/// Crates do not tell their version at run time; the lock file of this build does.
#[cfg(feature = "peers")]
fn versions() {
    const PEERS: [&str; 8] =
        ["aes", "aes-gcm", "aws-lc-rs", "aws-lc-sys", "ring", "rtc-srtp", "sha1", "webrtc-srtp"];
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let lock = std::fs::read_to_string("../Cargo.lock").unwrap_or_default();
    for peer in PEERS {
        let of_peer = format!("name = \"{peer}\"\nversion = \"");
        // Of several versions the newest comes last, and it is the one that this crate names.
        let version = lock.rsplit(&of_peer).next().filter(|_| lock.contains(&of_peer));
        let version = version.and_then(|rest| rest.split('"').next()).unwrap_or("unknown");
        println!("cargo::rustc-env=VERSION_{}={version}", peer.to_uppercase().replace('-', "_"));
    }
}

#[cfg(feature = "peers")]
fn ipsec_mb() {
    const SHIM: &str = "src/peers/ipsec_mb.c";
    println!("cargo::rerun-if-changed={SHIM}");
    println!("cargo::rerun-if-changed=/usr/include/intel-ipsec-mb.h");
    let shim = cc::Build::new().file(SHIM).opt_level(3).warnings(true).try_compile("sluice_bench_ipsec_mb");
    if shim.is_ok() {
        println!("cargo::rustc-cfg=ipsec_mb");
        println!("cargo::rustc-link-lib=dylib=IPSec_MB");
    } else {
        println!("cargo::warning=intel-ipsec-mb will be missing: apt-get install libipsec-mb-dev");
    }
}
