//! What everybody has counted, and whether it adds up.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use sluice_proto::v1;
use sluice_tests::site::Site;

/// Counters of the daemon, of its XDP program, and of the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books(BTreeMap<String, u64>);

/// Frames of these are redirected to the worker's ring …
const MEDIA: [&str; 2] = ["xdp rtp", "xdp rtcp"];
/// … those of these go to the kernel's sockets …
const PASSED: [&str; 5] = ["xdp stun", "xdp dtls", "xdp zrtp", "xdp turn_channel", "xdp unknown"];
/// … and of these nowhere.
const MALFORMED: [&str; 8] = [
    "xdp too_short",
    "xdp version",
    "xdp payload_type",
    "xdp csrc_count",
    "xdp extension_length",
    "xdp padding",
    "xdp packet_type",
    "xdp rtcp_length",
];

impl Books {
    /// As of now.
    pub fn read(site: &mut Site) -> Result<Self> {
        let statistics = site.gateway.statistics()?;
        let mut books = Self::default();
        for worker in &statistics.workers {
            books.add_worker(worker);
        }
        for count in statistics.xdp.iter().flat_map(|xdp| &xdp.counts) {
            books.add(format!("xdp {}", count.name), count.frames);
        }
        books.add("wire lost".to_owned(), lost_on_the_wire(site)?);
        Ok(books)
    }

    fn add_worker(&mut self, worker: &v1::WorkerStatistics) {
        let counters = [
            ("received", worker.received),
            ("injected", worker.injected),
            ("copied", worker.copied),
            ("handed in", worker.handed_in),
            ("handed out", worker.handed_out),
            ("sent", worker.sent),
            ("negotiation", worker.negotiation),
            ("held", worker.held),
            ("ring dropped", worker.ring_dropped),
            ("socket dropped", worker.socket_dropped),
            ("send failed", worker.send_failed),
            ("send too big", worker.send_too_big),
            ("ring full", worker.ring_full),
            ("ring too large", worker.ring_too_large),
            ("truncated", worker.receive_truncated),
            ("malformed", worker.receive_malformed),
            ("gather failed", worker.gather_failed),
        ];
        for (name, count) in counters {
            self.add(name.to_owned(), count);
        }
        for drop in &worker.drops {
            self.add(format!("dropped {}", drop.reason), drop.packets);
        }
        for path in &worker.paths {
            let socket = path.path == "io_uring";
            self.add(if socket { "by sockets" } else { "by rings" }.to_owned(), path.received);
            self.add("left".to_owned(), path.sent);
        }
    }

    fn add(&mut self, name: String, count: u64) {
        *self.0.entry(name).or_default() += count;
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn sum(&self, names: &[&str]) -> u64 {
        names.iter().map(|name| self.get(name)).sum()
    }

    /// What was counted after `before`. What is held is not counted but there; the books are those of the change.
    pub fn since(&self, before: &Self) -> Self {
        let change = |(name, count): (&String, &u64)| {
            let change = count.wrapping_sub(before.get(name));
            (change != 0).then(|| (name.clone(), change))
        };
        Self(self.0.iter().filter_map(change).collect())
    }

    /// What the daemon's workers received.
    pub fn received(&self) -> u64 {
        self.get("received")
    }

    /// What the kernel dropped for the workers.
    pub fn overflowed(&self) -> u64 {
        self.sum(&["ring dropped", "socket dropped"])
    }

    /// An error unless each of the frames that were poured is in the books, exactly.
    pub fn balance(&self, poured: u64) -> Result<()> {
        let whole = |what: &str, came: u64, went: u64| {
            ensure!(came == went, "{what}: {came} came and {went} went; {self:?}");
            Ok(())
        };
        let through_xdp = self.sum(&MEDIA) + self.sum(&PASSED) + self.sum(&MALFORMED);
        let taken = self.sum(&["by rings", "malformed", "gather failed", "ring dropped"]);
        let by_kernel = self.get("by sockets") + self.get("truncated") + self.get("socket dropped");
        if through_xdp > 0 {
            whole("the wire", poured, through_xdp + self.get("wire lost"))?;
            let aside = self.sum(&["xdp rtcp_aside", "xdp no_socket"]);
            whole("the rings", self.sum(&MEDIA) - aside, taken)?;
            whole("the sockets", self.sum(&PASSED) + aside, by_kernel)?;
        } else {
            whole("the wire and the sockets", poured, self.get("wire lost") + by_kernel)?;
        }
        whole("packet I/O", self.get("by rings") + self.get("by sockets"), self.received())?;
        let came = self.sum(&["received", "injected", "copied", "handed in"]);
        let dropped: u64 =
            self.0.iter().filter(|(name, _)| name.starts_with("dropped ")).map(|(_, count)| count).sum();
        let went = self.sum(&["sent", "negotiation", "handed out"]).wrapping_add(self.get("held"));
        whole("the workers", came, went.wrapping_add(dropped))?;
        let unsent = ["left", "send failed", "send too big", "ring full", "ring too large"];
        whole("sending", self.get("sent"), self.sum(&unsent))
    }
}

/// Frames for which the daemon's end of the veth pair had no room, as the generator's end tells.
fn lost_on_the_wire(site: &Site) -> Result<u64> {
    let mut ethtool = site.peers_namespace().command("ethtool");
    let output = ethtool.args(["-S", site.peers_interface()]).output().context("cannot run ethtool")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = text.lines().filter_map(|line| line.trim().split_once(": "));
    let errors =
        errors.filter(|(name, _)| name.starts_with("tx_queue_") && name.ends_with("_xdp_xmit_errors"));
    Ok(errors.filter_map(|(_, count)| count.parse::<u64>().ok()).sum())
}

/// Octets of a process that are in memory.
pub fn resident(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes << 10)
}
