//! Sessions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use sluice_datapath::Command;
use sluice_proto::v1;

use super::Gateway;
use super::state::Session;
use crate::ApiError;
use crate::error::check_id;

impl Gateway {
    pub(crate) async fn create_session(
        &self,
        id: String,
        labels: HashMap<String, String>,
    ) -> Result<v1::Session, ApiError> {
        check_id("session", &id)?;
        let mut state = self.state.lock().await;
        if let Some(session) = state.sessions.get(&id) {
            if session.labels != labels {
                return Err(ApiError::exists("session", &id, "labels"));
            }
            return Ok(shown(&id, session));
        }
        let worker = state.home_worker();
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
        // The engine removes a leg's routes with it.
        for leg in session.legs.values() {
            self.remove(session.worker, Command::RemoveLeg { leg: leg.number }).await?;
            self.directory.remove_leg(leg.number);
            for key in &leg.keys {
                state.fingerprints.release(key.fingerprint);
            }
        }
        for route in session.routes.values() {
            self.directory.remove_route(route.number);
        }
        state.count_legs(session.worker, -(session.legs.len() as isize));
        state.sessions.remove(id);
        Ok(true)
    }
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
