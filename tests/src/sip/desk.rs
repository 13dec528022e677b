//! What a call through the relay works with, and what is written down of it.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tonic::Status;

use super::message::Message;
use super::relay::Transcript;
use crate::signalling::Signalling;

/// What Sluice was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller's first offer.
    Offer,
    /// Another branch of it.
    Fork,
    /// An answer in a provisional response.
    Progress,
    /// An answer in a final one.
    Answer,
    /// An offer in a re-INVITE.
    Reoffer,
    /// The answer to that.
    Reanswer,
}

/// An SDP that went in to Sluice, and what came out.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it was asked.
    pub step: Step,
    /// About which branch.
    pub branch: String,
    /// The SDP as it came from a user agent; empty for a fork.
    pub got: String,
    /// The SDP that was sent on, or the refusal.
    pub gave: Result<String, String>,
}

/// What a call works with.
pub(super) struct Desk<'a> {
    pub own: SocketAddr,
    pub api: &'a mut Signalling,
    pub log: &'a Mutex<Transcript>,
    /// What is to be sent.
    pub out: Vec<(SocketAddr, Message)>,
}

impl Desk<'_> {
    /// Changes what is written down.
    pub(super) fn note(&self, change: impl FnOnce(&mut Transcript)) {
        change(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes down what Sluice was asked, and said.
    pub(super) fn enter(&self, step: Step, branch: &str, got: &str, gave: &Result<String, Status>) {
        let gave = match gave {
            Ok(sdp) => Ok(sdp.clone()),
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        };
        let entry = Entry { step, branch: branch.to_owned(), got: got.to_owned(), gave };
        self.note(|log| log.entries.push(entry));
    }

    pub(super) fn send(&mut self, to: SocketAddr, message: Message) {
        self.out.push((to, message));
    }
}
