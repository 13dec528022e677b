//! Receive queues and workers: whether there are as many, and whether the card spreads media over those that are
//! served.

use std::path::Path;

use sluice_datapath::WorkerCount;
use sluice_datapath::placement::Machine;
use sluice_io::probe::{Nic, UdpFlow};
use sluice_server::Config;

use super::finding::Finding;
use super::nic::AREA;

/// What an interface has, and what a daemon would use of it.
pub(super) struct Queues<'a> {
    name: &'a str,
    /// Queues that receive and send, in use.
    receive: u32,
    send: u32,
    /// The most that can receive, as far as the driver tells.
    most: Option<u32>,
    /// Whether the driver has queues that do both.
    combined: bool,
    /// The queues that flows are spread over.
    spread: Option<Vec<u32>>,
    /// Whether UDP flows are told apart by their ports, of IPv4 and IPv6.
    by_ports: [Option<bool>; 2],
    workers: u32,
    /// The most that the configuration wants to use.
    wanted: Option<u32>,
}

impl<'a> Queues<'a> {
    pub(super) fn of(name: &'a str, folder: &Path, nic: Option<&Nic>, config: Option<&Config>) -> Self {
        let count = |prefix: &str| {
            let entries = std::fs::read_dir(folder.join("queues")).into_iter().flatten().flatten();
            entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count() as u32
        };
        let channels = nic.and_then(|nic| nic.channels().ok()).filter(|channels| channels.receive > 0);
        let engine = config.map(Config::engine).unwrap_or_default();
        let auto = || Machine::detect().map_or(1, |(machine, _)| machine.workers().max(1));
        let workers = match engine.workers {
            WorkerCount::Exactly(count) => count,
            WorkerCount::Auto => auto(),
        };
        let wanted = engine.interfaces.iter().find(|interface| interface.name == name);
        let by_ports = |flow| Some(nic?.flow_hash(flow).ok()?.is_of_flows());
        Self {
            name,
            receive: channels.map_or_else(|| count("rx-"), |channels| channels.receive),
            send: channels.map_or_else(|| count("tx-"), |channels| channels.send),
            most: channels.map(|channels| channels.most_receive),
            combined: channels.is_none_or(|channels| channels.most_combined > 0),
            spread: nic.and_then(|nic| nic.spread().ok()),
            by_ports: [by_ports(UdpFlow::V4), by_ports(UdpFlow::V6)],
            workers: workers as u32,
            wanted: wanted.and_then(|interface| interface.queues),
        }
    }

    pub(super) fn examine(&self) -> Vec<Finding> {
        if self.receive == 0 {
            let remedy = "XDP needs a receive queue: use another interface, or datapath.mode = \"io_uring\"";
            return vec![Finding::warn(AREA, format!("{} queues", self.name), "no receive queue", remedy)];
        }
        vec![self.numbers(), self.spread(), self.hash()]
    }

    /// The queues that get an AF_XDP socket.
    fn served(&self) -> u32 {
        self.wanted.unwrap_or(self.receive).min(self.receive)
    }

    fn numbers(&self) -> Finding {
        let Self { name, receive, send, workers, .. } = *self;
        let (subject, served) = (format!("{name} queues"), self.served());
        let most = self.most.filter(|most| *most > receive);
        let of_most = most.map_or_else(String::new, |most| format!(" of {most}"));
        let found = format!("{receive}{of_most} in use to receive, {send} to send; {workers} worker(s)");
        let kind = if self.combined { "combined" } else { "rx" };
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted < receive) {
            let remedy = format!(
                "`ethtool -L {name} {kind} {wanted}`, or raise `queues`: media of other queues goes by kernel sockets"
            );
            let found = format!("{found}, and the configuration uses {wanted} queues only");
            return Finding::warn(AREA, subject, found, remedy);
        }
        let Some(most) = most.filter(|_| served < workers) else {
            return Finding::ok(AREA, subject, found);
        };
        let queues = most.min(workers);
        let remedy = format!(
            "`ethtool -L {name} {kind} {queues}`: each worker should have a queue, others are handed everything"
        );
        Finding::warn(AREA, subject, found, remedy)
    }

    fn spread(&self) -> Finding {
        let (name, subject, served) = (self.name, format!("{} RSS", self.name), self.served());
        let Some(queues) = &self.spread else {
            return Finding::ok(AREA, subject, "no indirection table: the driver chooses the queue");
        };
        let list: Vec<_> = queues.iter().map(u32::to_string).collect();
        let found = format!("flows go to queue {}", list.join(" "));
        let remedy =
            format!("`ethtool -X {name} equal {served}` spreads them over the {served} that are served");
        if queues.iter().any(|queue| *queue >= served) {
            let found = format!("{found}, of which those from {served} on have no AF_XDP socket");
            return Finding::warn(AREA, subject, found, remedy);
        }
        if (queues.len() as u32) < served {
            return Finding::warn(AREA, subject, format!("{found} only"), remedy);
        }
        Finding::ok(AREA, subject, found)
    }

    /// Without the ports in the hash all media between two addresses comes to one queue, as from a trunk.
    fn hash(&self) -> Finding {
        let (name, subject) = (self.name, format!("{} RSS hash", self.name));
        let coarse: Vec<_> = ["udp4", "udp6"]
            .into_iter()
            .zip(self.by_ports)
            .filter(|(_, ports)| *ports == Some(false))
            .collect();
        if coarse.is_empty() {
            let found = match self.by_ports {
                [None, None] => "the driver does not tell what it hashes of UDP",
                _ => "UDP flows are told apart by addresses and ports",
            };
            return Finding::ok(AREA, subject, found);
        }
        let flows: Vec<_> = coarse.into_iter().map(|(flow, _)| flow).collect();
        let found = format!("ports are not hashed of {}", flows.join(" and "));
        if self.served() < 2 {
            return Finding::ok(AREA, subject, format!("{found}, of no account with one queue"));
        }
        let commands: Vec<_> =
            flows.iter().map(|flow| format!("`ethtool -N {name} rx-flow-hash {flow} sdfn`")).collect();
        let remedy =
            format!("{}: else all media between two addresses comes to one queue", commands.join(", "));
        Finding::warn(AREA, subject, found, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn card() -> Queues<'static> {
        Queues {
            name: "eth0",
            receive: 4,
            send: 4,
            most: Some(8),
            combined: true,
            spread: Some(vec![0, 1, 2, 3]),
            by_ports: [Some(true); 2],
            workers: 4,
            wanted: None,
        }
    }

    #[track_caller]
    fn warns(queues: &Queues<'_>, remedy: &str) {
        let findings = queues.examine();
        let warned: Vec<_> = findings.iter().filter(|finding| finding.level() == Level::Warn).collect();
        assert_eq!(warned.len(), 1, "{findings:?}");
        assert!(warned[0].remedy().is_some_and(|said| said.contains(remedy)), "{warned:?}");
    }

    #[test]
    fn as_many_queues_as_workers_all_spread_over_are_well() {
        assert!(card().examine().iter().all(|finding| finding.level() == Level::Ok));
        let unknown = Queues { most: None, spread: None, by_ports: [None; 2], workers: 9, ..card() };
        assert!(unknown.examine().iter().all(|finding| finding.level() == Level::Ok));
    }

    #[test]
    fn workers_without_a_queue_are_given_one() {
        warns(&Queues { workers: 6, ..card() }, "`ethtool -L eth0 combined 6`");
        warns(&Queues { workers: 20, combined: false, ..card() }, "`ethtool -L eth0 rx 8`");
    }

    #[test]
    fn flows_to_queues_that_nobody_serves_are_spread_anew() {
        let few = Queues { receive: 4, most: None, wanted: Some(2), spread: Some(vec![0, 1]), ..card() };
        warns(&few, "`ethtool -L eth0 combined 2`");
        warns(&Queues { receive: 2, most: None, workers: 2, ..card() }, "`ethtool -X eth0 equal 2`");
        warns(&Queues { spread: Some(vec![0]), ..card() }, "`ethtool -X eth0 equal 4`");
    }

    #[test]
    fn a_hash_without_ports_is_mended_where_there_are_queues_to_choose() {
        let coarse = Queues { by_ports: [Some(false), Some(true)], ..card() };
        warns(&coarse, "`ethtool -N eth0 rx-flow-hash udp4 sdfn`");
        let one = Queues { receive: 1, most: None, workers: 1, spread: Some(vec![0]), ..coarse };
        assert!(one.examine().iter().all(|finding| finding.level() == Level::Ok));
    }

    #[test]
    fn an_interface_that_receives_nothing_is_of_no_use_to_xdp() {
        warns(&Queues { receive: 0, ..card() }, "io_uring");
    }
}
