//! The guest: two NUMA nodes of four CPUs.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_tools::demo::process::Process;

use crate::image::Image;

/// A machine to be booted.
pub(crate) struct Guest<'a> {
    image: &'a Image,
    /// Of the whole machine, in MiB.
    memory: u32,
    arguments: Vec<String>,
    parameters: String,
}

impl<'a> Guest<'a> {
    pub(crate) fn new(image: &'a Image, memory: u32) -> Self {
        let parameters = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on".to_owned();
        Self { image, memory, arguments: Vec::new(), parameters }
    }

    /// A card on each node, and beside them, on no node, the two that they are connected to. The last octet of a
    /// card's address is its node, or 0x10 more on the far side.
    pub(crate) fn with_cards(mut self) -> Self {
        for node in 0..2 {
            // Offloads keep virtio's driver from running XDP programs.
            let options = "guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,romfile=";
            let (bus, slot) = (32 * (node + 1), node + 1);
            self.add("-device", &format!("pxb-pcie,id=bus{node},bus_nr={bus},bus=pcie.0,numa_node={node}"));
            self.add("-device", &format!("pcie-root-port,id=port{node},bus=bus{node},chassis={slot}"));
            self.add("-netdev", &format!("hubport,id=near{node},hubid={node}"));
            self.add("-netdev", &format!("hubport,id=far{node},hubid={node}"));
            let card = |net: &str, bus: &str, mac: u32| {
                format!("virtio-net-pci,netdev={net},bus={bus},mac=52:54:00:00:00:{mac:02x},{options}")
            };
            self.add("-device", &card(&format!("near{node}"), &format!("port{node}"), node));
            self.add("-device", &card(&format!("far{node}"), "pcie.0", node + 0x10));
        }
        self
    }

    /// A parameter of the kernel's command line.
    pub(crate) fn parameter(mut self, parameter: &str) -> Self {
        self.parameters.push(' ');
        self.parameters.push_str(parameter);
        self
    }

    fn add(&mut self, option: &str, value: &str) {
        self.arguments.extend([option.to_owned(), value.to_owned()]);
    }

    /// Boots the guest, has it run one test, and returns what it said.
    pub(crate) fn run(self, test: &str, patience: Duration) -> Result<String> {
        let half = self.memory / 2;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
        command.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "Westmere",
            "-smp",
            "8,sockets=2,cores=4,threads=1",
        ]);
        command.args(["-m", &format!("{}M", 2 * half), "-display", "none", "-no-reboot", "-serial", "stdio"]);
        command.args(["-monitor", "none", "-nodefaults"]);
        for node in 0..2 {
            let (first, last) = (4 * node, 4 * node + 3);
            command.arg("-object").arg(format!("memory-backend-ram,id=memory{node},size={half}M"));
            command.arg("-numa").arg(format!("node,nodeid={node},cpus={first}-{last},memdev=memory{node}"));
        }
        command.args(&self.arguments);
        command.arg("-kernel").arg(&self.image.kernel).arg("-initrd").arg(&self.image.initrd);
        command.arg("-append").arg(format!("{} sluice_test={test}", self.parameters));
        command.stdin(Stdio::null());
        let directory = tempfile::tempdir()?;
        let started = Instant::now();
        let mut qemu = Process::spawn("qemu", command, directory.path())?;
        let ended = qemu.wait(patience)?;
        let told = qemu.output().replace('\r', "");
        ensure!(ended.is_some(), "the guest is not done after {patience:?}:\n{told}");
        ensure!(
            told.contains("GUEST ENDED: 0") && told.contains("1 passed"),
            "the guest's test failed:\n{told}"
        );
        Ok(format!("{told}\nguest: {:.1} s", started.elapsed().as_secs_f64()))
    }
}
