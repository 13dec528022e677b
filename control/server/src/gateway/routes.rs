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
    pub(super) async fn begin_route(
        &self,
        state: &mut State,
        route: &v1::Route,
    ) -> Result<Option<Ticket>, ApiError> {
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
        let options = options(route)?;
        let number = state.route_number();
        self.directory.add_route(number, route.id.clone());
        let sent = self.send(worker, Command::AddRoute { route: number, from, to, options }).await;
        let ticket = sent.inspect_err(|_| self.directory.remove_route(number))?;
        let session = state.session(&route.session)?;
        session.routes.insert(route.id.clone(), Route { number, route: route.clone() });
        Ok(Some(ticket))
    }

    /// Replaces the choices of routes: all commands first, then all answers.
    pub(crate) async fn update_routes(&self, routes: Vec<v1::Route>) -> Vec<Result<v1::Route, ApiError>> {
        let mut state = self.state.lock().await;
        let mut begun = Vec::with_capacity(routes.len());
        for route in routes {
            begun.push(self.begin_update(&mut state, route).await);
        }
        let mut results = Vec::with_capacity(begun.len());
        for started in begun {
            results.push(match started {
                Ok((route, ticket)) => match ticket.await {
                    Ok(()) => remember(&mut state, route),
                    Err(error) => Err(error.into()),
                },
                Err(error) => Err(error),
            });
        }
        results
    }

    pub(super) async fn begin_update(
        &self,
        state: &mut State,
        mut route: v1::Route,
    ) -> Result<(v1::Route, Ticket), ApiError> {
        let session = state.session(&route.session)?;
        let worker = session.worker;
        let existing = session.routes.get(&route.id);
        let existing = existing.ok_or_else(|| ApiError::not_found("route", "id", &route.id))?;
        for (field, wanted, is) in
            [("from", &mut route.from, &existing.route.from), ("to", &mut route.to, &existing.route.to)]
        {
            if !wanted.is_empty() && wanted != is {
                let remedy = "leave it out, or create another route";
                return Err(ApiError::invalid(field, format!("is {is:?}, and stays"), remedy));
            }
            wanted.clone_from(is);
        }
        let command = Command::UpdateRoute { route: existing.number, options: options(&route)? };
        Ok((route, self.send(worker, command).await?))
    }

    pub(super) fn forget_route(&self, state: &mut State, session: &str, id: &str) {
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

/// The engine has the new choices, and so has the state.
pub(super) fn remember(state: &mut State, route: v1::Route) -> Result<v1::Route, ApiError> {
    let known = state.session(&route.session)?.routes.get_mut(&route.id);
    let known = known.ok_or_else(|| ApiError::not_found("route", "id", &route.id))?;
    known.route = route.clone();
    Ok(route)
}

/// What a route does to packets. What is out of an octet's range is refused here, the rest by the engine.
fn options(route: &v1::Route) -> Result<RouteOptions, ApiError> {
    let on_ssrc_clash = match route.on_ssrc_clash() {
        v1::SsrcClashPolicy::Rewrite => OnSsrcClash::Rewrite,
        v1::SsrcClashPolicy::Refuse | v1::SsrcClashPolicy::Unspecified => OnSsrcClash::Refuse,
    };
    Ok(RouteOptions {
        on_ssrc_clash,
        paused: route.paused,
        only: route.only.as_ref().map(|only| only.values.clone()),
        ssrcs: route.ssrc_map.iter().map(|map| (map.from, map.to)).collect(),
        payload_types: octets("payload_type_map", &route.payload_type_map)?,
        extensions: octets("extension_map", &route.extension_map)?,
        original_headers: route.original_headers,
    })
}

fn octets(field: &'static str, map: &[v1::ValueMapping]) -> Result<Vec<(u8, u8)>, ApiError> {
    let octet = |value: u32| {
        let refused = || ApiError::invalid(field, format!("{value} is more than 255"), "correct the value");
        u8::try_from(value).map_err(|_| refused())
    };
    map.iter().map(|map| Ok((octet(map.from)?, octet(map.to)?))).collect()
}

fn difference(a: &v1::Route, b: &v1::Route) -> Option<&'static str> {
    let same = [
        ("from", a.from == b.from),
        ("to", a.to == b.to),
        ("on_ssrc_clash", a.on_ssrc_clash == b.on_ssrc_clash),
        ("paused", a.paused == b.paused),
        ("only", a.only == b.only),
        ("ssrc_map", a.ssrc_map == b.ssrc_map),
        ("payload_type_map", a.payload_type_map == b.payload_type_map),
        ("extension_map", a.extension_map == b.extension_map),
        ("original_headers", a.original_headers == b.original_headers),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}
