//! `openssl s_server` as the peer.
//!
//! It speaks with one client at a time and takes the next one when that has closed: several processes share the CPU, each
//! with a client of its own, so that one works while others wait for what is on the wire. It asks for cookies as Sluice
//! does, wants a certificate, and exports keys; what it prints nobody reads.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use sluice_keying::dtls_srtp::Fingerprint;
use sluice_tools::bench::bed::{Bed, DEVICE, Role, peer_address};
use sluice_tools::demo::process::Process;
use tempfile::TempDir;

use super::client::{CIPHER, Certificate, EXPORTED, EXPORTER, GROUPS, MTU, PROFILE};
use crate::daemon::cpu_time;

/// The first one's port.
const PORT: u16 = 5_000;
const START: Duration = Duration::from_secs(10);

/// What the program says that it is, if it is installed.
pub fn installed() -> Option<String> {
    let output = Command::new("openssl").arg("version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.split(" (").next().unwrap_or_default().trim().to_owned())
}

/// Running ones; dropped, they are killed.
pub struct Servers {
    processes: Vec<Process>,
    addresses: Vec<SocketAddr>,
    fingerprint: Fingerprint,
    // Dropped after them.
    _directory: TempDir,
}

impl Servers {
    /// Starts so many on the device's CPU.
    pub fn start(bed: &Bed, count: usize) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let certificate = Certificate::generate()?;
        let files = certificate.write(directory.path())?;
        let (mut processes, mut addresses) = (Vec::new(), Vec::new());
        for port in (PORT..).take(count) {
            let address = SocketAddr::from((DEVICE, port));
            let mut process = server(bed, address, &files, directory.path())?;
            process.wait_for_udp(port, START)?;
            processes.push(process);
            addresses.push(address);
        }
        let fingerprint = certificate.fingerprint()?;
        Ok(Self { processes, addresses, fingerprint, _directory: directory })
    }

    /// Where they are.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Of the certificate that they show.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// CPU time of all of them.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.processes.iter().map(|process| cpu_time(process.id())).sum()
    }

    /// The end of what the first one wrote.
    pub fn last_words(&self) -> String {
        self.processes.first().map(Process::last_words).unwrap_or_default()
    }
}

fn server(bed: &Bed, at: SocketAddr, files: &[PathBuf; 2], directory: &Path) -> Result<Process> {
    let mut command = bed.device.command("openssl");
    command.args(["s_server", "-dtls1_2", "-accept", &at.to_string(), "-cert"]).arg(&files[0]);
    command.arg("-key").arg(&files[1]).args(["-Verify", "1", "-verify_quiet", "-cipher", CIPHER]);
    command.args(["-groups", GROUPS, "-use_srtp", PROFILE, "-keymatexport", EXPORTER]);
    command.args(["-keymatexportlen", &EXPORTED.to_string(), "-mtu", &MTU.to_string(), "-quiet"]);
    // It knows nobody in any case, and need not look in the system's directories each time.
    command.args(["-no-CAfile", "-no-CApath", "-no-CAstore"]);
    let name = format!("s_server-{}", at.port());
    Process::spawn_commanded(&name, command, directory).context("install openssl")
}

/// An address that is no leg's peer, for clients of these servers.
pub fn client_address() -> SocketAddr {
    SocketAddr::new(peer_address(Role::Listener, 0).ip(), 0)
}
