//! Routes.

use std::collections::HashMap;

use sluice_datapath::{Command, OnSsrcClash, RouteOptions, Ticket};
use sluice_proto::v1;

use super::Gateway;
use super::state::{Route, State};
use crate::ApiError;
use crate::error::check_id;

impl Gateway {
    /// Creates routes: all commands first, then all answers. What fails leaves nothing behind.
    pub(crate) async fn create_routes(&self, routes: Vec<v1::Route>) -> Vec<Result<v1::Route, ApiError>> {
        let mut state = self.state.lock().await;
        let mut begun = Vec::with_capacity(routes.len());
        for route in routes {
            let started = self.begin_route(&mut state, &route).await;
            begun.push((route, started));
        }
        let mut results = Vec::with_capacity(begun.len());
        // What failed in this batch: an entry that repeats it has failed as well.
        let mut failed: HashMap<(String, String), ApiError> = HashMap::new();
        for (route, started) in begun {
            results.push(match started {
                Ok(None) => {
                    let place = (route.session.clone(), route.id.clone());
                    failed.get(&place).map_or(Ok(route), |error| Err(error.clone()))
                }
                Ok(Some(ticket)) => match ticket.await {
                    Ok(()) => Ok(route),
                    Err(error) => {
                        self.forget_route(&mut state, &route.session, &route.id);
                        let error = ApiError::from(error);
                        failed.insert((route.session, route.id), error.clone());
                        Err(error)
                    }
                },
                Err(error) => Err(error),
            });
        }
        results
    }

    /// `None`: it was there before, with the same contents; perhaps from an earlier entry of the batch.
    async fn begin_route(&self, state: &mut State, route: &v1::Route) -> Result<Option<Ticket>, ApiError> {
        check_id("id", &route.id)?;
        let session = state.session(&route.session)?;
        let worker = session.worker;
        if let Some(existing) = session.routes.get(&route.id) {
            return match difference(&existing.route, route) {
                Some(field) => Err(ApiError::exists("route", &route.id, field)),
                None => Ok(None),
            };
        }
        let from = session.leg("from", &route.from)?.number;
        let to = session.leg("to", &route.to)?.number;
        if from == to {
            let remedy = "name two legs";
            return Err(ApiError::invalid("to", "is the leg that the route comes from", remedy));
        }
        let on_ssrc_clash = match route.on_ssrc_clash() {
            v1::SsrcClashPolicy::Rewrite => OnSsrcClash::Rewrite,
            v1::SsrcClashPolicy::Refuse | v1::SsrcClashPolicy::Unspecified => OnSsrcClash::Refuse,
        };
        let number = state.route_number();
        self.directory.add_route(number, route.id.clone());
        let options = RouteOptions { on_ssrc_clash };
        let sent = self.send(worker, Command::AddRoute { route: number, from, to, options }).await;
        let ticket = sent.inspect_err(|_| self.directory.remove_route(number))?;
        let session = state.session(&route.session)?;
        session.routes.insert(route.id.clone(), Route { number, route: route.clone() });
        Ok(Some(ticket))
    }

    fn forget_route(&self, state: &mut State, session: &str, id: &str) {
        if let Ok(session) = state.session(session)
            && let Some(route) = session.routes.remove(id)
        {
            self.directory.remove_route(route.number);
        }
    }

    pub(crate) async fn list_routes(&self, session: &str) -> Result<Vec<v1::Route>, ApiError> {
        let mut state = self.state.lock().await;
        if session.is_empty() {
            let sessions = state.sessions.values();
            return Ok(sessions.flat_map(|s| s.routes.values()).map(|route| route.route.clone()).collect());
        }
        Ok(state.session(session)?.routes.values().map(|route| route.route.clone()).collect())
    }

    pub(crate) async fn delete_route(&self, session: &str, id: &str) -> Result<bool, ApiError> {
        let mut state = self.state.lock().await;
        let found = state.session(session)?;
        let worker = found.worker;
        let Some(route) = found.routes.get(id) else { return Ok(false) };
        let number = route.number;
        self.remove(worker, Command::RemoveRoute { route: number }).await?;
        self.forget_route(&mut state, session, id);
        Ok(true)
    }
}

fn difference(a: &v1::Route, b: &v1::Route) -> Option<&'static str> {
    let same = [
        ("from", a.from == b.from),
        ("to", a.to == b.to),
        ("on_ssrc_clash", a.on_ssrc_clash == b.on_ssrc_clash),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}
