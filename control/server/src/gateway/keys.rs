//! Keys: installed, replaced, retired; never read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sluice_datapath::{Command, CommandError, Direction, LegId, Ticket};
use sluice_proto::v1;
use sluice_srtp::{KeyId, SessionKeys};

use super::derivation::{Derived, Installs, direction};
use super::options;
use super::sending::Refusal;
use super::state::{Key, Leg, Session, State};
use super::{Gateway, gone};
use crate::ApiError;

/// Longest time that older keys may go on verifying after a rekey.
const MAX_GRACE: u32 = 600_000;

/// Where an entry of a batch stands.
enum Begun {
    /// It was there before, with the same contents; perhaps from an earlier entry, which may yet fail.
    Same,
    Noted(Noted),
    Sent {
        leg: LegId,
        ticket: Ticket,
    },
}

/// A key whose command is yet to be given.
struct Noted {
    worker: usize,
    leg: LegId,
    keys: Arc<SessionKeys>,
}

impl Noted {
    fn command(&self, key: &Key, more_follow: bool) -> Command {
        Command::InstallKeys {
            leg: self.leg,
            direction: key.direction,
            keys: vec![Arc::clone(&self.keys)],
            shared: key.shared,
            roc: key.roc,
            more_follow,
        }
    }
}

/// An entry of a batch: session, leg, key.
type Entry = Result<(String, String, Key, Begun), ApiError>;

/// An older key that a rekey replaced, as it was then.
struct Replaced {
    at: v1::KeyRef,
    number: KeyId,
}

/// What becomes of a key that is there already and finishes its grace period.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfRetiring {
    /// It is wanted again, and stays.
    Keep,
    /// A rekey that is repeated late does not bring back what a later one replaced.
    Leave,
}

impl Gateway {
    /// Installs keys: derivation on all cores first, then all commands, then all answers.
    pub(crate) async fn install_keys(&self, installs: Installs) -> Vec<Result<v1::Key, ApiError>> {
        self.install(installs, IfRetiring::Keep).await
    }

    async fn install(&self, installs: Installs, if_retiring: IfRetiring) -> Vec<Result<v1::Key, ApiError>> {
        let entries = installs.0.len();
        let sending = self.sending.clone();
        let derived = tokio::task::spawn_blocking(move || installs.derive(&sending));
        let Ok(derived) = derived.await else {
            return vec![Err(ApiError::unavailable("key derivation was interrupted")); entries];
        };
        let done = derived.iter().filter(|derived| derived.is_ok()).count();
        self.keys_derived.fetch_add(done as u64, Ordering::Relaxed);
        let mut state = self.state.lock().await;
        let mut begun = Vec::with_capacity(entries);
        for entry in derived {
            begun.push(match entry {
                Ok(Derived { session, leg, key, keys }) => {
                    let noted = self.note_key(&mut state, &session, &leg, &key, keys);
                    noted.map(|noted| (session, leg, key, noted))
                }
                Err(error) => Err(error),
            });
        }
        self.give(&mut state, &mut begun).await;
        let mut results = Vec::with_capacity(entries);
        // What failed in this batch: an entry that repeats it has failed as well.
        let mut failed = HashMap::new();
        for entry in begun {
            results.push(match entry {
                Ok((session, id, key, Begun::Same)) => {
                    let place = (session, id, key.id, key.direction);
                    match failed.get(&place) {
                        Some(error) => Err(ApiError::clone(error)),
                        None => kept(&mut state, &place, if_retiring),
                    }
                }
                Ok((session, id, key, Begun::Sent { leg, ticket })) => match ticket.await {
                    Ok(()) => {
                        if key.direction == Direction::Outbound {
                            supersede(&mut state, &session, &id, &key);
                        }
                        Ok(key.shown())
                    }
                    Err(error) => {
                        self.forget_key(&mut state, &session, &id, leg, &key);
                        let error = refused(&key, error);
                        failed.insert((session, id, key.id, key.direction), error.clone());
                        Err(error)
                    }
                },
                // None is left that was only noted.
                Ok((_, _, _, Begun::Noted(_))) => {
                    Err(ApiError::unavailable("the key was not given to its worker"))
                }
                Err(error) => Err(error),
            });
        }
        self.forget_spent_keys();
        results
    }

    /// Has the engine forget the numbers of keys that will not come back.
    pub(super) fn forget_spent_keys(&self) {
        let forgotten = self.sending.take_forgotten();
        if forgotten.is_empty() {
            return;
        }
        self.with_engine(|engine| {
            for number in forgotten {
                engine.forget_key(number);
            }
        });
    }

    /// Gives the commands of all keys that are noted.
    async fn give(&self, state: &mut State, begun: &mut [Entry]) {
        let mut last = HashMap::new();
        for (place, entry) in begun.iter().enumerate() {
            if let Ok((_, _, key, Begun::Noted(noted))) = entry {
                last.insert((noted.leg, key.direction), place);
            }
        }
        for (place, entry) in begun.iter_mut().enumerate() {
            let Ok((session, id, key, started)) = entry else { continue };
            let Begun::Noted(noted) = started else { continue };
            // Early media may be under any of the keys that one request installs.
            let more_follow = last.get(&(noted.leg, key.direction)) != Some(&place);
            let (leg, command) = (noted.leg, noted.command(key, more_follow));
            match self.send(noted.worker, command).await {
                Ok(ticket) => *started = Begun::Sent { leg, ticket },
                Err(error) => {
                    self.forget_key(state, session, id, leg, key);
                    *entry = Err(error);
                }
            }
        }
    }

    /// Gives the command of one key; `None`: it was there before. Held media waits for the last of those that follow
    /// each other.
    pub(super) async fn begin_key(
        &self,
        state: &mut State,
        session: &str,
        leg_id: &str,
        (key, keys): (&Key, SessionKeys),
        more_follow: bool,
    ) -> Result<Option<(LegId, Ticket)>, ApiError> {
        let Begun::Noted(noted) = self.note_key(state, session, leg_id, key, keys)? else { return Ok(None) };
        match self.send(noted.worker, noted.command(key, more_follow)).await {
            Ok(ticket) => Ok(Some((noted.leg, ticket))),
            Err(error) => {
                self.forget_key(state, session, leg_id, noted.leg, key);
                Err(error)
            }
        }
    }

    fn note_key(
        &self,
        state: &mut State,
        session_id: &str,
        leg_id: &str,
        key: &Key,
        keys: SessionKeys,
    ) -> Result<Begun, ApiError> {
        let session = state.session(session_id)?;
        let worker = session.worker;
        let leg = session.leg("leg", leg_id)?;
        let number = leg.number;
        let same_id = |other: &&Key| other.id == key.id && other.direction == key.direction;
        if let Some(existing) = leg.keys.iter().find(same_id) {
            return match difference(existing, key) {
                Some(field) => Err(ApiError::exists("key", &key.id, field)),
                None => Ok(Begun::Same),
            };
        }
        if let Some(sending) = &key.sending {
            let sharing = key.shared.then_some(session_id);
            sending.claim(number, sharing).map_err(|refusal| self.not_claimed(refusal))?;
        }
        if let Some(field) = key.shared.then(|| differs_from_sharers(session, key)).flatten() {
            let message = "is not as it is on a leg that shares the key: packets are protected once for all";
            return Err(ApiError::invalid(field, message, "install the very same key on each leg"));
        }
        let leg = session.leg("leg", leg_id)?;
        self.directory.add_key(number, key.number, key.id.clone());
        leg.keys.push(key.clone());
        Ok(Begun::Noted(Noted { worker, leg: number, keys: Arc::new(keys) }))
    }

    pub(super) fn not_claimed(&self, refusal: Refusal) -> ApiError {
        let message = match refusal {
            Refusal::InUse(sender) => {
                let at = self.directory.leg(sender).map_or_else(String::new, |names| {
                    format!(" leg {:?} of session {:?}", names.leg, names.session)
                });
                format!(
                    "this master key, or half of it, is already used for sending by{at}: two senders under one \
                     key would repeat key stream (RFC 3711 section 9.1)"
                )
            }
            Refusal::Spent => {
                "half of this master key was sent under before as another key: it would repeat key \
                               stream (RFC 3711 section 9.1)"
                    .to_owned()
            }
        };
        ApiError::precondition("KEY_IN_USE", message, "install a fresh key for each sender").at("key_salt")
    }

    /// Takes the keys out of the state that the engine dropped as their direction became plain.
    pub(super) fn forget_keys(&self, leg: &mut Leg, direction: Direction) {
        for key in leg.keys.extract_if(.., |key| key.direction == direction) {
            self.directory.remove_key(leg.number, key.number);
        }
    }

    /// Takes a key out of the state. Once its last copy is dropped, others may send under it.
    pub(super) fn forget_key(&self, state: &mut State, session: &str, leg_id: &str, leg: LegId, key: &Key) {
        self.directory.remove_key(leg, key.number);
        if let Ok(leg) = state.session(session).and_then(|session| session.leg("leg", leg_id)) {
            leg.keys.retain(|other| other.id != key.id || other.direction != key.direction);
        }
    }

    /// Installs keys and retires the older ones of the same leg and direction: those for sending at
    /// once, as the new ones took over; those for receiving after the grace period.
    pub(crate) async fn rekey(
        self: &Arc<Self>,
        installs: Installs,
        grace: u32,
    ) -> Result<Vec<Result<v1::Key, ApiError>>, ApiError> {
        let grace = match grace {
            0 => self.config.defaults.rekey_grace_ms.0 as u32,
            1..=MAX_GRACE => grace,
            _ => {
                let message = format!("{grace} is too long");
                return Err(ApiError::invalid("grace_milliseconds", message, "give at most 600000"));
            }
        };
        let news = installs.names();
        let results = self.install(installs, IfRetiring::Leave).await;
        let installed = news.into_iter().zip(&results).filter(|(_, result)| result.is_ok());
        self.retire_before(installed.map(|(new, _)| new).collect(), grace).await;
        Ok(results)
    }

    /// Retires the keys that were installed before these on their legs and directions, as after [`Self::rekey`] with the
    /// configured grace period.
    pub(crate) async fn retire_older(self: &Arc<Self>, news: Vec<v1::KeyRef>) {
        if !news.is_empty() {
            self.retire_before(news, self.config.defaults.rekey_grace_ms.0 as u32).await;
        }
    }

    async fn retire_before(self: &Arc<Self>, news: Vec<v1::KeyRef>, grace: u32) {
        let until = Instant::now() + Duration::from_millis(grace.into());
        let (at_once, later) = self.mark_older(&news, until).await;
        self.retire_replaced(at_once).await;
        if !later.is_empty() {
            let gateway = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(until.into()).await;
                gateway.retire_replaced(later).await;
            });
        }
    }

    /// Marks the keys that were installed before each of `news` on its leg and direction as retiring, those for sending
    /// now and those for receiving by `until` at the latest, and names both. Later ones stay: a rekey that is repeated
    /// must not end the key that followed it.
    async fn mark_older(&self, news: &[v1::KeyRef], until: Instant) -> (Vec<Replaced>, Vec<Replaced>) {
        let mut state = self.state.lock().await;
        let (now, mut at_once, mut later) = (Instant::now(), Vec::new(), Vec::new());
        for new in news {
            let Ok(leg) = state.session(&new.session).and_then(|session| session.leg("leg", &new.leg)) else {
                continue;
            };
            let Ok(direction) = direction(new.direction()) else { continue };
            let is_new = |key: &Key| key.id == new.key && key.direction == direction;
            let newer_from = leg.keys.iter().position(is_new).unwrap_or(0);
            let older = leg.keys[..newer_from].iter_mut().filter(|key| key.direction == direction);
            let (until, marked) = match direction {
                Direction::Outbound => (now, &mut at_once),
                Direction::Inbound => (until, &mut later),
            };
            marked.extend(older.map(|key| {
                key.retiring = Some(key.retiring.map_or(until, |before| before.min(until)));
                Replaced { at: v1::KeyRef { key: key.id.clone(), ..new.clone() }, number: key.number }
            }));
        }
        (at_once, later)
    }

    /// Retires keys that a rekey replaced, unless they went by themselves meanwhile or were installed
    /// again; another key may have taken their id. All commands first, then all answers.
    async fn retire_replaced(&self, keys: Vec<Replaced>) {
        if keys.is_empty() {
            return;
        }
        let mut state = self.state.lock().await;
        let now = Instant::now();
        let mut sent = Vec::with_capacity(keys.len());
        for Replaced { at, number } in keys {
            let Ok(leg) = state.session(&at.session).and_then(|session| session.leg("leg", &at.leg)) else {
                continue;
            };
            let is_due = |key: &Key| key.retiring.is_some_and(|until| until <= now);
            let is_it = |key: &Key| key.id == at.key && key.number == number && is_due(key);
            if leg.keys.iter().any(is_it) {
                match self.begin_retirement(&mut state, &at).await {
                    Ok(begun) => sent.extend(begun.map(|begun| (at, begun))),
                    Err(error) => not_retired(&at, &error),
                }
            }
        }
        // The last one first: a worker does one after the other, so that this waits once.
        for (at, (leg, key, ticket)) in sent.into_iter().rev() {
            match gone(ticket.await) {
                Ok(()) => self.forget_key(&mut state, &at.session, &at.leg, leg, &key),
                Err(error) => not_retired(&at, &error),
            }
        }
    }

    pub(crate) async fn retire_keys(&self, keys: Vec<v1::KeyRef>) -> Vec<Result<v1::Key, ApiError>> {
        let mut state = self.state.lock().await;
        let mut results = Vec::with_capacity(keys.len());
        for key in keys {
            results.push(self.retire_key(&mut state, &key).await);
        }
        results
    }

    /// One that is not there is as it is to be: who repeats a request whose answer was lost has its end.
    async fn retire_key(&self, state: &mut State, wanted: &v1::KeyRef) -> Result<v1::Key, ApiError> {
        let Some((leg, key, ticket)) = self.begin_retirement(state, wanted).await? else {
            let (id, direction) = (wanted.key.clone(), wanted.direction);
            return Ok(v1::Key { id, direction, ..Default::default() });
        };
        gone(ticket.await)?;
        self.forget_key(state, &wanted.session, &wanted.leg, leg, &key);
        Ok(key.shown())
    }

    /// Gives the command; the key stays in the state until it is answered. `None`: the leg has no such key.
    async fn begin_retirement(
        &self,
        state: &mut State,
        wanted: &v1::KeyRef,
    ) -> Result<Option<(LegId, Key, Ticket)>, ApiError> {
        let direction = direction(wanted.direction())?;
        let session = state.session(&wanted.session)?;
        let worker = session.worker;
        let leg = session.leg("leg", &wanted.leg)?;
        let number = leg.number;
        let found = leg.keys.iter().find(|key| key.id == wanted.key && key.direction == direction);
        let Some(key) = found.cloned() else { return Ok(None) };
        let command = Command::RetireKey { leg: number, direction, key: key.number };
        Ok(Some((number, key, self.send(worker, command).await?)))
    }

    /// The suite of what each leg of a session receives, by the newest key.
    pub(crate) async fn inbound_suites(&self, session: &str) -> HashMap<String, String> {
        let mut state = self.state.lock().await;
        let Ok(session) = state.session(session) else { return HashMap::new() };
        let suite = |(id, leg): (&String, &Leg)| {
            let key = leg.keys.iter().rev().find(|key| key.direction == Direction::Inbound)?;
            Some((id.clone(), key.suite.name().to_owned()))
        };
        session.legs.iter().filter_map(suite).collect()
    }

    pub(crate) async fn list_keys(&self, session: &str, leg: &str) -> Result<Vec<v1::LegKeys>, ApiError> {
        let mut state = self.state.lock().await;
        let session = state.session(session)?;
        if !leg.is_empty() {
            session.leg("leg", leg)?;
        }
        let legs = session.legs.iter().filter(|(id, _)| leg.is_empty() || *id == leg);
        Ok(legs
            .map(|(id, leg)| v1::LegKeys { leg: id.clone(), keys: leg.keys.iter().map(Key::shown).collect() })
            .collect())
    }
}

fn not_retired(at: &v1::KeyRef, error: &ApiError) {
    tracing::warn!(at.session, at.leg, at.key, error.message, "cannot retire a replaced key");
}

/// The field in which a key is another than on a leg of the session that has it already.
fn differs_from_sharers(session: &Session, key: &Key) -> Option<&'static str> {
    let mut keys = session.legs.values().flat_map(|leg| &leg.keys);
    keys.find(|other| other.shared && other.number == key.number).and_then(|other| difference(other, key))
}

/// Marks the keys for sending that were installed before `new`: the engine sends under the newest only,
/// and does not go back to one of them if that is retired.
pub(super) fn supersede(state: &mut State, session: &str, leg: &str, new: &Key) {
    if let Ok(leg) = state.session(session).and_then(|session| session.leg("leg", leg)) {
        let older = leg.keys.iter_mut().take_while(|key| key.number != new.number);
        older
            .filter(|key| key.direction == new.direction)
            .for_each(|key| key.retiring = Some(Instant::now()));
    }
}

/// The key that an entry of a batch found there.
fn kept(
    state: &mut State,
    (session, leg, id, direction): &(String, String, String, Direction),
    if_retiring: IfRetiring,
) -> Result<v1::Key, ApiError> {
    let leg = state.session(session)?.leg("leg", leg)?;
    let found = leg.keys.iter_mut().find(|key| key.id == *id && key.direction == *direction);
    let key = found.ok_or_else(|| ApiError::not_found("key", "key", id))?;
    // Nothing is sent under an older key for sending, wanted or not.
    if key.direction == Direction::Inbound && if_retiring == IfRetiring::Keep {
        key.retiring = None;
    }
    Ok(key.shown())
}

/// What the engine says of a key, blamed on what the client gave.
pub(super) fn refused(key: &Key, error: CommandError) -> ApiError {
    match error {
        CommandError::NotSrtp { .. } => {
            let message = format!("this direction of the leg is plain RTP: it takes no key {:?}", key.id);
            let remedy = "create the leg with PROTECTION_SRTP in that direction";
            ApiError::precondition("LEG_IS_PLAIN", message, remedy).at("direction")
        }
        CommandError::TooManyKeys { limit, .. } => {
            let message = format!("the leg has {limit} keys in that direction, as many as it may");
            ApiError::exhausted("TOO_MANY_KEYS", message, "retire older keys, or use Rekey")
        }
        other => other.into(),
    }
}

fn difference(existing: &Key, wanted: &Key) -> Option<&'static str> {
    let same = [
        ("suite", existing.suite == wanted.suite),
        ("key_salt", existing.fingerprint == wanted.fingerprint),
        ("shared", existing.shared == wanted.shared),
        ("roc", existing.roc == wanted.roc),
    ];
    let first = same.into_iter().find(|(_, same)| !same).map(|(field, _)| field);
    first.or_else(|| options::difference(&existing.options, &wanted.options))
}
