//! How a tap begins.

use std::sync::Arc;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_srtp::Suite;
use zeroize::Zeroizing;

use super::{Tap, TapKind, find};
use crate::ApiError;
use crate::events::unix_nanoseconds;
use crate::gateway::derivation::{Derived, Installs};
use crate::gateway::{Fingerprint, Gateway};
use crate::recording::{Capture, Destination, Ended, Key, Notice, Order, Plan, TapName, Written};

/// A key that was derived, and what it was derived from if the gateway made that.
pub(super) type Keyed = (Derived, Option<Arc<Zeroizing<Vec<u8>>>>);

impl Gateway {
    /// Begins to copy what legs of a session receive.
    pub(crate) async fn start_tap(&self, plan: Plan) -> Result<v1::Tap, ApiError> {
        let _turn = self.recording.turn.lock().await;
        let given = given(&plan, |key_salt| self.sending.fingerprint(key_salt));
        if let Some(known) = self.known_tap(&plan, given).await? {
            return Ok(known);
        }
        let Plan { session, tap, config, seconds, destination } = plan;
        let name = TapName { session, tap, number: self.recording.number() };
        match destination {
            Destination::File { folder, name: file, bounds } => {
                let written = Arc::new(Written::default());
                let thread = self.recording.thread(&self.directory)?;
                let comment = format!("session {}, tap {}", name.session, name.tap);
                let counted = Arc::clone(&written);
                let create = move || Capture::create(&folder, &file, bounds, &comment, counted);
                let capture = tokio::task::spawn_blocking(create).await;
                let capture = capture.map_err(|_| ApiError::unavailable("the daemon is stopping"))??;
                let begin = Order::Begin { name: name.clone(), capture, written: Arc::clone(&written) };
                if !thread.tell(begin) {
                    return Err(ApiError::unavailable("the thread that writes recordings has ended"));
                }
                self.add_tap(Tap::new(&name, config, given, TapKind::File(written))).await?;
            }
            Destination::Peer { leg, key } => {
                let keyed = match key {
                    Some(key) => Some(self.derive_tap_key(&name, key).await?),
                    None => None,
                };
                let tap = Tap::new(&name, config, given, TapKind::unkeyed());
                self.add_peer_tap(tap, *leg, keyed).await?;
            }
        }
        if let Err(error) = self.follow_tap(&name).await {
            self.undo_tap(&name).await;
            return Err(error);
        }
        self.began(&name, seconds).await
    }

    /// A tap of these ids that there is, if it is the same. Refuses what cannot be.
    async fn known_tap(&self, plan: &Plan, given: Option<Fingerprint>) -> Result<Option<v1::Tap>, ApiError> {
        let mut state = self.state.lock().await;
        let session = state.session(&plan.session)?;
        if let Some(tap) = session.taps.get(&plan.tap) {
            if !tap.is_running() {
                return Err(ApiError::exists("tap", &plan.tap, "state: it has ended"));
            }
            let same = tap.config == plan.config && tap.given == given;
            let shown = same.then(|| Some(tap.shown()));
            return shown.ok_or_else(|| ApiError::exists("tap", &plan.tap, "config"));
        }
        if let Some(missing) = plan.config.legs.iter().find(|leg| !session.legs.contains_key(*leg)) {
            return Err(ApiError::not_found("leg", "legs", missing));
        }
        let limit = self.config.recording.taps.0;
        if self.recording.running() as u64 >= limit {
            let message = format!("{limit} taps run, as many as recording.taps allows");
            return Err(ApiError::exhausted("LIMIT", message, "stop taps, or raise recording.taps"));
        }
        Ok(None)
    }

    async fn derive_tap_key(&self, name: &TapName, key: Key) -> Result<Keyed, ApiError> {
        let (key_salt, made) = if let Some(given) = key.key_salt {
            (given, None)
        } else {
            let made = Arc::new(make(&key.suite)?);
            (Zeroizing::new(made.to_vec()), Some(made))
        };
        let install = v1::KeyInstall {
            session: name.session.clone(),
            leg: "tap".into(),
            key: "tap".into(),
            direction: v1::Direction::Outbound.into(),
            suite: key.suite,
            // Wiped by whoever derives.
            key_salt: key_salt.to_vec(),
            mki: key.mki,
            ..Default::default()
        };
        let (installs, sending) = (Installs(vec![install]), self.sending.clone());
        let derived = tokio::task::spawn_blocking(move || installs.derive(&sending).pop()).await;
        let derived = derived.ok().flatten();
        let derived = derived.ok_or_else(|| ApiError::unavailable("key derivation was interrupted"))??;
        Ok((derived, made))
    }

    /// The tap is whole: it is told of, and its time runs.
    async fn began(&self, name: &TapName, seconds: Option<u32>) -> Result<v1::Tap, ApiError> {
        let mut state = self.state.lock().await;
        let tap = find(&mut state, &name.session, &name.tap)?;
        if let Some(seconds) = seconds {
            let (notices, name) = (self.recording.notices(), name.clone());
            let timer = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                let detail = format!("after {seconds} seconds");
                let ended = Ended { end: v1::TapEnd::Limit, detail };
                // Nobody attends once the daemon stops.
                let _ = notices.send(Notice::Ended { name, ended });
            });
            tap.timer = Some(timer.abort_handle());
        }
        let shown = tap.shown();
        tracing::info!(name.session, name.tap, "a tap has begun");
        let started = v1::TapStarted { tap: name.tap.clone(), legs: shown.tapped_legs.clone() };
        self.tell_of_tap(&name.session, Kind::TapStarted(started));
        Ok(shown)
    }

    /// Puts a tap into its session, which may be gone by now.
    async fn add_tap(&self, tap: Tap) -> Result<(), ApiError> {
        let name = tap.name.clone();
        let added = {
            let mut state = self.state.lock().await;
            state.session(&name.session).map(|session| session.taps.insert(name.tap.clone(), tap))
        };
        match added {
            Ok(_) => {
                self.recording.began();
                Ok(())
            }
            Err(error) => {
                self.discard_files(&name).await;
                Err(error)
            }
        }
    }

    /// There is to be no tap after all, and no trace of it.
    async fn undo_tap(&self, name: &TapName) {
        {
            let mut state = self.state.lock().await;
            let Ok(session) = state.session(&name.session) else { return };
            let Some(tap) = session.running_tap(name).cloned() else { return };
            session.taps.remove(&name.tap);
            for outlet in &tap.outlets {
                self.remove_outlet(&mut state, &name.session, outlet).await;
            }
        }
        self.recording.ended();
        self.discard_files(name).await;
    }

    async fn discard_files(&self, name: &TapName) {
        let Ok(thread) = self.recording.thread(&self.directory) else { return };
        let (done, captured) = tokio::sync::oneshot::channel();
        thread.tell(Order::End { name: name.clone(), done });
        if let Ok(Some(capture)) = captured.await {
            // The runtime is stopping if that fails.
            let _ = tokio::task::spawn_blocking(move || capture.discard()).await;
        }
    }
}

impl Tap {
    fn new(name: &TapName, config: v1::TapConfig, given: Option<Fingerprint>, kind: TapKind) -> Self {
        Self {
            name: name.clone(),
            config,
            given,
            kind,
            outlets: Vec::new(),
            lost: 0,
            started: unix_nanoseconds(),
            ended: None,
            timer: None,
        }
    }
}

fn given(plan: &Plan, fingerprint: impl FnOnce(&[u8]) -> Fingerprint) -> Option<Fingerprint> {
    match &plan.destination {
        Destination::Peer { key: Some(Key { key_salt: Some(key_salt), .. }), .. } => {
            Some(fingerprint(key_salt))
        }
        _ => None,
    }
}

/// A fresh master key and salt.
fn make(suite: &str) -> Result<Zeroizing<Vec<u8>>, ApiError> {
    let suite: Suite = suite.parse().map_err(ApiError::from)?;
    let mut octets = Zeroizing::new(vec![0; suite.key_len() + suite.salt_len()]);
    match getrandom(&mut octets[..], GetRandomFlags::empty()) {
        Ok(filled) if filled == octets.len() => Ok(octets),
        _ => Err(ApiError::unavailable("the system gives no random numbers")),
    }
}
