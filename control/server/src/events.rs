//! From the engine's events to the API's, and answers to negotiation datagrams that need no state.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_classifier::Verdict;
use sluice_datapath::{Command, Component, Direction, Event, EventReceiver, LegId};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tracing::{debug, error, info, warn};

use crate::gateway::{Gateway, path_name};
use crate::recording::Notice;
use crate::stun;

/// Takes events from the engine until it has shut down. Blocks its thread.
pub(crate) fn pump(gateway: &Arc<Gateway>, events: &EventReceiver) {
    while let Some(event) = events.recv() {
        handle(gateway, event);
    }
}

/// Tells watchers of an event, and has done what follows from it.
pub(crate) fn handle(gateway: &Gateway, event: Event) {
    let (leg, kind) = match event {
        Event::FirstMedia { leg, ssrc, path, .. } => {
            gateway.media_path.first_media(leg);
            (Some(leg), Kind::FirstMedia(v1::FirstMedia { ssrc, path: path_name(path).to_owned() }))
        }
        Event::StreamStarted { leg, ssrc, .. } => {
            (Some(leg), Kind::StreamStarted(v1::StreamStarted { ssrc }))
        }
        Event::StreamStopped { leg, ssrc, packets, bytes, .. } => {
            (Some(leg), Kind::StreamStopped(v1::StreamStopped { ssrc, packets, bytes }))
        }
        Event::AuthFailureBurst { leg, count, .. } => {
            (Some(leg), Kind::AuthFailureBurst(v1::Burst { count }))
        }
        Event::ReplayBurst { leg, count, .. } => (Some(leg), Kind::ReplayBurst(v1::Burst { count })),
        Event::KeyExpiring { leg, direction, key, remaining, .. } => {
            let key = gateway.directory.key(leg, key).unwrap_or_default();
            let direction = shown(direction).into();
            (Some(leg), Kind::KeyExpiring(v1::KeyExpiring { key, direction, remaining }))
        }
        Event::KeyExpired { leg, direction, key, .. } => {
            let key = gateway.directory.key(leg, key).unwrap_or_default();
            (Some(leg), Kind::KeyExpired(v1::KeyExpired { key, direction: shown(direction).into() }))
        }
        Event::SsrcClash { leg, route, ssrc, rewritten, .. } => {
            let route = gateway.directory.route(route).unwrap_or_default();
            (Some(leg), Kind::SsrcClash(v1::SsrcClash { ssrc, route, rewritten }))
        }
        Event::PathChange { leg, from, to, .. } => {
            let (from, to) = (path_name(from).to_owned(), path_name(to).to_owned());
            (Some(leg), Kind::PathChange(v1::PathChange { from, to }))
        }
        Event::RemoteChanged { leg, component, from, to, signalled, .. } => {
            if component == Component::Rtp {
                gateway.directory.learnt(leg, to, signalled);
            }
            let from = from.map_or_else(String::new, |from| from.to_string());
            let rtcp = component == Component::Rtcp;
            (Some(leg), Kind::RemoteChanged(v1::RemoteChanged { rtcp, from, to: to.to_string() }))
        }
        Event::EarlyMediaReleased { leg, packets, waited, .. } => {
            let waited_milliseconds = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            let released = v1::EarlyMediaReleased { packets, waited_milliseconds };
            (Some(leg), Kind::EarlyMediaReleased(released))
        }
        Event::Unreachable { leg, component, remote, why, by, count, .. } => {
            let unreachable = v1::Unreachable {
                rtcp: component == Component::Rtcp,
                remote: remote.to_string(),
                reason: why.name().to_owned(),
                by: by.map_or_else(String::new, |by| by.to_string()),
                count,
            };
            (Some(leg), Kind::Unreachable(unreachable))
        }
        Event::MtuExceeded { leg, size, mtu, count, .. } => {
            let exceeded = v1::MtuExceeded { size: size as u64, mtu: mtu.unwrap_or_default(), count };
            (Some(leg), Kind::MtuExceeded(exceeded))
        }
        Event::Negotiation { leg, component, remote, verdict, bytes } => {
            let answered = verdict == Verdict::Stun && answer(gateway, leg, component, remote, &bytes);
            if !answered && is_negotiated(gateway, leg, verdict) {
                let is_stun = verdict == Verdict::Stun;
                return gateway.media_path.take(leg, is_stun, component, remote, bytes);
            }
            let Some(untold) = gateway.directory.tell_negotiation(leg) else { return };
            let negotiation = v1::Negotiation {
                protocol: protocol(verdict).to_owned(),
                remote: remote.to_string(),
                length: bytes.len() as u32,
                answered,
                rtcp: component == Component::Rtcp,
                untold,
            };
            (Some(leg), Kind::Negotiation(negotiation))
        }
        Event::DatapathDegraded { interface, reason } => {
            warn!(interface, reason, "datapath degraded");
            (None, Kind::Degraded(v1::Degraded { interface, reason }))
        }
        Event::OverloadBegan { worker, .. } => {
            warn!(worker, "overload: media comes faster than the worker takes it, and the newest is dropped");
            (None, Kind::Overload(v1::Overload { worker: worker as u32, over: false, dropped: 0 }))
        }
        Event::OverloadEnded { worker, dropped, .. } => {
            warn!(worker, dropped, "overload is over");
            (None, Kind::Overload(v1::Overload { worker: worker as u32, over: true, dropped }))
        }
        Event::WorkerDied { worker, reason } => {
            error!(worker, reason, "a worker died: its calls have no media; restart sluice");
            gateway.recording.notice(Notice::Died { worker, reason: reason.clone() });
            let reason = format!("worker {worker} died: {reason}");
            (None, Kind::Degraded(v1::Degraded { interface: String::new(), reason }))
        }
    };
    publish(gateway, leg, kind);
}

/// Tells watchers of something that happened to a leg, or to the daemon.
pub(crate) fn publish(gateway: &Gateway, leg: Option<LegId>, kind: Kind) {
    let (session, leg) = match leg {
        None => Default::default(),
        Some(number) => match gateway.directory.leg(number) {
            Some(names) => (names.session, names.leg),
            // An empty session would make it an event of the whole daemon.
            None => return debug!(number, ?kind, "event of a leg that is long gone"),
        },
    };
    match &kind {
        Kind::Negotiation(seen) => debug!(session, leg, ?seen, "negotiation datagram"),
        kind => info!(session, leg, ?kind, "event"),
    }
    gateway.publish(v1::Event { time_unix_nanoseconds: unix_nanoseconds(), session, leg, kind: Some(kind) });
}

/// Now, as events tell it.
pub(crate) fn unix_nanoseconds() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a datagram is for the leg's handshake or checks.
fn is_negotiated(gateway: &Gateway, leg: LegId, verdict: Verdict) -> bool {
    let what = gateway.directory.what_it_negotiates(leg);
    match verdict {
        Verdict::Stun => what.ice,
        Verdict::Dtls => what.dtls,
        _ => false,
    }
}

/// Answers a STUN Binding request; whether it was one.
fn answer(
    gateway: &Gateway,
    leg: LegId,
    component: Component,
    remote: std::net::SocketAddr,
    bytes: &[u8],
) -> bool {
    let Some(names) = gateway.directory.leg(leg) else { return false };
    let Some(bytes) = stun::answer(bytes, remote) else { return false };
    // The worker counts what it cannot send; a STUN client repeats its request (RFC 8489 §6.2.1).
    let command = Command::SendDatagram { leg, component, remote, bytes };
    matches!(gateway.try_send(names.worker, command), Ok(Ok(_)))
}

const fn protocol(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Stun => "stun",
        Verdict::Dtls => "dtls",
        Verdict::Zrtp => "zrtp",
        Verdict::TurnChannel => "turn",
        _ => "unknown",
    }
}

const fn shown(direction: Direction) -> v1::Direction {
    match direction {
        Direction::Inbound => v1::Direction::Inbound,
        Direction::Outbound => v1::Direction::Outbound,
    }
}
