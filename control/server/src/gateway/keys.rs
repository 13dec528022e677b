//! Keys: installed, replaced, retired; never read.

use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use sluice_datapath::{Command, Direction, LegId, Ticket};
use sluice_proto::v1;
use sluice_srtp::{KeyId, Lifetime, MasterKey, Mki, SessionKeys, Suite};
use zeroize::Zeroizing;

use super::Gateway;
use super::state::{Fingerprint, Key, State};
use crate::ApiError;
use crate::error::check_id;

/// Longest time that older keys may go on verifying after a rekey.
const MAX_GRACE: u32 = 600_000;

/// A request with its key material taken out and wiped on drop.
struct Request {
    session: String,
    leg: String,
    id: String,
    direction: Direction,
    material: Material,
}

struct Material {
    suite: Suite,
    master: MasterKey,
    mki: Mki,
    lifetime: Lifetime,
    fingerprint: Fingerprint,
}

/// Where an entry of a batch stands.
enum Begun {
    /// It was there before, with the same contents.
    Same(v1::Key),
    /// Its number is chosen; the keys are derived, the command given.
    Sent { number: LegId, key: Key, ticket: Ticket },
}

impl Gateway {
    /// Installs keys: derivation on all cores first, then all commands, then all answers.
    pub(crate) async fn install_keys(
        self: &Arc<Self>,
        installs: Vec<v1::KeyInstall>,
    ) -> Vec<Result<v1::Key, ApiError>> {
        let mut state = self.state.lock().await;
        let requests: Vec<_> = installs.into_iter().map(|install| read(&state, install)).collect();
        let numbers: Vec<_> = requests
            .iter()
            .map(|request| request.as_ref().ok().map(|r| state.fingerprints.number(r.material.fingerprint)))
            .collect();
        let derived = tokio::task::spawn_blocking(move || {
            let pairs: Vec<_> = requests.into_iter().zip(numbers).collect();
            pairs.into_par_iter().map(|(request, number)| derive(request, number)).collect::<Vec<_>>()
        });
        let Ok(derived) = derived.await else {
            return vec![Err(ApiError::unavailable("key derivation was interrupted"))];
        };
        let mut begun = Vec::with_capacity(derived.len());
        for entry in derived {
            begun.push(match entry {
                Ok((request, keys)) => {
                    let started = self.begin_key(&mut state, &request, keys).await;
                    started.map(|started| (request.session, request.leg, started))
                }
                Err(error) => Err(error),
            });
        }
        let mut results = Vec::with_capacity(begun.len());
        for entry in begun {
            results.push(match entry {
                Ok((_, _, Begun::Same(key))) => Ok(key),
                Ok((session, leg, Begun::Sent { number, key, ticket })) => match ticket.await {
                    Ok(()) => Ok(key.shown()),
                    Err(error) => {
                        self.forget_key(&mut state, &session, &leg, number, &key);
                        Err(error.into())
                    }
                },
                Err(error) => Err(error),
            });
        }
        results
    }

    async fn begin_key(
        &self,
        state: &mut State,
        request: &Request,
        keys: SessionKeys,
    ) -> Result<Begun, ApiError> {
        let session = state.session(&request.session)?;
        let worker = session.worker;
        let leg = session.leg("leg", &request.leg)?;
        let number = leg.number;
        let material = &request.material;
        let existing = leg.keys.iter().find(|k| k.id == request.id && k.direction == request.direction);
        if let Some(existing) = existing {
            return match difference(existing, material) {
                Some(field) => Err(ApiError::exists("key", &request.id, field)),
                None => Ok(Begun::Same(existing.shown())),
            };
        }
        if request.direction == Direction::Outbound
            && let Err(other) = state.fingerprints.claim(material.fingerprint, number)
        {
            let at = self.directory.leg(other).map_or_else(String::new, |names| {
                format!(" leg {:?} of session {:?}", names.leg, names.session)
            });
            return Err(ApiError::precondition(
                "KEY_IN_USE",
                format!(
                    "this master key is already used for sending by{at}: two senders under one key \
                         would repeat key stream (RFC 3711 section 9.1)"
                ),
                "install a fresh key for each sender",
            )
            .at("key_salt"));
        }
        let key = Key {
            id: request.id.clone(),
            number: keys.id(),
            direction: request.direction,
            suite: material.suite,
            mki: material.mki.as_slice().to_vec(),
            fingerprint: material.fingerprint,
            retiring: false,
        };
        self.directory.add_key(number, key.number, key.id.clone());
        let command =
            Command::InstallKeys { leg: number, direction: request.direction, keys: vec![Arc::new(keys)] };
        state.session(&request.session)?.leg("leg", &request.leg)?.keys.push(key.clone());
        match self.send(worker, command).await {
            Ok(ticket) => Ok(Begun::Sent { number, key, ticket }),
            Err(error) => {
                self.forget_key(state, &request.session, &request.leg, number, &key);
                Err(error)
            }
        }
    }

    fn forget_key(&self, state: &mut State, session: &str, leg: &str, number: LegId, key: &Key) {
        if key.direction == Direction::Outbound {
            state.fingerprints.release(key.fingerprint);
        }
        self.directory.remove_key(number, key.number);
        if let Ok(leg) = state.session(session).and_then(|session| session.leg("leg", leg)) {
            leg.keys.retain(|other| other.id != key.id || other.direction != key.direction);
        }
    }

    /// Installs keys and retires the older ones of the same leg and direction: those for sending at
    /// once, as the new ones took over; those for receiving after the grace period.
    pub(crate) async fn rekey(
        self: &Arc<Self>,
        installs: Vec<v1::KeyInstall>,
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
        let places: Vec<_> = installs
            .iter()
            .map(|key| (key.session.clone(), key.leg.clone(), key.key.clone(), key.direction()))
            .collect();
        let results = self.install_keys(installs).await;
        let mut later = Vec::new();
        for ((session, leg, new, direction), result) in places.into_iter().zip(&results) {
            if result.is_err() {
                continue;
            }
            let older = self.mark_older(&session, &leg, &new, direction).await;
            match direction {
                v1::Direction::Outbound => drop(self.retire_keys(older).await),
                _ => later.extend(older),
            }
        }
        if !later.is_empty() {
            let gateway = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(grace.into())).await;
                gateway.retire_keys(later).await;
            });
        }
        Ok(results)
    }

    /// Marks all keys of a leg and direction but `new` as retiring, and names them.
    async fn mark_older(
        &self,
        session: &str,
        leg: &str,
        new: &str,
        direction: v1::Direction,
    ) -> Vec<v1::KeyRef> {
        let mut state = self.state.lock().await;
        let Ok(found) = state.session(session).and_then(|session| session.leg("leg", leg)) else {
            return Vec::new();
        };
        let is_older = |key: &&mut Key| key.id != new && key.shown().direction() == direction;
        let older = found.keys.iter_mut().filter(is_older).map(|key| {
            key.retiring = true;
            v1::KeyRef {
                session: session.to_owned(),
                leg: leg.to_owned(),
                key: key.id.clone(),
                direction: direction.into(),
            }
        });
        older.collect()
    }

    pub(crate) async fn retire_keys(&self, keys: Vec<v1::KeyRef>) -> Vec<Result<v1::Key, ApiError>> {
        let mut state = self.state.lock().await;
        let mut results = Vec::with_capacity(keys.len());
        for key in keys {
            results.push(self.retire_key(&mut state, &key).await);
        }
        results
    }

    async fn retire_key(&self, state: &mut State, wanted: &v1::KeyRef) -> Result<v1::Key, ApiError> {
        let direction = direction(wanted.direction())?;
        let session = state.session(&wanted.session)?;
        let worker = session.worker;
        let leg = session.leg("leg", &wanted.leg)?;
        let number = leg.number;
        let found = leg.keys.iter().find(|key| key.id == wanted.key && key.direction == direction);
        let key = found.cloned().ok_or_else(|| ApiError::not_found("key", "key", &wanted.key))?;
        self.remove(worker, Command::RetireKey { leg: number, direction, key: key.number }).await?;
        self.forget_key(state, &wanted.session, &wanted.leg, number, &key);
        Ok(key.shown())
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

/// Checks an entry and takes its key material out; what was in the request is wiped.
fn read(state: &State, install: v1::KeyInstall) -> Result<Request, ApiError> {
    let v1::KeyInstall { session, leg, key: id, direction: way, suite, key_salt, mki, .. } = install;
    let key_salt = Zeroizing::new(key_salt);
    check_id("session", &session)?;
    check_id("leg", &leg)?;
    check_id("key", &id)?;
    let direction = direction(v1::Direction::try_from(way).unwrap_or_default())?;
    let suite: Suite = suite.parse()?;
    let longest = Lifetime::MAX;
    let or_longest = |packets: u64, longest: u64| if packets == 0 { longest } else { packets };
    let material = Material {
        suite,
        master: MasterKey::from_concatenated(suite, &key_salt)?,
        mki: Mki::new(&mki)?,
        lifetime: Lifetime::new(
            or_longest(install.lifetime_rtp_packets, longest.rtp_packets),
            or_longest(install.lifetime_rtcp_packets, longest.rtcp_packets),
        )?,
        fingerprint: state.fingerprints.of(suite, &key_salt),
    };
    Ok(Request { session, leg, id, direction, material })
}

fn derive(
    request: Result<Request, ApiError>,
    number: Option<KeyId>,
) -> Result<(Request, SessionKeys), ApiError> {
    let request = request?;
    let number = number.ok_or_else(|| ApiError::unavailable("the key got no number"))?;
    let Material { master, mki, lifetime, .. } = &request.material;
    let keys = SessionKeys::derive(number, master, *mki, *lifetime)?;
    Ok((request, keys))
}

fn direction(direction: v1::Direction) -> Result<Direction, ApiError> {
    match direction {
        v1::Direction::Inbound => Ok(Direction::Inbound),
        v1::Direction::Outbound => Ok(Direction::Outbound),
        v1::Direction::Unspecified => {
            let remedy = "say DIRECTION_INBOUND or DIRECTION_OUTBOUND";
            Err(ApiError::invalid("direction", "is not specified", remedy))
        }
    }
}

fn difference(existing: &Key, wanted: &Material) -> Option<&'static str> {
    let same = [
        ("suite", existing.suite == wanted.suite),
        ("key_salt", existing.fingerprint == wanted.fingerprint),
        ("mki", existing.mki == wanted.mki.as_slice()),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}
