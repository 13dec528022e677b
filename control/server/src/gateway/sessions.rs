//! Sessions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use prost::Message;
use sluice_datapath::Command;
use sluice_proto::v1;

use super::state::{Session, State};
use super::taps::Tap;
use super::{Gateway, gone};
use crate::ApiError;
use crate::error::check_id;

const MAX_LABELS: usize = 64;
/// A page of a list ends before it is larger than this, and holds one entry at least: clients refuse
/// messages of more than 4 MiB unless told otherwise.
const PAGE_BYTES: usize = 1 << 20;

impl Gateway {
    pub(crate) async fn create_session(
        &self,
        id: String,
        labels: HashMap<String, String>,
    ) -> Result<v1::Session, ApiError> {
        check_id("session", &id)?;
        let mut state = self.state.lock().await;
        self.open_session(&mut state, &id, labels)?;
        Ok(shown(&id, state.session(&id)?))
    }

    /// Makes a session, unless it is there; whether it was made.
    pub(super) fn open_session(
        &self,
        state: &mut State,
        id: &str,
        labels: HashMap<String, String>,
    ) -> Result<bool, ApiError> {
        check_labels(&labels)?;
        if let Some(session) = state.sessions.get(id) {
            if session.labels != labels {
                return Err(ApiError::exists("session", id, "labels"));
            }
            return Ok(false);
        }
        let limit = self.config.limits.sessions.0;
        if state.sessions.len() as u64 >= limit {
            let message = format!("there are {limit} sessions, as many as limits.sessions allows");
            return Err(ApiError::exhausted("LIMIT", message, "delete sessions, or raise limits.sessions"));
        }
        let Some(worker) = state.home_worker(|worker| self.is_alive(worker)) else {
            return Err(ApiError::unavailable("no worker is alive"));
        };
        state.count_sessions(worker, 1);
        let (legs, routes, taps) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let session = Session { labels, worker, legs, routes, taps };
        state.sessions.insert(id.to_owned(), session);
        Ok(true)
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
        let mut rest = state.sessions.range((after, Bound::Unbounded)).map(|(id, s)| shown(id, s)).peekable();
        let (mut sessions, mut bytes) = (Vec::<v1::Session>::new(), 0);
        while let Some(session) = rest.next_if(|next| {
            bytes += next.encoded_len();
            sessions.is_empty() || (sessions.len() < page_size && bytes <= PAGE_BYTES)
        }) {
            sessions.push(session);
        }
        let last = sessions.last().map(|session| session.id.clone());
        let next_page_token = last.filter(|_| rest.peek().is_some()).unwrap_or_default();
        Ok(v1::ListSessionsResponse { sessions, next_page_token })
    }

    /// Has another worker carry the session's legs.
    pub(crate) async fn move_session(&self, id: &str, worker: u32) -> Result<v1::Session, ApiError> {
        let to = worker as usize;
        let mut state = self.state.lock().await;
        let session = state.session(id)?;
        let from = session.worker;
        let taps = session.taps.values().flat_map(Tap::legs);
        let legs: Vec<_> = session.legs.values().map(|leg| leg.number).chain(taps).collect();
        if !self.is_alive(to) {
            let message = format!("there is no worker {to} that works");
            return Err(ApiError::invalid(
                "worker",
                message,
                "choose one that `sluice ctl info` lists as alive",
            ));
        }
        if to == from {
            return Ok(shown(id, state.session(id)?));
        }
        let moved = match self.command(from, Command::MoveLegs { legs: legs.clone(), to }).await {
            Err(error) if error.reason == "LEGS_LOST" => {
                let gone = state.session(id)?.legs.keys().cloned().collect();
                self.forget_legs(&mut state, id, &gone);
                self.legs_lost(&state, id);
                return Err(error);
            }
            moved => moved,
        };
        moved?;
        for leg in &legs {
            self.directory.moved(*leg, to);
        }
        state.session(id)?.worker = to;
        for (worker, sign) in [(from, -1), (to, 1)] {
            state.count_sessions(worker, sign);
            state.count_legs(worker, sign * legs.len() as isize);
        }
        Ok(shown(id, state.session(id)?))
    }

    pub(crate) async fn delete_session(&self, id: &str) -> Result<bool, ApiError> {
        let mut state = self.state.lock().await;
        let Some(session) = state.sessions.get(id) else { return Ok(false) };
        let worker = session.worker;
        let legs: Vec<_> = session.legs.iter().map(|(id, leg)| (id.clone(), leg.number)).collect();
        self.say_goodbye(legs.iter().map(|(_, number)| *number)).await;
        // All commands first, then all answers. The engine removes a leg's routes and keys with it. What was
        // sent before something went wrong is done all the same, and noted.
        let mut sent = Vec::with_capacity(legs.len());
        let mut outcome = Ok(());
        for (leg, number) in legs {
            match self.send(worker, Command::RemoveLeg { leg: number }).await {
                Ok(ticket) => sent.push((leg, ticket)),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let mut removed = HashSet::with_capacity(sent.len());
        for (leg, ticket) in sent {
            match gone(ticket.await) {
                Ok(()) => drop(removed.insert(leg)),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.forget_legs(&mut state, id, &removed);
        outcome?;
        self.remove_taps(&mut state, id).await;
        state.count_sessions(worker, -1);
        state.sessions.remove(id);
        self.calls.leave(id);
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
    // An operator's terminal would obey them.
    if labels.iter().flat_map(|(name, value)| name.chars().chain(value.chars())).any(char::is_control) {
        return Err(ApiError::invalid("labels", "have control characters", "leave them out"));
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

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::path::Path;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use sluice_datapath::{Engine, Limits};

    use super::*;
    use crate::Config;

    /// A gateway whose worker takes one command at a time.
    fn gateway() -> Gateway {
        let text = "[media]\naddresses = [\"127.0.0.1\"]\nports = \"50000-50999\"\n\
                    [datapath]\nmode = \"io_uring\"\nworkers = 1\nlarge_chunks = 64";
        let config = Config::parse(Path::new("test.toml"), text).unwrap();
        let mut engine = config.engine();
        engine.limits = Limits { commands: 1, legs: 100, ..engine.limits };
        let media_path = crate::media_path::MediaPath::open(&config).unwrap();
        Gateway::new(Engine::start(engine).unwrap().0, config, Arc::default(), media_path)
    }

    #[tokio::test]
    async fn no_session_is_given_to_a_worker_that_ended() {
        let gateway = gateway();
        assert!(gateway.all_alive());
        gateway.shutdown();
        assert!(!gateway.all_alive());
        let error = gateway.create_session("s".into(), HashMap::new()).await.unwrap_err();
        assert_eq!(error.code, tonic::Code::Unavailable);
    }

    #[tokio::test]
    async fn legs_that_went_before_a_deletion_failed_are_no_longer_listed() {
        const LEGS: usize = 50;
        let gateway = gateway();
        gateway.create_session("s".into(), HashMap::new()).await.unwrap();
        for leg in 0..LEGS {
            let plain = v1::Protection::Plain.into();
            let config =
                v1::LegConfig { inbound: plain, outbound: plain, rtcp_mux: true, ..Default::default() };
            let leg = format!("l{leg}");
            let request = v1::CreateLegRequest { session: "s".into(), leg, config: Some(config) };
            assert!(gateway.create_legs(vec![request]).await[0].is_ok());
        }
        {
            let mut deletion = pin!(gateway.delete_session("s"));
            // It stops at a queue that is full.
            let polled = deletion.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
            let legs = || gateway.with_engine(|engine| engine.stats()[0].legs).unwrap();
            let until = Instant::now() + Duration::from_secs(10);
            while legs() == LEGS as u64 && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            gateway.shutdown();
            assert!(deletion.await.is_err());
        }
        let left = gateway.list_legs("s").await.unwrap().len();
        assert!(0 < left && left < LEGS, "{left}");
        assert!(gateway.get_session("s").await.is_ok(), "it can be deleted again");
    }
}
