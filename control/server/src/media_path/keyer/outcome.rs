//! What associations have to say, and what comes of it.

use std::time::Instant;

use sluice_datapath::Component;
use sluice_keying::dtls_srtp::{DtlsError, Event, Keys, Output, Role};
use sluice_proto::v1;
use sluice_proto::v1::event::Kind;

use super::{Keyer, RETRY, SHORT_TAG, Shared, Which};
use crate::media_path::action::Action;
use crate::media_path::association::{Facts, Line, Stage};
use crate::media_path::counters::add;

impl Keyer {
    /// Takes from an association what it has to say.
    pub(super) fn drain(&mut self, which: Which, shared: &mut Shared, now: Instant) {
        let mut which = which;
        loop {
            let Some(line) = self.line(which) else { return };
            match line.machine.poll() {
                Output::Transmit(bytes) => {
                    let remote = line.remote;
                    shared.send(Component::Rtp, remote, bytes);
                }
                Output::Timeout(at) => {
                    line.timeout = at;
                    return;
                }
                Output::Event(event) => which = self.happened(which, event, shared, now),
            }
        }
    }

    /// Where the association is now.
    fn happened(&mut self, which: Which, event: Event, shared: &mut Shared, now: Instant) -> Which {
        match event {
            // It is right only once it is held against what signalling says.
            Event::Progress(_) | Event::PeerCertificate { .. } => {}
            Event::Keys(keys) => return self.established(which, keys, shared, now),
            Event::Refused(error) => self.refused(which, &error, shared),
            Event::Closed => {
                let was_established = self.line(which).is_some_and(|line| line.stage == Stage::Established);
                if was_established {
                    add(&shared.counters.closed);
                    shared.tell(Kind::AssociationClosed(v1::AssociationClosed { rtcp: false }));
                    self.over(which, Stage::Closed, shared);
                } else {
                    self.failed(which, "the peer closed the association", shared, now);
                }
                self.hush(shared);
            }
            Event::Failed(error) => self.failed(which, &error.to_string(), shared, now),
        }
        which
    }

    fn established(&mut self, which: Which, keys: Box<Keys>, shared: &mut Shared, now: Instant) -> Which {
        add(&shared.counters.completed);
        if keys.resumed {
            add(&shared.counters.resumed);
        }
        let facts = Facts::of(&keys);
        let fingerprint = keys.peer_fingerprint.to_string();
        shared.tell(Kind::CertificateVerified(v1::CertificateVerified { fingerprint, rtcp: false }));
        self.over(which, Stage::Established, shared);
        if let Some(line) = self.line(which) {
            line.facts = facts;
        }
        let remote = self.line(which).map(|line| line.remote);
        // Make before break: only now the one of before is of no more use.
        if which == Which::Next
            && let Some(mut old) = std::mem::replace(&mut self.current, self.next.take())
        {
            Self::end(&mut old, shared, now);
        }
        self.keyed += 1;
        self.last_flight = Some(now);
        let finished = Instant::now();
        let (roc, short_tags) =
            self.wanted.dtls.as_ref().map_or_else(Default::default, |dtls| (dtls.roc, dtls.short_tags));
        let mut keys = keys;
        for key in [&mut keys.inbound, &mut keys.outbound] {
            let short_in_rtp = !key.suite.is_aead() && key.suite.rtp_overhead() == SHORT_TAG;
            key.options.short_rtcp_tags |= short_tags && short_in_rtp;
        }
        // Who is heard under the keys is to be answered at once. Who holds the certificate has shown where he is.
        if self.checks.is_none()
            && let Some(remote) = remote.filter(|remote| self.wanted.remote != Some(*remote))
            && (self.wanted.remote.is_none() || self.wanted.learns)
        {
            shared.actions.push(Action::Towards { rtp: remote, rtcp: None });
        }
        self.hush(shared);
        shared.actions.push(Action::Install { keys, roc, number: self.keyed, finished });
        // With the key the worker plays out what it kept.
        self.rekeying = false;
        Which::Current
    }

    /// The peer is not who signalling says.
    fn refused(&mut self, which: Which, error: &DtlsError, shared: &mut Shared) {
        add(&shared.counters.refused);
        let remote = self.line(which).map(|line| line.remote.to_string()).unwrap_or_default();
        let (expected, shown) = match error {
            DtlsError::FingerprintMismatch { shown, signalled } => {
                (signalled.iter().map(ToString::to_string).collect(), shown.to_string())
            }
            _ => (Vec::new(), String::new()),
        };
        shared.tell(Kind::CertificateRefused(v1::CertificateRefused {
            expected,
            shown,
            remote,
            rtcp: false,
        }));
        self.over(which, Stage::Failed(error.to_string()), shared);
    }

    pub(super) fn failed(&mut self, which: Which, why: &str, shared: &mut Shared, now: Instant) {
        add(&shared.counters.failed);
        let remote = self.line(which).map(|line| line.remote.to_string()).unwrap_or_default();
        shared.tell(Kind::HandshakeFailed(v1::HandshakeFailed {
            reason: why.to_owned(),
            remote,
            rtcp: false,
        }));
        let role = self.line(which).map(|line| line.role);
        self.over(which, Stage::Failed(format!("the DTLS handshake failed: {why}")), shared);
        if role == Some(Role::Client) {
            self.retry = Some(now + RETRY);
        }
    }

    /// The handshake came to an end.
    fn over(&mut self, which: Which, stage: Stage, shared: &mut Shared) {
        let Some(line) = self.line(which) else { return };
        line.stage = stage;
        if std::mem::take(&mut line.is_half_open) {
            shared.gate.ended();
        }
    }

    /// An association goes: the peer is told so.
    pub(super) fn end(line: &mut Line, shared: &mut Shared, now: Instant) {
        if std::mem::take(&mut line.is_half_open) {
            shared.gate.ended();
        }
        if line.has_failed() {
            return;
        }
        line.machine.close(now);
        // Events of what has ended are nobody's.
        while let output @ (Output::Transmit(_) | Output::Event(_)) = line.machine.poll() {
            if let Output::Transmit(bytes) = output {
                shared.send(Component::Rtp, line.remote, bytes);
            }
        }
    }
}
