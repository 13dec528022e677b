//! Several changes of one session as one: all commands first, then all answers. If one is refused, all are undone.
//!
//! Unlike single changes it does not keep the state locked until the engine has answered, so that many calls are set up
//! at a time. Session keys are derived before the lock is taken.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use sluice_datapath::{Command, Direction, LegId, Ticket};
use sluice_keying::negotiation::NegotiatedKey;
use sluice_keying::policy::RocOnRekey;
use sluice_proto::v1;
use sluice_srtp::SessionKeys;

use super::derivation::derive_one;
use super::legs;
use super::state::{Key, State};
use super::updates::Updated;
use super::{Gateway, gone, keys};
use crate::ApiError;
use crate::ports::Sockets;

/// Sockets that are bound for a leg to be; dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(super) sockets: Sockets,
    /// Where RTP is to be received.
    pub(crate) rtp: SocketAddr,
    /// Where RTCP is to be received; with rtcp-mux the same.
    pub(crate) rtcp: SocketAddr,
}

/// What is to be done to a session. What comes first is done first.
#[derive(Default)]
pub(crate) struct Change {
    /// The session's id.
    pub(crate) session: String,
    /// Its labels, if it is to be made unless it exists.
    pub(crate) make: Option<HashMap<String, String>>,
    /// The steps.
    pub(crate) steps: Vec<Step>,
    /// By leg, what payload types mean from then on, as `a=rtpmap` has it: for whoever records.
    pub(crate) codecs: Vec<(String, Vec<(u8, String)>)>,
}

/// One of the steps of a [`Change`].
pub(crate) enum Step {
    /// A leg on sockets that were reserved.
    Leg { id: String, config: Box<v1::LegConfig>, at: Reserved },
    /// Other addresses, protections or payload types of a leg.
    UpdateLeg(Box<v1::UpdateLegRequest>),
    /// A key. Its rollover counters go on as `roc` says; held media waits for the last of those that follow each other.
    Key {
        leg: String,
        id: String,
        direction: Direction,
        key: Box<NegotiatedKey>,
        roc: RocOnRekey,
        more_follow: bool,
    },
    /// A route.
    Route(Box<v1::Route>),
    /// Other choices of a route.
    UpdateRoute(Box<v1::Route>),
}

/// A step whose keys are derived.
enum Ready {
    Step(Step),
    Key { leg: String, key: Box<Key>, keys: Box<SessionKeys>, more_follow: bool },
}

/// A step whose command is on its way, and how to undo it.
enum Begun {
    Leg(String),
    LegUpdate { leg: String, updated: Box<Updated> },
    Key { leg: String, number: LegId, key: Box<Key> },
    Route(String),
    RouteUpdate { before: Box<v1::Route>, now: Box<v1::Route> },
}

impl Gateway {
    /// Binds sockets for legs to be: for each its local address, and whether RTP and RTCP share a port.
    pub(crate) async fn reserve(&self, wanted: &[(IpAddr, bool)]) -> Result<Vec<Reserved>, ApiError> {
        let mut state = self.state.lock().await;
        let bound = wanted.iter().map(|(address, mux)| {
            let sockets = state.ports.allocate(*address, *mux)?;
            let (rtp, rtcp) = legs::addresses(&sockets)?;
            Ok(Reserved { sockets, rtp, rtcp })
        });
        bound.collect()
    }

    /// Does all that is asked, or nothing.
    pub(crate) async fn change(&self, change: Change) -> Result<(), ApiError> {
        let Change { session, make, steps, codecs } = change;
        let ready = self.derive_all(steps)?;
        let mut begun = Vec::with_capacity(ready.len());
        let mut tickets = Vec::with_capacity(ready.len());
        let mut outcome = Ok(());
        let made = {
            let mut state = self.state.lock().await;
            let made = match make {
                // One that is there may have labels that this one does not speak of.
                Some(labels) if labels.is_empty() && state.sessions.contains_key(&session) => false,
                Some(labels) => self.open_session(&mut state, &session, labels)?,
                None => false,
            };
            for step in ready {
                match self.begin(&mut state, &session, step).await {
                    Ok(Some((step, ticket))) => {
                        begun.push(step);
                        tickets.push(ticket);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            made
        };
        // The last one first: a worker does one after the other, so that this waits once.
        let mut refused = None;
        for (ticket, step) in tickets.into_iter().zip(&begun).rev() {
            if let Err(error) = ticket.await {
                refused = Some(match step {
                    Begun::Key { key, .. } => keys::refused(key, error),
                    _ => error.into(),
                });
            }
        }
        outcome = outcome.and(refused.map_or(Ok(()), Err));
        let outcome = match outcome {
            Ok(()) => self.settle(&session, begun, codecs).await,
            Err(error) => {
                self.undo(&session, made, begun).await;
                Err(error)
            }
        };
        self.forget_spent_keys();
        outcome
    }

    /// Removes legs with their keys and routes; those that are not there are fine.
    pub(crate) async fn remove_legs(&self, session: &str, legs: &HashSet<String>) -> Result<(), ApiError> {
        self.close_associations(session, |id| legs.contains(id)).await;
        let (tickets, outcome) = {
            let mut state = self.state.lock().await;
            self.begin_removal(&mut state, session, |id| legs.contains(id)).await
        };
        await_gone(tickets).await.and(outcome)
    }

    /// Removes a session like [`Gateway::delete_session`], and does not keep the state locked meanwhile.
    pub(crate) async fn end_session(&self, session: &str) -> Result<bool, ApiError> {
        self.close_associations(session, |_| true).await;
        let tickets = {
            let mut state = self.state.lock().await;
            if !state.sessions.contains_key(session) {
                return Ok(false);
            }
            let (tickets, outcome) = self.begin_removal(&mut state, session, |_| true).await;
            if let Err(error) = outcome {
                drop(state);
                await_gone(tickets).await?;
                return Err(error);
            }
            self.remove_taps(&mut state, session).await;
            close_session(&mut state, session);
            tickets
        };
        await_gone(tickets).await?;
        Ok(true)
    }

    /// Has legs close their associations before they go. The state is not locked meanwhile.
    async fn close_associations(&self, session: &str, goes: impl Fn(&str) -> bool) {
        let legs: Vec<_> = {
            let state = self.state.lock().await;
            let legs = state.sessions.get(session).into_iter().flat_map(|session| &session.legs);
            legs.filter(|(id, _)| goes(id)).map(|(_, leg)| leg.number).collect()
        };
        self.say_goodbye(legs).await;
    }

    /// Legs whose predicate holds are told to go and taken out of the state; what could not be told stays.
    async fn begin_removal(
        &self,
        state: &mut State,
        session: &str,
        goes: impl Fn(&str) -> bool,
    ) -> (Vec<Ticket>, Result<(), ApiError>) {
        let Some(found) = state.sessions.get(session) else { return (Vec::new(), Ok(())) };
        let worker = found.worker;
        let legs: Vec<_> = found.legs.iter().filter(|(id, _)| goes(id)).collect();
        let legs: Vec<_> = legs.into_iter().map(|(id, leg)| (id.clone(), leg.number)).collect();
        let mut tickets = Vec::with_capacity(legs.len());
        let mut removed = HashSet::with_capacity(legs.len());
        let mut outcome = Ok(());
        for (id, number) in legs {
            match self.send(worker, Command::RemoveLeg { leg: number }).await {
                Ok(ticket) => {
                    tickets.push(ticket);
                    removed.insert(id);
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.forget_legs(state, session, &removed);
        self.legs_changed(state, session);
        (tickets, outcome)
    }

    fn derive_all(&self, steps: Vec<Step>) -> Result<Vec<Ready>, ApiError> {
        let mut ready = Vec::with_capacity(steps.len());
        for step in steps {
            ready.push(match step {
                Step::Key { leg, id, direction, key, roc, more_follow } => {
                    let roc = match roc {
                        RocOnRekey::Keep => sluice_srtp::RocOnRekey::Keep,
                        RocOnRekey::Reset => sluice_srtp::RocOnRekey::Reset,
                        RocOnRekey::TryBoth => sluice_srtp::RocOnRekey::TryBoth,
                    };
                    let NegotiatedKey { suite, key_salt, options, .. } = *key;
                    let derived = derive_one(&self.sending, id, direction, suite, &key_salt, options, roc);
                    let (key, keys) = derived?;
                    self.keys_derived.fetch_add(1, Ordering::Relaxed);
                    Ready::Key { leg, key: Box::new(key), keys: Box::new(keys), more_follow }
                }
                other => Ready::Step(other),
            });
        }
        Ok(ready)
    }

    /// Gives the command of a step; `None`: it was done before.
    async fn begin(
        &self,
        state: &mut State,
        session: &str,
        step: Ready,
    ) -> Result<Option<(Begun, Ticket)>, ApiError> {
        match step {
            Ready::Step(Step::Leg { id, config, at }) => {
                let config = v1::LegConfig { local: at.rtp.to_string(), ..*config };
                let request = v1::CreateLegRequest {
                    session: session.to_owned(),
                    leg: id.clone(),
                    config: Some(config),
                };
                let begun = self.begin_reserved(state, &request, at).await?;
                Ok(begun.map(|ticket| (Begun::Leg(id), ticket)))
            }
            Ready::Step(Step::UpdateLeg(request)) => {
                let leg = request.leg.clone();
                let (updated, ticket) = self.begin_leg_update(state, *request).await?;
                Ok(Some((Begun::LegUpdate { leg, updated: Box::new(updated) }, ticket)))
            }
            Ready::Key { leg, key, keys, more_follow } => {
                let begun = self.begin_key(state, session, &leg, (&key, *keys), more_follow).await?;
                Ok(begun.map(|(number, ticket)| (Begun::Key { leg, number, key }, ticket)))
            }
            Ready::Step(Step::Route(route)) => {
                let ticket = self.begin_route(state, &route).await?;
                Ok(ticket.map(|ticket| (Begun::Route(route.id), ticket)))
            }
            Ready::Step(Step::UpdateRoute(route)) => {
                let before = state.session(session)?.routes.get(&route.id);
                let before = before.map(|route| route.route.clone()).unwrap_or_default();
                let (now, ticket) = self.begin_update(state, *route).await?;
                let step = Begun::RouteUpdate { before: Box::new(before), now: Box::new(now) };
                Ok(Some((step, ticket)))
            }
            // Derived before.
            Ready::Step(Step::Key { .. }) => Ok(None),
        }
    }

    /// All was done: the state says so.
    async fn settle(
        &self,
        session: &str,
        begun: Vec<Begun>,
        codecs: Vec<(String, Vec<(u8, String)>)>,
    ) -> Result<(), ApiError> {
        let mut state = self.state.lock().await;
        for (leg, codecs) in codecs {
            if let Ok(leg) = state.session(session).and_then(|session| session.leg("leg", &leg)) {
                leg.codecs = codecs;
            }
        }
        for step in begun {
            match step {
                Begun::LegUpdate { leg, updated } => {
                    // The session may have been deleted meanwhile, and that is no failure of this.
                    let _ = self.leg_updated(&mut state, session, &leg, *updated);
                }
                Begun::Key { leg, key, .. } if key.direction == Direction::Outbound => {
                    keys::supersede(&mut state, session, &leg, &key);
                }
                Begun::Leg(_) | Begun::Route(_) | Begun::Key { .. } => {}
                Begun::RouteUpdate { now, .. } => drop(super::routes::remember(&mut state, *now)),
            }
        }
        self.legs_changed(&state, session);
        Ok(())
    }

    /// Something was refused: what was done goes, the last first.
    async fn undo(&self, session: &str, made: bool, begun: Vec<Begun>) {
        let mut tickets = Vec::with_capacity(begun.len());
        {
            let mut state = self.state.lock().await;
            for step in begun.into_iter().rev() {
                match self.undo_step(&mut state, session, step).await {
                    Ok(ticket) => tickets.extend(ticket),
                    Err(error) => tracing::warn!(session, error.message, "a refused change is not undone"),
                }
            }
            self.legs_changed(&state, session);
            let is_empty = state.sessions.get(session).is_some_and(|session| session.legs.is_empty());
            if made && is_empty {
                close_session(&mut state, session);
            }
        }
        if let Err(error) = await_gone(tickets).await {
            tracing::warn!(session, error.message, "a refused change is not wholly undone");
        }
    }

    async fn undo_step(
        &self,
        state: &mut State,
        session: &str,
        step: Begun,
    ) -> Result<Option<Ticket>, ApiError> {
        let Ok(found) = state.session(session) else { return Ok(None) };
        let worker = found.worker;
        let (command, forget) = match step {
            Begun::Leg(id) => {
                let Some(number) = found.legs.get(&id).map(|leg| leg.number) else { return Ok(None) };
                self.say_goodbye([number]).await;
                (Command::RemoveLeg { leg: number }, Forget::Leg(id))
            }
            Begun::Key { leg, number, key } => {
                let command = Command::RetireKey { leg: number, direction: key.direction, key: key.number };
                (command, Forget::Key { leg, number, key })
            }
            Begun::Route(id) => {
                let Some(route) = found.routes.get(&id) else { return Ok(None) };
                (Command::RemoveRoute { route: route.number }, Forget::Route(id))
            }
            Begun::RouteUpdate { before, .. } => {
                let (_, ticket) = self.begin_update(state, *before).await?;
                return Ok(Some(ticket));
            }
            Begun::LegUpdate { leg, updated } => {
                let Some(command) = self.taking_back(state, session, &leg, &updated)? else {
                    return Ok(None);
                };
                return Ok(Some(self.send(worker, command).await?));
            }
        };
        let ticket = self.send(worker, command).await?;
        match forget {
            Forget::Leg(id) => self.forget_legs(state, session, &HashSet::from([id])),
            Forget::Key { leg, number, key } => self.forget_key(state, session, &leg, number, &key),
            Forget::Route(id) => self.forget_route(state, session, &id),
        }
        Ok(Some(ticket))
    }
}

/// What the state is to forget once its end was asked for.
enum Forget {
    Leg(String),
    Key { leg: String, number: LegId, key: Box<Key> },
    Route(String),
}

fn close_session(state: &mut State, session: &str) {
    if let Some(closed) = state.sessions.remove(session) {
        state.count_sessions(closed.worker, -1);
    }
}

async fn await_gone(tickets: Vec<Ticket>) -> Result<(), ApiError> {
    let mut outcome = Ok(());
    // The last one first: this waits once.
    for ticket in tickets.into_iter().rev() {
        outcome = gone(ticket.await).and(outcome);
    }
    outcome
}
