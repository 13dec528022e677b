//! The decision: CPUs for workers, and workers for queues.

use super::{Machine, Place};

/// A network card: how many receive queues of it workers shall serve, and on which NUMA node it is, if the
/// system says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Receive queues, from queue 0.
    pub queues: u32,
    /// The node.
    pub node: Option<usize>,
}

/// Where workers run and what they serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The CPU of each worker; none at all on a machine without CPUs.
    pub places: Vec<Place>,
    /// The queues of each worker: the card's position in the list of cards, and the queue.
    pub queues: Vec<Vec<(usize, u32)>>,
}

/// Chooses a CPU for each worker, and a worker for each queue.
///
/// Cards of one node have the same workers, each the same queues of all of them: what comes in by one card leaves by
/// another from the worker that it came to, for which that has to have a socket there. Workers are meant for the nodes'
/// cards in turn, as many for each node as the largest of its cards has queues, and the rest in turn again. The CPU of a
/// worker is, of those that the fewest workers have,
/// 1. an isolated one, if there is one left;
/// 2. one whose core no other worker is on: cores before hyper-threads;
/// 3. one on the cards' node;
/// 4. one that shares its last-level cache with workers of the same cards, or else with the fewest of others;
/// 5. the first.
///
/// A queue goes to the workers meant for its card, in turn: to those on the card's node, if any of them is.
pub fn decide(machine: &Machine, cards: &[Card], workers: usize) -> Assignment {
    let (groups, group_of) = by_node(cards);
    let meant = meant_for(&groups, workers);
    let places = choose(machine, &groups, &meant);
    let queues = deal(cards, &group_of, &meant, &places);
    Assignment { places, queues }
}

/// The cards of each node as one, in the order of their first, and for each card which of those it is part of.
fn by_node(cards: &[Card]) -> (Vec<Card>, Vec<usize>) {
    let (mut groups, mut group_of) = (Vec::<Card>::new(), Vec::with_capacity(cards.len()));
    for card in cards {
        let place = groups.iter().position(|group| group.node == card.node).unwrap_or_else(|| {
            groups.push(Card { queues: 0, ..*card });
            groups.len() - 1
        });
        groups[place].queues = groups[place].queues.max(card.queues);
        group_of.push(place);
    }
    (groups, group_of)
}

/// For each worker the cards that it is meant for.
fn meant_for(cards: &[Card], workers: usize) -> Vec<Option<usize>> {
    let most = cards.iter().map(|card| card.queues).max().unwrap_or(0);
    let with_queue = |round| (0..cards.len()).filter(move |card| round < cards[*card].queues);
    let rest = (0..cards.len()).cycle();
    let in_turn = (0..most).flat_map(with_queue).chain(rest).map(Some).chain(std::iter::repeat(None));
    in_turn.take(workers).collect()
}

fn choose(machine: &Machine, cards: &[Card], meant: &[Option<usize>]) -> Vec<Place> {
    let mut chosen: Vec<Place> = Vec::with_capacity(meant.len());
    for (worker, card) in meant.iter().enumerate() {
        let node = card.and_then(|card| cards[card].node);
        let best = machine.places().iter().min_by_key(|place| {
            let others = || chosen.iter().zip(&meant[..worker]);
            let on_cpu = others().filter(|(other, _)| other.cpu == place.cpu).count();
            let on_core = others().filter(|(other, _)| other.core == place.core).count();
            let remote = node.is_some_and(|node| node != place.node);
            let beside = || others().filter(|(other, _)| other.cache == place.cache);
            let strange = beside().filter(|(_, other)| *other != card).count();
            let alone = strange == beside().count();
            (on_cpu, !place.isolated, on_core, remote, alone, strange, place.core, place.cpu)
        });
        // Without CPUs there are none for the others either.
        let Some(best) = best else { break };
        chosen.push(*best);
    }
    chosen
}

fn deal(
    cards: &[Card],
    group_of: &[usize],
    meant: &[Option<usize>],
    places: &[Place],
) -> Vec<Vec<(usize, u32)>> {
    let mut dealt = vec![Vec::new(); meant.len()];
    for (number, card) in cards.iter().enumerate() {
        let is_local = |worker: &usize| match (card.node, places.get(*worker)) {
            (Some(node), Some(place)) => place.node == node,
            _ => true,
        };
        let all = 0..meant.len();
        let group = group_of.get(number).copied();
        let own: Vec<usize> =
            all.clone().filter(|worker| group.is_some() && meant[*worker] == group).collect();
        let servers = [
            own.iter().copied().filter(is_local).collect(),
            all.clone().filter(is_local).collect(),
            own,
            all.collect::<Vec<_>>(),
        ];
        let Some(servers) = servers.into_iter().find(|servers| !servers.is_empty()) else { continue };
        for (queue, worker) in (0..card.queues).zip(servers.into_iter().cycle()) {
            dealt[worker].push((number, queue));
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::super::CpuList;
    use super::*;
    use hwlocality::topology::builder::TopologyBuilder;

    fn machine(description: &str) -> Machine {
        let builder = TopologyBuilder::new().from_synthetic(description).unwrap();
        Machine::read(&builder.build().unwrap())
    }

    fn list(text: &str) -> CpuList {
        CpuList::parse(text).unwrap()
    }

    fn card(queues: u32, node: usize) -> Card {
        Card { queues, node: Some(node) }
    }

    /// Each worker's place as the function sees it.
    fn each<T>(assignment: &Assignment, what: impl Fn(&Place) -> T) -> Vec<T> {
        assignment.places.iter().map(what).collect()
    }

    /// The nodes of the workers that serve a card's queues.
    fn nodes_of(assignment: &Assignment, card: usize) -> Vec<usize> {
        let serves = |queues: &&(usize, u32)| queues.0 == card;
        let workers = assignment.places.iter().zip(&assignment.queues);
        workers.flat_map(|(place, queues)| queues.iter().filter(serves).map(|_| place.node)).collect()
    }

    fn queues_each(assignment: &Assignment) -> Vec<usize> {
        assignment.queues.iter().map(Vec::len).collect()
    }

    #[test]
    fn one_core_takes_all_workers_and_queues() {
        let machine = machine("numa:1 core:1 pu:1");
        let assignment = decide(&machine, &[Card { queues: 4, node: None }], 3);
        assert_eq!((machine.workers(), each(&assignment, |place| place.cpu)), (1, vec![0, 0, 0]));
        assert_eq!(assignment.queues, [vec![(0, 0), (0, 3)], vec![(0, 1)], vec![(0, 2)]]);
    }

    #[test]
    fn on_two_sockets_with_hyper_threads_cores_come_first_and_the_cards_node_among_them() {
        let machine = machine("numa:2 core:8 pu:2");
        assert_eq!(machine.workers(), 16);
        let assignment = decide(&machine, &[card(16, 1)], 20);
        let nodes = [vec![1; 8], vec![0; 8], vec![1; 4]].concat();
        assert_eq!(each(&assignment, |place| place.node), nodes);
        assert_eq!(each(&assignment, |place| place.thread), [vec![0; 16], vec![1; 4]].concat());
        let mut cpus = each(&assignment, |place| place.cpu);
        cpus.sort_unstable();
        cpus.dedup();
        assert_eq!(cpus.len(), 20, "no CPU has two workers");
        assert_eq!(nodes_of(&assignment, 0), [1; 16], "every queue is served on the card's node");
    }

    #[test]
    fn a_card_on_node_1_has_its_queues_there_one_each() {
        let assignment = decide(&machine("numa:2 core:4 pu:1"), &[card(4, 1)], 4);
        assert_eq!(each(&assignment, |place| place.node), [1; 4]);
        assert_eq!(queues_each(&assignment), [1; 4]);
    }

    #[test]
    fn workers_of_a_card_fill_one_cache_before_the_next() {
        // Two nodes of two chiplets of four cores each.
        let machine = machine("numa:2 l3:2 core:4 pu:2");
        let assignment = decide(&machine, &[card(6, 0)], 6);
        assert_eq!(each(&assignment, |place| place.cache), [0, 0, 0, 0, 1, 1]);
        let more = decide(&machine, &[card(6, 0)], 10);
        assert_eq!(each(&more, |place| place.cache), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn cards_of_a_node_have_the_same_workers_for_what_goes_from_one_to_the_other() {
        let machine = machine("numa:1 l3:2 core:4 pu:1");
        let assignment = decide(&machine, &[card(3, 0), card(3, 0)], 4);
        assert_eq!(assignment.queues[..3], [0, 1, 2].map(|queue| vec![(0, queue), (1, queue)]));
        assert_eq!(assignment.queues[3], []);
        let single = decide(&machine, &[Card { queues: 1, node: None }; 2], 2);
        assert_eq!(single.queues, [vec![(0, 0), (1, 0)], vec![]]);
    }

    #[test]
    fn cards_on_different_nodes_are_served_on_their_own() {
        let machine = machine("numa:2 l3:1 core:4 pu:2");
        for workers in [2, 3, 4, 8] {
            let assignment = decide(&machine, &[card(4, 0), card(4, 1)], workers);
            assert_eq!(nodes_of(&assignment, 0), [0; 4], "{workers} workers");
            assert_eq!(nodes_of(&assignment, 1), [1; 4], "{workers} workers");
        }
        let uneven = decide(&machine, &[card(6, 1), card(1, 0)], 4);
        assert_eq!(each(&uneven, |place| place.node), [1, 0, 1, 1], "as many as there are queues");
        assert_eq!(queues_each(&uneven), [2, 1, 2, 2]);
        // One worker serves what there is, wherever it is.
        let lone = decide(&machine, &[card(2, 0), card(2, 1)], 1);
        assert_eq!(queues_each(&lone), [4]);
    }

    #[test]
    fn cpus_outside_a_cpuset_of_three_are_never_chosen() {
        let mut machine = machine("numa:2 core:4 pu:2");
        machine.restrict(|cpu| matches!(cpu, 2 | 3 | 9));
        assert_eq!(machine.workers(), 2);
        let assignment = decide(&machine, &[card(5, 0)], 5);
        let cpus = each(&assignment, |place| place.cpu);
        assert_eq!(cpus, [2, 9, 3, 9, 2], "core 1, core 4 of node 1, core 1's second thread, and then again");
    }

    #[test]
    fn offline_cpus_are_never_chosen_and_their_siblings_count_as_cores() {
        let mut machine = machine("numa:2 core:2 pu:2");
        let online = list("1-2,5-7");
        machine.restrict(|cpu| online.contains(cpu));
        assert_eq!(machine.workers(), 4);
        let assignment = decide(&machine, &[card(2, 0)], 5);
        assert_eq!(each(&assignment, |place| place.cpu), [1, 2, 5, 6, 7]);
        assert_eq!(queues_each(&assignment), [1, 1, 0, 0, 0]);
    }

    #[test]
    fn isolated_cpus_are_for_workers() {
        let mut machine = machine("numa:2 core:4 pu:1");
        machine.isolate(&list("2-3,6-7"));
        assert_eq!(machine.workers(), 4, "the others are for the rest of the system");
        let assignment = decide(&machine, &[card(4, 1)], 5);
        assert_eq!(each(&assignment, |place| place.cpu), [6, 7, 2, 3, 4], "and no CPU has two workers");
        assert_eq!(nodes_of(&assignment, 0), [1; 4]);
        // Without permission to use them they are as good as not there.
        machine.restrict(|cpu| cpu < 2);
        assert_eq!(machine.workers(), 2);
    }

    #[test]
    fn cards_of_which_the_node_is_unknown_are_served_anywhere_and_together() {
        let assignment = decide(&machine("numa:2 core:4 pu:1"), &[Card { queues: 4, node: None }], 4);
        assert_eq!(each(&assignment, |place| place.node), [0; 4]);
        assert_eq!(queues_each(&assignment), [1; 4]);
    }

    #[test]
    fn a_node_without_cpus_to_use_has_its_queues_served_elsewhere() {
        let mut machine = machine("numa:2 core:2 pu:1");
        machine.restrict(|cpu| cpu < 2);
        let assignment = decide(&machine, &[card(4, 1)], 2);
        assert_eq!(queues_each(&assignment), [2, 2]);
    }

    #[test]
    fn without_cpus_no_place_is_chosen_and_queues_are_dealt_all_the_same() {
        let assignment = decide(&Machine::default(), &[card(3, 0)], 2);
        assert!(assignment.places.is_empty());
        assert_eq!(queues_each(&assignment), [2, 1]);
        assert_eq!(decide(&Machine::default(), &[], 2).queues, [vec![], vec![]] as [Vec<(usize, u32)>; 2]);
    }
}
