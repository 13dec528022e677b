//! Sessions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use sluice_datapath::Command;
use sluice_proto::v1;

use super::state::Session;
use super::{Gateway, gone};
use crate::ApiError;
use crate::error::check_id;

const MAX_LABELS: usize = 64;

impl Gateway {
    pub(crate) async fn create_session(
        &self,
        id: String,
        labels: HashMap<String, String>,
    ) -> Result<v1::Session, ApiError> {
        check_id("session", &id)?;
        check_labels(&labels)?;
        let mut state = self.state.lock().await;
        if let Some(session) = state.sessions.get(&id) {
            if session.labels != labels {
                return Err(ApiError::exists("session", &id, "labels"));
            }
            return Ok(shown(&id, session));
        }
        let Some(worker) = state.home_worker(|worker| self.directory.is_alive(worker)) else {
            return Err(ApiError::unavailable("no worker is alive"));
        };
        state.count_sessions(worker, 1);
        let session = Session { labels, worker, legs: BTreeMap::new(), routes: BTreeMap::new() };
        let answer = shown(&id, &session);
        state.sessions.insert(id, session);
        Ok(answer)
    }

    pub(crate) async fn get_session(&self, id: &str) -> Result<v1::Session, ApiError> {
        Ok(shown(id, self.state.lock().await.session(id)?))
    }

    pub(crate) async fn list_sessions(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListSessionsResponse, ApiError> {
        let page_size = match page_size {
            0 => 1000,
            1..=10_000 => page_size as usize,
            _ => {
                let problem = format!("{page_size} is too large");
                return Err(ApiError::invalid("page_size", problem, "ask for at most 10000"));
            }
        };
        let state = self.state.lock().await;
        let after = match page_token {
            "" => Bound::Unbounded,
            token => Bound::Excluded(token.to_owned()),
        };
        let mut rest = state.sessions.range((after, Bound::Unbounded));
        let sessions: Vec<_> = rest.by_ref().take(page_size).map(|(id, s)| shown(id, s)).collect();
        let more = rest.next().is_some();
        let last = sessions.last().map(|session| session.id.clone());
        let next_page_token = last.filter(|_| more).unwrap_or_default();
        Ok(v1::ListSessionsResponse { sessions, next_page_token })
    }

    pub(crate) async fn delete_session(&self, id: &str) -> Result<bool, ApiError> {
        let mut state = self.state.lock().await;
        let Some(session) = state.sessions.get(id).cloned() else { return Ok(false) };
        // All commands first, then all answers. The engine removes a leg's routes and keys with it.
        let mut tickets = Vec::with_capacity(session.legs.len());
        for leg in session.legs.values() {
            tickets.push(self.send(session.worker, Command::RemoveLeg { leg: leg.number }).await?);
        }
        for ticket in tickets {
            gone(ticket.await)?;
        }
        session.legs.values().for_each(|leg| self.directory.remove_leg(leg.number));
        for route in session.routes.values() {
            self.directory.remove_route(route.number);
        }
        state.count_legs(session.worker, -(session.legs.len() as isize));
        state.ports.freed();
        state.count_sessions(session.worker, -1);
        state.sessions.remove(id);
        Ok(true)
    }
}

fn check_labels(labels: &HashMap<String, String>) -> Result<(), ApiError> {
    let too_long =
        |(name, value): (&String, &String)| name.is_empty() || name.len() > 128 || value.len() > 1024;
    if labels.len() > MAX_LABELS || labels.iter().any(too_long) {
        let remedy = "give at most 64 labels, of names of 1 to 128 bytes and values of at most 1024";
        return Err(ApiError::invalid("labels", "are too many or too long", remedy));
    }
    Ok(())
}

fn shown(id: &str, session: &Session) -> v1::Session {
    v1::Session {
        id: id.to_owned(),
        labels: session.labels.clone(),
        worker: session.worker as u32,
        legs: session.legs.keys().cloned().collect(),
        routes: session.routes.keys().cloned().collect(),
    }
}
