//! What became of datagrams: sends that failed, what the sockets' queues of errors say, and the news that is kept of it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::errors::{self, Report};
use super::{SEND, UringIo, user_data};
use crate::{Trouble, TroubleKind, TxMeta};

/// Pieces of news that are kept until they are taken.
const KEPT: usize = 256;
/// Errors taken from one socket in one go.
const ERRORS: usize = 64;
/// Errors taken in one turn, from all sockets: each is a system call, and anybody may send ICMP.
const BUDGET: usize = 256;

/// News that waits to be taken, and the sockets that have more.
pub(super) struct Troubles {
    news: VecDeque<Trouble>,
    /// Places whose queues of errors were not taken to the end, each once; and room for them during a turn.
    places: Vec<u32>,
    spare: Vec<u32>,
    /// Errors that may still be taken in this turn.
    budget: usize,
    /// Counts turns.
    turn: u64,
}

impl Troubles {
    pub(super) fn new() -> Self {
        Self {
            news: VecDeque::with_capacity(KEPT),
            places: Vec::new(),
            spare: Vec::new(),
            budget: BUDGET,
            turn: 1,
        }
    }

    /// Keeps a piece of news, if there is room; whether there was. What the kernel did not send displaces other news, for
    /// which counters suffice.
    fn put(&mut self, trouble: Trouble) -> bool {
        let refused = |trouble: &Trouble| matches!(trouble.kind, TroubleKind::TooBig { .. });
        if self.news.len() >= KEPT {
            let other = self.news.iter().rposition(|kept| !refused(kept));
            let Some(other) = other.filter(|_| refused(&trouble)) else { return false };
            self.news.remove(other);
        }
        self.news.push_back(trouble);
        true
    }

    pub(super) fn take(&mut self) -> Option<Trouble> {
        self.news.pop_front()
    }
}

/// What a socket's queue of errors had.
#[derive(Default)]
struct Taken {
    /// Whether it had anything in this turn, or was not asked because the turn's budget is spent.
    any: bool,
    /// To whom a datagram was refused last, and what the path takes.
    refused: Option<(IpAddr, u32)>,
}

impl UringIo {
    /// Takes more from the queues of errors that were not taken to the end.
    pub(super) fn take_more_errors(&mut self) {
        self.troubles.budget = BUDGET;
        self.troubles.turn += 1;
        let spare = std::mem::take(&mut self.troubles.spare);
        let mut places = std::mem::replace(&mut self.troubles.places, spare);
        for place in places.drain(..) {
            if let Some(Some(receiver)) = self.receivers.get_mut(place as usize) {
                receiver.has_more_errors = false;
                self.take_errors(place);
            }
        }
        self.troubles.spare = places;
    }

    /// A send failed, with this error; whether for good.
    #[cold]
    pub(super) fn failed(&mut self, number: u32, error: i32) -> bool {
        let sent = self.sends.frame(number).and_then(|frame| Some((*frame.egress()?, frame.payload())));
        let Some((meta, payload)) = sent else { return true };
        let head = std::array::from_fn(|at| payload.get(at).copied().unwrap_or_default());
        let length = payload.len();
        let place = self.by_token.get(&meta.socket).copied();
        let taken = match place {
            Some(place) if is_news(error) => self.take_errors(place),
            _ => Taken::default(),
        };
        let mtu = taken.refused.filter(|(remote, _)| is_to(&meta, *remote)).map(|(_, mtu)| mtu);
        // Where the kernel did not refuse this very datagram, it told of an earlier one's fate.
        if mtu.is_none() && taken.any && self.send_again(number, place) {
            return false;
        }
        if error != libc::EMSGSIZE {
            self.counters.send_failed += 1;
            return true;
        }
        let kind = TroubleKind::TooBig { head, length, mtu };
        // Who hears of it takes it back from what was sent.
        if !self.troubles.put(Trouble { socket: meta.socket, remote: meta.remote, kind }) {
            self.counters.send_too_big += 1;
        }
        true
    }

    fn send_again(&mut self, number: u32, place: Option<u32>) -> bool {
        let receiver = place.and_then(|place| self.receivers.get(place as usize)?.as_ref());
        let Some(target) = receiver.map(|receiver| receiver.target) else { return false };
        let Some(entry) = self.sends.again(number, target) else { return false };
        self.again = true;
        self.push(&entry.user_data(user_data(SEND, 0, number)))
    }

    /// A receive failed, with this error.
    pub(super) fn receive_failed(&mut self, place: u32, error: i32) {
        if is_news(error) {
            self.take_errors(place);
        } else {
            self.counters.socket_errors += 1;
        }
    }

    /// Takes what a socket was told of the fate of datagrams: as long as that waits, the socket calls for attention.
    fn take_errors(&mut self, place: u32) -> Taken {
        let mut taken = Taken::default();
        let turn = self.troubles.turn;
        let Some(Some(receiver)) = self.receivers.get_mut(place as usize) else { return taken };
        let (token, socket) = (receiver.token, Arc::clone(&receiver.socket));
        for _ in 0..ERRORS.min(self.troubles.budget) {
            let Some(report) = errors::next(&socket) else {
                // What several sends of a batch failed for may have been taken by the first.
                taken.any = receiver.errors_at == turn;
                return taken;
            };
            self.troubles.budget -= 1;
            receiver.errors_at = turn;
            match report {
                Report::Icmp(remote, kind) => {
                    self.counters.socket_errors += 1;
                    self.troubles.put(Trouble { socket: token, remote, kind });
                }
                Report::Refused(remote, mtu) => taken.refused = Some((remote.ip(), mtu)),
                Report::Other => {}
            }
        }
        taken.any = true;
        if !std::mem::replace(&mut receiver.has_more_errors, true) {
            self.troubles.places.push(place);
        }
        taken
    }
}

/// Whether a datagram went to this address. A socket of both families says IPv4 in IPv6's clothes.
fn is_to(meta: &TxMeta, remote: IpAddr) -> bool {
    meta.remote.ip().to_canonical() == remote.to_canonical()
}

/// Whether an error is what ICMP makes of it (`icmp_err_convert` of the kernel): it tells of an earlier datagram, and
/// not of the one that was to be received or sent. `EMSGSIZE` may be either.
const fn is_news(error: i32) -> bool {
    matches!(
        error,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EPROTO
            | libc::EACCES
            | libc::EMSGSIZE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Component, SocketToken};

    fn trouble(leg: u32, kind: TroubleKind) -> Trouble {
        let socket = SocketToken { leg, component: Component::Rtp };
        Trouble { socket, remote: "192.0.2.9:5000".parse().unwrap(), kind }
    }

    #[test]
    fn what_was_not_sent_displaces_other_news_and_nothing_displaces_it() {
        let too_big = TroubleKind::TooBig { head: [0x80, 0], length: 2000, mtu: None };
        let mut troubles = Troubles::new();
        for leg in 0..KEPT as u32 {
            assert!(troubles.put(trouble(leg, TroubleKind::PathMtu(1300))));
        }
        assert!(!troubles.put(trouble(1000, TroubleKind::PathMtu(1300))), "full");
        for leg in 0..KEPT as u32 {
            assert!(troubles.put(trouble(2000 + leg, too_big)));
        }
        assert!(!troubles.put(trouble(5000, too_big)), "full of its like");
        let told: Vec<u32> = std::iter::from_fn(|| troubles.take()).map(|told| told.socket.leg).collect();
        assert_eq!(told, (2000..2000 + KEPT as u32).collect::<Vec<_>>());
    }

    #[test]
    fn an_address_is_the_same_in_ipv6_clothes() {
        let meta = TxMeta {
            socket: SocketToken { leg: 0, component: Component::Rtp },
            local: "[::]:4000".parse().unwrap(),
            remote: "192.0.2.9:5000".parse().unwrap(),
            next_hop: None,
            dscp: 0,
        };
        let mapped = TxMeta { remote: "[::ffff:192.0.2.9]:5000".parse().unwrap(), ..meta };
        for remote in ["192.0.2.9", "::ffff:192.0.2.9"] {
            let remote = remote.parse().unwrap();
            assert!(is_to(&meta, remote) && is_to(&mapped, remote));
        }
        assert!(!is_to(&meta, "192.0.2.8".parse().unwrap()));
    }
}
