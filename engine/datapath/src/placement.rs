//! Which CPU each worker runs on: cores before hyper-threads, the NIC's NUMA node before others.
//!
//! ```text
//! Topology (hwloc) ──Machine::read──▶ Machine ──decide──▶ Vec<Place> ──bind──▶ thread
//! ```
//!
//! The decision is a pure function of a [`Machine`], so that it can be tested on machines that are not
//! there (`HWLOC_SYNTHETIC`).

use std::collections::BTreeMap;

use hwlocality::Topology;
use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::cpu::cpuset::CpuSet;
use hwlocality::object::TopologyObject;
use hwlocality::object::types::ObjectType;

/// A CPU that a worker may run on (hwloc: a processing unit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The system's number of the CPU.
    pub cpu: usize,
    /// The core that it belongs to.
    pub core: usize,
    /// Its NUMA node.
    pub node: usize,
    /// Which of its core's hyper-threads it is.
    pub thread: usize,
}

/// The CPUs that the process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    places: Vec<Place>,
}

impl Machine {
    /// What hwloc says of this machine, or of the one that `HWLOC_SYNTHETIC` describes, less the CPUs
    /// that the process's cpuset or affinity keeps from it.
    pub fn detect() -> Result<(Self, Topology), PlacementError> {
        let topology = Topology::new().map_err(|error| PlacementError::Detect(error.to_string()))?;
        let mut machine = Self::read(&topology);
        if topology.is_this_system()
            && let Ok(allowed) = topology.cpu_binding(CpuBindingFlags::PROCESS)
        {
            machine.restrict(|cpu| allowed.is_set(cpu));
        }
        Ok((machine, topology))
    }

    /// The CPUs of a topology that its cpuset allows.
    pub fn read(topology: &Topology) -> Self {
        let allowed = topology.allowed_cpuset();
        let mut threads = BTreeMap::<usize, usize>::new();
        let mut places = Vec::new();
        for unit in topology.objects_with_type(ObjectType::PU) {
            let Some(cpu) = unit.os_index() else { continue };
            let core = unit
                .ancestors()
                .find(|above| above.object_type() == ObjectType::Core)
                .map_or(cpu, TopologyObject::logical_index);
            let thread = threads.entry(core).or_default();
            let place = Place { cpu, core, node: node_of(unit), thread: *thread };
            *thread += 1;
            if allowed.is_set(cpu) {
                places.push(place);
            }
        }
        Self { places }
    }

    /// Leaves out CPUs.
    pub fn restrict(&mut self, keep: impl Fn(usize) -> bool) {
        self.places.retain(|place| keep(place.cpu));
    }

    /// How many cores there are, counting none twice.
    pub fn cores(&self) -> usize {
        let mut cores: Vec<_> = self.places.iter().map(|place| place.core).collect();
        cores.sort_unstable();
        cores.dedup();
        cores.len()
    }

    /// The CPUs.
    pub fn places(&self) -> &[Place] {
        &self.places
    }
}

/// The NUMA node that a unit belongs to: hwloc hangs memory beside the tree of CPUs, so that the node is
/// found through the sets of nodes that each object carries.
fn node_of(unit: &TopologyObject) -> usize {
    unit.nodeset().and_then(|nodes| nodes.first_set()).map_or(0, usize::from)
}

/// Chooses a CPU for each worker, best first: each core's first hyper-thread before any core's second,
/// among these the NIC's node before others, then the CPUs' order. With more workers than CPUs the
/// choice begins anew. No CPUs, no places.
pub fn decide(machine: &Machine, nic_node: Option<usize>, workers: usize) -> Vec<Place> {
    let mut places = machine.places.clone();
    places.sort_by_key(|place| {
        // Counted among the CPUs that may be used: a core of which only the second hyper-thread is left
        // to the process is as good as any.
        let is_sibling = |other: &&Place| other.core == place.core && other.thread < place.thread;
        let siblings_before = machine.places.iter().filter(is_sibling).count();
        let remote = nic_node.is_some_and(|node| node != place.node);
        (siblings_before, remote, place.core, place.cpu)
    });
    places.into_iter().cycle().take(if machine.places.is_empty() { 0 } else { workers }).collect()
}

/// Binds the calling thread to a CPU.
pub fn bind(topology: &Topology, place: Place) -> Result<(), PlacementError> {
    let cpu = hwlocality::bitmap::BitmapIndex::try_from(place.cpu)
        .map_err(|_| PlacementError::Bind { cpu: place.cpu, reason: "its number is out of range".into() })?;
    let result = topology.bind_cpu(&CpuSet::from(cpu), CpuBindingFlags::THREAD);
    result.map_err(|error| PlacementError::Bind { cpu: place.cpu, reason: error.to_string() })
}

/// Why a worker is not where it should be. The engine warns and goes on: it runs anywhere, only slower.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// hwloc cannot tell what the machine looks like.
    #[error("hwloc cannot read this machine's topology ({0}); workers are left to the scheduler")]
    Detect(String),
    /// The system refused the binding.
    #[error(
        "cannot bind a worker to CPU {cpu} ({reason}); it is left to the scheduler: \
             check the cpuset and the CPU affinity of the process"
    )]
    Bind {
        /// The CPU.
        cpu: usize,
        /// What the system said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwlocality::topology::builder::TopologyBuilder;

    fn machine(description: &str) -> Machine {
        let builder = TopologyBuilder::new().from_synthetic(description).unwrap();
        Machine::read(&builder.build().unwrap())
    }

    fn cpus(places: &[Place]) -> Vec<usize> {
        places.iter().map(|place| place.cpu).collect()
    }

    #[test]
    fn one_core_takes_all_workers() {
        let machine = machine("numa:1 core:1 pu:1");
        assert_eq!(cpus(&decide(&machine, None, 3)), [0, 0, 0]);
    }

    #[test]
    fn cores_come_before_their_second_hyper_threads() {
        let machine = machine("numa:1 core:4 pu:2");
        let places = decide(&machine, None, 6);
        assert_eq!(places.iter().map(|place| place.core).collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1]);
        assert_eq!(places.iter().map(|place| place.thread).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn the_node_of_the_interface_comes_first() {
        let machine = machine("numa:2 core:4 pu:2");
        assert_eq!(machine.cores(), 8);
        let places = decide(&machine, Some(1), 6);
        assert_eq!(places.iter().map(|place| place.node).collect::<Vec<_>>(), [1, 1, 1, 1, 0, 0]);
        assert!(places.iter().all(|place| place.thread == 0));
    }

    #[test]
    fn chiplets_with_several_caches_are_filled_in_order() {
        let machine = machine("pack:2 numa:1 l3:2 core:2 pu:1");
        let places = decide(&machine, Some(0), 8);
        assert_eq!(places.iter().map(|place| place.node).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 1]);
        let mut distinct = cpus(&places);
        distinct.sort_unstable();
        assert_eq!(distinct, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn cpus_outside_the_cpuset_are_never_chosen() {
        let mut machine = machine("numa:2 core:4 pu:2");
        machine.restrict(|cpu| matches!(cpu, 2 | 3 | 9));
        let places = decide(&machine, Some(0), 5);
        assert_eq!(cpus(&places), [2, 9, 3, 2, 9], "core 1, core 4 of node 1, then core 1's second thread");
    }

    #[test]
    fn without_cpus_nothing_is_chosen() {
        assert!(decide(&Machine::default(), None, 2).is_empty());
    }

    #[test]
    fn this_machine_can_be_read_and_a_thread_bound_to_its_first_choice() {
        let (machine, topology) = Machine::detect().unwrap();
        let place = decide(&machine, None, 1)[0];
        std::thread::spawn(move || bind(&topology, place).unwrap()).join().unwrap();
    }
}
