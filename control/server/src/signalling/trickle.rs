//! Candidates of peers that come one by one (RFC 8838, RFC 8840).

use std::sync::Arc;

use sluice_keying::ice::Credentials;
use sluice_keying::negotiation::{IceFragment, Standing};
use sluice_keying::policy::Side;
use sluice_proto::v1;

use super::call::{Branch, Call, leg_id};
use super::offer::MAX_TRANSPORTS;
use super::{Signalling, present};
use crate::ApiError;
use crate::media_path::peer_candidates;

/// Requests that are kept for an answer to come.
const KEPT: usize = 64;

/// Candidates that came before it was known what they belong to.
#[derive(Clone)]
pub(super) struct Early {
    from: Side,
    request: Arc<v1::AddCallCandidatesRequest>,
}

impl Signalling {
    /// More of a peer's candidates, or the word that there are no more.
    pub(crate) async fn add_call_candidates(
        &self,
        asked: v1::AddCallCandidatesRequest,
    ) -> Result<v1::AddCallCandidatesResponse, ApiError> {
        let asked = lines(asked)?;
        for asked in &asked {
            // What cannot be read is refused now, whenever it is used.
            peer_candidates("candidates", &asked.candidates)?;
        }
        for asked in asked {
            self.add_line(asked).await?;
        }
        Ok(v1::AddCallCandidatesResponse {})
    }

    async fn add_line(&self, asked: v1::AddCallCandidatesRequest) -> Result<(), ApiError> {
        let from = match asked.from() {
            v1::CallSide::Caller => Side::Caller,
            v1::CallSide::Callee => Side::Callee,
            v1::CallSide::Unspecified => {
                let remedy = "say CALL_SIDE_CALLER or CALL_SIDE_CALLEE: whose candidates they are";
                return Err(ApiError::invalid("from", "is not specified", remedy));
            }
        };
        let place = self.place(&asked.session)?;
        let mut guard = place.call.lock().await;
        let call = present(&place, &mut guard)?;
        let branches = branches_of(call, &asked, from)?;
        for id in branches {
            let branch = call.branch(&id)?;
            let early = Early { from, request: Arc::new(asked.clone()) };
            self.add_to(&place.session, &id, branch, &early).await?;
            let Some(exchange) = branch.exchange.as_mut().filter(|exchange| exchange.answered.is_none())
            else {
                continue;
            };
            if exchange.early.len() == KEPT {
                let message = format!("{KEPT} requests with candidates came before the answer");
                return Err(ApiError::exhausted("LIMIT", message, "put more candidates into one request"));
            }
            exchange.early.push(early);
        }
        Ok(())
    }

    /// Candidates that came before the answer are those of the legs that there are now.
    pub(super) async fn add_early(&self, session: &str, id: &str, branch: &Branch, early: Vec<Early>) {
        for early in early {
            if let Err(error) = self.add_to(session, id, branch, &early).await {
                tracing::debug!(session, branch = id, error.message, "early candidates are passed over");
            }
        }
    }

    /// Tells the leg, if there is one whose checks they are for.
    async fn add_to(&self, session: &str, id: &str, branch: &Branch, early: &Early) -> Result<(), ApiError> {
        let Early { from, request } = early;
        let Some(transport) = transport(&branch.peer(*from).standing, request) else { return Ok(()) };
        let leg = branch.media.get(transport).and_then(|medium| medium.leg(*from));
        let ice = leg.and_then(|leg| leg.agreed.as_ref()?.ice.as_ref());
        let Some(ice) = ice else { return Ok(()) };
        // "those of an older one": a restart came between (RFC 8838 section 12).
        if !request.ufrag.is_empty() && request.ufrag != ice.peer.credentials.ufrag {
            return Ok(());
        }
        let leg = leg_id(id, *from, transport);
        self.gateway.add_candidates(session, &leg, &request.candidates, request.end).await.map(drop)
    }
}

/// The caller's are of every branch, as its offer is.
fn branches_of(
    call: &Call,
    asked: &v1::AddCallCandidatesRequest,
    from: Side,
) -> Result<Vec<String>, ApiError> {
    if from == Side::Caller && asked.branch.is_empty() && call.selected.is_none() {
        return Ok(call.branches.keys().cloned().collect());
    }
    Ok(vec![call.branch_id(&asked.branch)?])
}

/// What a request says of each line.
fn lines(asked: v1::AddCallCandidatesRequest) -> Result<Vec<v1::AddCallCandidatesRequest>, ApiError> {
    if asked.fragment.is_empty() {
        return Ok(vec![asked]);
    }
    let fragment = IceFragment::parse(&asked.fragment).map_err(|error| {
        let remedy = "give a body of the type application/trickle-ice-sdpfrag (RFC 8840 section 9)";
        ApiError::invalid("fragment", error.to_string(), remedy)
    })?;
    let whose = |credentials: Option<&Credentials>| {
        credentials.map(|credentials| credentials.ufrag.clone()).unwrap_or_default()
    };
    let of = v1::AddCallCandidatesRequest { fragment: String::new(), ..asked };
    let IceFragment { credentials, lines, ended } = fragment;
    if lines.is_empty() && ended {
        // It speaks of all of them.
        let every = (0..MAX_TRANSPORTS as u32).map(|line| v1::AddCallCandidatesRequest {
            line,
            ufrag: whose(credentials.as_ref()),
            end: true,
            ..of.clone()
        });
        return Ok(every.collect());
    }
    let each = lines.into_iter().zip(0..).map(|(said, line)| v1::AddCallCandidatesRequest {
        mid: said.mid.unwrap_or_default(),
        line,
        ufrag: whose(said.credentials.as_ref().or(credentials.as_ref())),
        candidates: said.candidates.iter().map(ToString::to_string).collect(),
        end: said.ended || ended,
        ..of.clone()
    });
    Ok(each.collect())
}

fn transport(standing: &Standing, request: &v1::AddCallCandidatesRequest) -> Option<usize> {
    let mid = Some(request.mid.as_str()).filter(|mid| !mid.is_empty());
    standing.transport_of(mid, mid.is_none().then_some(request.line as usize))
}
