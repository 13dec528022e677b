//! Taps of sessions: started, ended, and kept up with the legs that they copy.

mod outlets;
mod peer;
mod start;
mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use sluice_datapath::{Engine, LegId};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

pub(super) use self::outlets::Outlet;
use super::Gateway;
use super::sending::Fingerprint;
use super::state::{Key, Session, State};
use crate::ApiError;
use crate::events::unix_nanoseconds;
use crate::recording::{Capture, Ended, Notice, Order, TapName, Written, audit_end, file_name};

/// Taps of a session that are remembered after their end.
const REMEMBERED: usize = 64;

/// A tap of a session.
#[derive(Clone)]
pub(crate) struct Tap {
    name: TapName,
    /// As it was asked for, without the key.
    config: v1::TapConfig,
    /// Of the key that the client gave.
    given: Option<Fingerprint>,
    kind: TapKind,
    /// Its legs in the engine, while it runs: towards a peer one for all, towards files one for each that is copied.
    outlets: Vec<Outlet>,
    /// Packets that outlets dropped which are gone.
    lost: u64,
    started: u64,
    ended: Option<Over>,
    timer: Option<AbortHandle>,
}

/// Where copies go.
#[derive(Clone)]
enum TapKind {
    File(Arc<Written>),
    Peer {
        local: SocketAddr,
        /// What keeps others from sending under it. Gone once the tap has ended.
        key: Option<Box<Key>>,
        /// What the gateway made, for the recorder to be told.
        made: Option<Arc<Zeroizing<Vec<u8>>>>,
    },
}

/// How a tap ended.
#[derive(Clone)]
struct Over {
    why: Ended,
    at: u64,
    amounts: Totals,
    files: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    packets: u64,
    bytes: u64,
    dropped: u64,
}

/// A tap whose session was deleted.
pub(crate) struct GoneTap(Tap);

impl Tap {
    /// The numbers of its legs in the engine.
    pub(super) fn legs(&self) -> impl Iterator<Item = LegId> {
        self.outlets.iter().map(|outlet| outlet.number)
    }

    fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    fn amounts(&self) -> Totals {
        if let Some(over) = &self.ended {
            return over.amounts;
        }
        let dropped = self.lost + self.outlets.iter().map(Outlet::dropped).sum::<u64>();
        match &self.kind {
            TapKind::File(written) => {
                let amounts = written.amounts();
                let (packets, bytes) = (amounts.packets, amounts.bytes);
                Totals { packets, bytes, dropped: dropped + amounts.lost }
            }
            TapKind::Peer { .. } => {
                let sent = self.outlets.iter().map(|outlet| outlet.stats.snapshot());
                sent.fold(Totals { dropped, ..Totals::default() }, |sum, sent| Totals {
                    packets: sum.packets + sent.sent_rtp.packets + sent.sent_rtcp.packets,
                    bytes: sum.bytes + sent.sent_rtp.bytes + sent.sent_rtcp.bytes,
                    ..sum
                })
            }
        }
    }

    fn files(&self) -> Vec<String> {
        match (&self.ended, &self.kind, &self.config.destination) {
            (Some(over), ..) => over.files.clone(),
            (None, TapKind::File(written), Some(v1::tap_config::Destination::File(file))) => {
                (1..=written.amounts().files).map(|number| file_name(&file.name, number)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn shown(&self) -> v1::Tap {
        let amounts = self.amounts();
        let (state, end, detail, ended_at) = match &self.ended {
            None => (v1::TapState::Running, v1::TapEnd::Unspecified, String::new(), 0),
            Some(over) => (v1::TapState::Ended, over.why.end, over.why.detail.clone(), over.at),
        };
        let sources = self.outlets.iter().flat_map(|outlet| &outlet.sources);
        v1::Tap {
            session: self.name.session.clone(),
            id: self.name.tap.clone(),
            config: Some(self.config.clone()),
            state: state.into(),
            end: end.into(),
            detail,
            started_unix_nanoseconds: self.started,
            ended_unix_nanoseconds: ended_at,
            packets: amounts.packets,
            bytes: amounts.bytes,
            dropped: amounts.dropped,
            tapped_legs: sources.map(|source| source.leg.clone()).collect(),
            files: self.files(),
            local_rtp: match &self.kind {
                TapKind::Peer { local, .. } => local.to_string(),
                TapKind::File(_) => String::new(),
            },
        }
    }

    /// It has ended: what it was is remembered, and its key is not.
    fn end(&mut self, why: Ended) {
        let (amounts, files) = (self.amounts(), self.files());
        self.ended = Some(Over { why, at: unix_nanoseconds(), amounts, files });
        self.outlets.clear();
        if let TapKind::Peer { key, made, .. } = &mut self.kind {
            (*key, *made) = (None, None);
        }
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}

impl Session {
    fn running_tap(&mut self, name: &TapName) -> Option<&mut Tap> {
        self.taps.get_mut(&name.tap).filter(|tap| tap.name == *name && tap.is_running())
    }
}

impl Gateway {
    /// Ends a tap; one that has ended is as it is.
    pub(crate) async fn stop_tap(&self, session: &str, id: &str) -> Result<v1::Tap, ApiError> {
        let _turn = self.recording.turn.lock().await;
        let name = {
            let mut state = self.state.lock().await;
            let tap = find(&mut state, session, id)?;
            if !tap.is_running() {
                return Ok(tap.shown());
            }
            tap.name.clone()
        };
        self.finish_tap(&name, Ended::by(v1::TapEnd::Stopped)).await;
        Ok(find(&mut *self.state.lock().await, session, id)?.shown())
    }

    pub(crate) async fn get_tap(&self, session: &str, id: &str) -> Result<v1::Tap, ApiError> {
        self.end_taps_of_the_dead(Engine::is_alive).await;
        Ok(find(&mut *self.state.lock().await, session, id)?.shown())
    }

    /// The whole name of a tap.
    pub(crate) async fn tap_name(&self, session: &str, id: &str) -> Result<TapName, ApiError> {
        Ok(find(&mut *self.state.lock().await, session, id)?.name.clone())
    }

    pub(crate) async fn list_taps(&self, session: &str) -> Result<Vec<v1::Tap>, ApiError> {
        self.end_taps_of_the_dead(Engine::is_alive).await;
        let mut state = self.state.lock().await;
        let all = |taps: &BTreeMap<String, Tap>| taps.values().map(Tap::shown).collect::<Vec<_>>();
        if session.is_empty() {
            return Ok(state.sessions.values().flat_map(|session| all(&session.taps)).collect());
        }
        Ok(all(&state.session(session)?.taps))
    }

    /// The key that was made for a tap.
    pub(crate) async fn tap_key(&self, session: &str, id: &str) -> Result<v1::TapKey, ApiError> {
        let mut state = self.state.lock().await;
        let tap = find(&mut state, session, id)?;
        if !tap.is_running() {
            let message = format!("tap {id:?} has ended, and its key is no more");
            return Err(ApiError::precondition("TAP_ENDED", message, "ask for the key while the tap runs"));
        }
        if let TapKind::Peer { made: Some(made), .. } = &tap.kind
            && let Some(v1::tap_config::Destination::Peer(peer)) = &tap.config.destination
            && let Some(key) = &peer.key
        {
            return Ok(v1::TapKey { key_salt: made.to_vec(), ..key.clone() });
        }
        let message = format!("no key was made for tap {id:?}");
        let remedy = "only keys that StartTap left to the gateway are told";
        Err(ApiError::precondition("NO_KEY", message, remedy))
    }

    /// Ends a tap of its own accord.
    pub(crate) async fn end_tap(&self, name: &TapName, ended: Ended) {
        let _turn = self.recording.turn.lock().await;
        self.finish_tap(name, ended).await;
    }

    /// Ends all taps of a session; of all sessions, if it is empty.
    pub(crate) async fn end_taps(&self, session: &str, ended: &Ended) {
        self.end_taps_where(|id, _| session.is_empty() || id == session, ended).await;
    }

    async fn end_taps_where(&self, which: impl Fn(&str, &Session) -> bool, ended: &Ended) {
        let _turn = self.recording.turn.lock().await;
        let names: Vec<_> = {
            let state = self.state.lock().await;
            let sessions = state.sessions.iter().filter(|(id, session)| which(id, session));
            let taps = sessions.flat_map(|(_, session)| session.taps.values());
            taps.filter(|tap| tap.is_running()).map(|tap| tap.name.clone()).collect()
        };
        for name in names {
            self.finish_tap(&name, ended.clone()).await;
        }
    }

    /// Ends taps whose session is gone, and with it their legs.
    pub(crate) async fn bury_taps(&self, taps: Vec<GoneTap>) {
        let _turn = self.recording.turn.lock().await;
        for GoneTap(mut tap) in taps.into_iter().filter(|gone| gone.0.is_running()) {
            let why = self.close_files(&tap, Ended::by(v1::TapEnd::Session)).await;
            tap.end(why);
            self.told_end(&tap);
        }
    }

    /// Takes a tap's legs away, and closes its files. The caller has the turn.
    async fn finish_tap(&self, name: &TapName, ended: Ended) {
        let mut tap = {
            let mut state = self.state.lock().await;
            let Ok(session) = state.session(&name.session) else { return };
            let Some(tap) = session.running_tap(name).cloned() else { return };
            for outlet in &tap.outlets {
                self.remove_outlet(&mut state, &name.session, outlet).await;
            }
            tap
        };
        let why = self.close_files(&tap, ended).await;
        let mut state = self.state.lock().await;
        if let Ok(session) = state.session(&name.session)
            && let Some(known) = session.running_tap(name)
        {
            known.end(why);
            tap = known.clone();
            forget_oldest(&mut session.taps);
            self.told_end(&tap);
        }
    }

    /// Has what is in memory written; why the tap ended after all.
    async fn close_files(&self, tap: &Tap, ended: Ended) -> Ended {
        if !matches!(tap.kind, TapKind::File(_)) {
            return ended;
        }
        let Ok(thread) = self.recording.thread(&self.directory) else { return ended };
        let (done, captured) = oneshot::channel();
        thread.tell(Order::End { name: tap.name.clone(), done });
        let Ok(Some(capture)) = captured.await else { return ended };
        match tokio::task::spawn_blocking(move || Capture::finish(capture)).await {
            Ok(Err(stop)) => Ended { end: v1::TapEnd::Storage, detail: stop.to_string() },
            _ => ended,
        }
    }

    fn told_end(&self, tap: &Tap) {
        self.recording.ended();
        let Some(over) = &tap.ended else { return };
        let v1::Tap { packets, bytes, dropped, .. } = tap.shown();
        let (reason, detail) = (over.why.reason().to_owned(), over.why.detail.clone());
        let TapName { session, tap: id, .. } = &tap.name;
        tracing::info!(session, tap = id, reason, detail, packets, bytes, dropped, "a tap has ended");
        // Who stops one is told by the call.
        if over.why.end != v1::TapEnd::Stopped {
            audit_end(self, &tap.name, &over.why);
        }
        let ended = v1::TapEnded { tap: id.clone(), reason, detail, packets, bytes, dropped };
        self.tell_of_tap(session, Kind::TapEnded(ended));
    }

    fn tell_of_tap(&self, session: &str, kind: Kind) {
        let time_unix_nanoseconds = unix_nanoseconds();
        let session = session.to_owned();
        self.publish(v1::Event { time_unix_nanoseconds, session, leg: String::new(), kind: Some(kind) });
    }

    /// Has taps of the session follow its legs, a little later.
    pub(super) fn legs_changed(&self, state: &State, session: &str) {
        let tapped = state.sessions.get(session).is_some_and(|session| !session.taps.is_empty());
        if tapped {
            self.recording.notice(Notice::Legs(session.to_owned()));
        }
    }

    /// The engine lost the session's legs, with those of its taps.
    pub(super) fn legs_lost(&self, state: &State, session: &str) {
        let tapped = state.sessions.get(session).is_some_and(|session| !session.taps.is_empty());
        if tapped {
            self.recording.notice(Notice::Lost(session.to_owned()));
        }
    }

    /// Takes legs of a session's taps away with it; the rest is done a little later.
    pub(super) async fn remove_taps(&self, state: &mut State, id: &str) {
        let Ok(session) = state.session(id) else { return };
        let taps = std::mem::take(&mut session.taps);
        for outlet in taps.values().flat_map(|tap| &tap.outlets) {
            self.remove_outlet(state, id, outlet).await;
        }
        let running: Vec<_> = taps.into_values().filter(Tap::is_running).map(GoneTap).collect();
        if !running.is_empty() {
            self.recording.notice(Notice::Gone(running));
        }
    }
}

fn find<'a>(state: &'a mut State, session: &str, id: &str) -> Result<&'a mut Tap, ApiError> {
    let taps = &mut state.session(session)?.taps;
    taps.get_mut(id).ok_or_else(|| ApiError::not_found("tap", "tap", id))
}

fn forget_oldest(taps: &mut BTreeMap<String, Tap>) {
    let ended =
        taps.values().filter_map(|tap| Some((tap.ended.as_ref()?.at, tap.name.number, &tap.name.tap)));
    let mut ended: Vec<_> = ended.collect();
    if ended.len() > REMEMBERED {
        ended.sort_unstable();
        let oldest = ended[0].2.clone();
        taps.remove(&oldest);
    }
}
