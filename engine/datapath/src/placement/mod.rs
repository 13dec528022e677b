//! Which CPU each worker runs on, and which queues it serves.
//!
//! ```text
//! Topology (hwloc) ──Machine::read──▶ Machine ──┐
//!                              cards ───────────┴─decide──▶ Assignment ──bind──▶ threads
//! ```
//!
//! The decision is a pure function of a [`Machine`] and of the [`Card`]s, so that it can be tested on machines
//! that are not there (hwloc's synthetic topologies).

mod cpulist;
mod decide;

use std::collections::BTreeMap;

use hwlocality::Topology;
use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::cpu::cpuset::CpuSet;
use hwlocality::object::TopologyObject;
use hwlocality::object::types::ObjectType;

pub use self::cpulist::CpuList;
pub use self::decide::{Assignment, Card, decide};

/// A CPU that a worker may run on (hwloc: a processing unit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The system's number of the CPU.
    pub cpu: usize,
    /// The core that it belongs to.
    pub core: usize,
    /// The last-level cache that it shares with other cores, as hwloc counts them; of CPUs without an L3 cache
    /// their node.
    pub cache: usize,
    /// Its NUMA node.
    pub node: usize,
    /// Which of its core's hyper-threads it is.
    pub thread: usize,
    /// Whether the scheduler keeps other tasks away from it (`isolcpus`).
    pub isolated: bool,
}

/// The CPUs that the process may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    places: Vec<Place>,
}

impl Machine {
    /// What hwloc says of this machine, less the CPUs that are offline, and those that the process's cpuset or
    /// affinity keeps from it. Isolated CPUs are outside the affinity that a process is born with.
    pub fn detect() -> Result<(Self, Topology), PlacementError> {
        let topology = Topology::new().map_err(|error| PlacementError::Detect(error.to_string()))?;
        let mut machine = Self::read(&topology);
        if topology.is_this_system() {
            if let Ok(allowed) = topology.cpu_binding(CpuBindingFlags::PROCESS) {
                machine.restrict(|cpu| allowed.is_set(cpu));
            }
            if let Some(online) = CpuList::online() {
                machine.restrict(|cpu| online.contains(cpu));
            }
            machine.isolate(&CpuList::isolated());
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
            let above = |kind| {
                let mut found = unit.ancestors().filter(move |above| above.object_type() == kind);
                found.next().map(TopologyObject::logical_index)
            };
            let (core, node) = (above(ObjectType::Core).unwrap_or(cpu), node_of(unit));
            let cache = above(ObjectType::L3Cache).unwrap_or(node);
            let thread = threads.entry(core).or_default();
            let place = Place { cpu, core, cache, node, thread: *thread, isolated: false };
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

    /// Notes which CPUs are isolated.
    pub fn isolate(&mut self, isolated: &CpuList) {
        for place in &mut self.places {
            place.isolated = isolated.contains(place.cpu);
        }
    }

    /// How many workers there should be: one for each core, counting none twice. If some are isolated, and the
    /// process may use them, they are what workers are for, and the others are for everything else.
    pub fn workers(&self) -> usize {
        let any_isolated = self.places.iter().any(|place| place.isolated);
        let ours = self.places.iter().filter(|place| place.isolated || !any_isolated);
        let mut cores: Vec<_> = ours.map(|place| place.core).collect();
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

    #[test]
    fn this_machine_can_be_read_and_a_thread_bound_to_its_first_choice() {
        let (machine, topology) = Machine::detect().unwrap();
        assert!(machine.workers() >= 1);
        let place = decide(&machine, &[], 1).places[0];
        std::thread::spawn(move || bind(&topology, place).unwrap()).join().unwrap();
    }
}
