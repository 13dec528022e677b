//! Requests that were answered: what a client repeats, since it did not get the answer, is answered the same and done once.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use prost::Message;
use zeroize::Zeroizing;

use crate::ApiError;

/// Requests of a call that are remembered, the oldest forgotten first.
const REMEMBERED: usize = 16;
const MAX_ID: usize = 128;

/// Contents are compared by 128 bits under keys of this process: they hold keys, which must not be kept.
static HASHERS: LazyLock<(RandomState, RandomState)> = LazyLock::new(Default::default);

/// A request's id with its contents.
pub(super) struct Request<'a> {
    id: &'a str,
    method: &'static str,
    contents: (u64, u64),
}

/// A call's answers.
#[derive(Default)]
pub(super) struct Requests(VecDeque<Answered>);

struct Answered {
    id: String,
    method: &'static str,
    contents: (u64, u64),
    /// Encoded. It may hold keys.
    answer: Zeroizing<Vec<u8>>,
}

impl<'a> Request<'a> {
    /// A request; `None`: it has no id, and cannot be told from others.
    pub(super) fn new(
        id: &'a str,
        method: &'static str,
        message: &impl Message,
    ) -> Result<Option<Self>, ApiError> {
        if id.is_empty() {
            return Ok(None);
        }
        if id.len() > MAX_ID {
            let message = format!("has {} bytes", id.len());
            return Err(ApiError::invalid("request_id", message, "give at most 128 bytes"));
        }
        let encoded = Zeroizing::new(message.encode_to_vec());
        let contents = (HASHERS.0.hash_one(&*encoded), HASHERS.1.hash_one(&*encoded));
        Ok(Some(Self { id, method, contents }))
    }
}

impl Requests {
    /// The answer to a request that was answered already.
    pub(super) fn repeated<A: Message + Default>(
        &self,
        request: Option<&Request>,
    ) -> Result<Option<A>, ApiError> {
        let Some(request) = request else { return Ok(None) };
        let Some(before) = self.0.iter().find(|answered| answered.id == request.id) else { return Ok(None) };
        if before.method != request.method || before.contents != request.contents {
            let error = ApiError::exists("request", request.id, "contents");
            let remedy = "give each request an id of its own, and repeat it unchanged";
            return Err(ApiError { remedy, ..error.at("request_id") });
        }
        // What was encoded here is decoded; were it not, the request would be done again.
        Ok(A::decode(before.answer.as_slice()).ok())
    }

    /// Remembers an answer.
    pub(super) fn answered(&mut self, request: Option<&Request>, answer: &impl Message) {
        let Some(request) = request else { return };
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Answered {
            id: request.id.to_owned(),
            method: request.method,
            contents: request.contents,
            answer: Zeroizing::new(answer.encode_to_vec()),
        });
    }
}

#[cfg(test)]
mod tests {
    use sluice_proto::v1;

    use super::*;

    fn message(branch: &str) -> v1::SelectBranchRequest {
        v1::SelectBranchRequest { session: "s".into(), branch: branch.into(), request_id: "r".into() }
    }

    #[test]
    fn a_repeated_request_has_its_answer_and_another_is_refused() {
        let mut requests = Requests::default();
        let first = message("a");
        let request = Request::new("r", "select", &first).unwrap();
        assert!(requests.repeated::<v1::SelectBranchResponse>(request.as_ref()).unwrap().is_none());
        let call = v1::Call { session: "s".into(), ..Default::default() };
        let answer = v1::SelectBranchResponse { call: Some(call) };
        requests.answered(request.as_ref(), &answer);
        assert_eq!(requests.repeated(request.as_ref()).unwrap(), Some(answer));
        let other = message("b");
        for request in [Request::new("r", "select", &other), Request::new("r", "drop", &first)] {
            let refused = requests.repeated::<v1::SelectBranchResponse>(request.unwrap().as_ref());
            let error = refused.unwrap_err();
            assert_eq!((error.code, error.field), (tonic::Code::AlreadyExists, "request_id"));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut requests = Requests::default();
        for number in 0..100 {
            let id = number.to_string();
            let request = Request::new(&id, "select", &message("a")).unwrap();
            requests.answered(request.as_ref(), &v1::SelectBranchResponse::default());
        }
        assert_eq!(requests.0.len(), REMEMBERED);
        assert!(Request::new(&"x".repeat(129), "select", &message("a")).is_err());
        assert!(Request::new("", "select", &message("a")).unwrap().is_none());
    }
}
