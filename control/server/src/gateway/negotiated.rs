//! What handshakes and checks in the media path bring: keys and addresses that no caller of the API gave.
//!
//! A handshake's thread gives keys to the worker itself, for they are not to wait for requests that hold the state; the
//! registry of keys for sending guards them all the same. The state is told once the worker has them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice_datapath::{Command, Direction, LegId, Ticket};
use sluice_keying::dtls_srtp::Keys;
use sluice_keying::negotiation::NegotiatedKey;
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use sluice_srtp::RocOnRekey;

use super::derivation::derive_one;
use super::state::Key;
use super::{Gateway, keys};
use crate::ApiError;
use crate::access::Caller;
use crate::audit::{Action, KeyAction};
use crate::events;

/// Keys of a handshake that are on their way to a worker, or there.
pub(crate) struct Given {
    leg: LegId,
    told: v1::KeysNegotiated,
    entries: Vec<Entry>,
}

struct Entry {
    key: Key,
    ticket: Option<Ticket>,
    /// The command, if the worker had no room for it yet.
    late: Option<(usize, Command)>,
    outcome: Result<(), ApiError>,
}

impl Gateway {
    /// Gives a worker the keys of a handshake. Waits for nothing.
    pub(crate) fn give_negotiated(
        &self,
        leg: LegId,
        worker: usize,
        keys: &Keys,
        roc: RocOnRekey,
        number: u32,
    ) -> Result<Given, ApiError> {
        let id = format!("dtls{number}");
        // What is held until there is a key finds its whole way: that of sending comes first.
        let both = [(Direction::Outbound, &keys.outbound), (Direction::Inbound, &keys.inbound)];
        let mut ready = Vec::with_capacity(2);
        for (direction, key) in both {
            let NegotiatedKey { suite, key_salt, options, .. } = key;
            let derived = derive_one(&self.sending, id.clone(), direction, *suite, key_salt, *options, roc)?;
            if let Some(sending) = &derived.0.sending {
                sending.claim(leg, None).map_err(|refusal| self.not_claimed(refusal))?;
            }
            self.keys_derived.fetch_add(1, Ordering::Relaxed);
            ready.push(derived);
        }
        let mut entries = Vec::with_capacity(2);
        for (key, session_keys) in ready {
            self.directory.add_key(leg, key.number, key.id.clone());
            let command = Command::InstallKeys {
                leg,
                direction: key.direction,
                keys: vec![Arc::new(session_keys)],
                shared: false,
                roc: key.roc,
                more_follow: false,
            };
            let (ticket, late) = match self.try_send(worker, command)? {
                Ok(ticket) => (Some(ticket), None),
                Err(full) => (None, Some((worker, *full.0))),
            };
            entries.push(Entry { key, ticket, late, outcome: Ok(()) });
        }
        let told = v1::KeysNegotiated {
            suite: keys.suite.name().to_owned(),
            dtls_version: keys.version.to_string(),
            cipher: keys.cipher.clone(),
            resumed: keys.resumed,
            forward_secret: keys.forward_secret,
            inbound_key: id.clone(),
            outbound_key: id,
            microseconds: 0,
            rtcp: false,
        };
        Ok(Given { leg, told, entries })
    }

    /// Has the state know of keys that a worker has, the audit log, and those who watch.
    pub(crate) async fn note_negotiated(self: &Arc<Self>, given: Given, took: Duration) {
        let Given { leg, mut told, entries } = given;
        let Some(names) = self.directory.leg(leg) else { return };
        let name = |key: &Key| v1::KeyRef {
            session: names.session.clone(),
            leg: names.leg.clone(),
            key: key.id.clone(),
            direction: key.shown().direction,
        };
        let (mut whole, mut news) = (true, Vec::new());
        let actions = entries.iter().map(|entry| KeyAction::new(name(&entry.key), &entry.outcome)).collect();
        {
            let mut state = self.state.lock().await;
            for Entry { key, outcome, .. } in entries {
                let found = state.session(&names.session).and_then(|session| session.leg("leg", &names.leg));
                // Another leg may go by the name now.
                let there = found.ok().filter(|found| found.number == leg);
                match (outcome, there) {
                    (Ok(()), Some(there)) => {
                        news.push(name(&key));
                        there.keys.push(key.clone());
                        if key.direction == Direction::Outbound {
                            keys::supersede(&mut state, &names.session, &names.leg, &key);
                        }
                    }
                    (outcome, _) => {
                        whole = false;
                        self.directory.remove_key(leg, key.number);
                        if let Err(error) = outcome {
                            let (session, leg) = (&names.session, &names.leg);
                            tracing::warn!(
                                session,
                                leg,
                                error.message,
                                "the key of a handshake is not installed"
                            );
                        }
                    }
                }
            }
        }
        self.forget_spent_keys();
        let action = Action::new("sluice.v1.MediaPath/Handshake").session(&names.session).leg(&names.leg);
        // What is done is done: that it could not be written is in the log.
        let _ = self.audit.record(&Caller::gateway(), action.keys(actions));
        if whole {
            told.microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            events::publish(self, Some(leg), Kind::KeysNegotiated(told));
            // "receivers SHOULD maintain both sets of keys for some time" (RFC 5764 section 5.2).
            self.retire_older(news).await;
        }
    }

    /// Gives a command and waits for its answer, with patience if the worker's queue is full.
    pub(crate) async fn patiently(&self, worker: usize, command: Command) -> Result<(), ApiError> {
        self.command(worker, command).await
    }

    /// CPUs that workers are bound to.
    pub(crate) fn worker_cpus(&self) -> Vec<usize> {
        let report = self.with_engine(sluice_datapath::Engine::report);
        let workers = report.into_iter().flat_map(|report| report.workers);
        workers.filter(|worker| worker.bound.is_ok()).filter_map(|worker| Some(worker.place?.cpu)).collect()
    }
}

impl Given {
    /// Waits until the worker has them all, or has refused.
    pub(crate) async fn applied(&mut self, gateway: &Gateway) {
        for entry in &mut self.entries {
            if let Some((worker, command)) = entry.late.take() {
                entry.outcome = gateway.patiently(worker, command).await;
            }
            if let Some(ticket) = entry.ticket.take() {
                entry.outcome = ticket.await.map_err(|error| keys::refused(&entry.key, error));
            }
        }
    }

    /// Whether the worker has them all.
    pub(crate) fn is_whole(&self) -> bool {
        self.entries.iter().all(|entry| entry.outcome.is_ok())
    }
}
