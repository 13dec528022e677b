//! Why a datagram of a handshake or a check was not taken: each a word, a sentence and a counter.

use std::sync::atomic::{AtomicU64, Ordering};

use sluice_proto::v1;

macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $reason:ident = $name:literal,)*) => {
        /// Why a datagram was not taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Reason {
            $($(#[doc = $text])+ $reason,)*
        }

        impl Reason {
            /// Every reason.
            const ALL: &[Self] = &[$(Self::$reason),*];

            const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }

            const fn description(self) -> &'static str {
                match self {
                    $(Self::$reason => concat!($($text),+),)*
                }
            }
        }
    };
}

reasons! {
    /// The thread of handshakes and checks had more to do than it could.
    Busy = "negotiator_busy",
    /// The worker had no room for what was to be sent.
    WorkerBusy = "worker_busy",
    /// A STUN message that is malformed, or not made with the right credentials.
    Stun = "stun_refused",
    /// DTLS on a leg, or a port of it, where no handshake is to be.
    NoAssociation = "dtls_no_association",
    /// DTLS from an address that has passed no connectivity check.
    Unchecked = "dtls_unchecked_address",
    /// DTLS from another address than that of the association.
    Elsewhere = "dtls_other_address",
    /// A ClientHello for a leg whose association is there already.
    StrayHello = "dtls_stray_client_hello",
    /// A ClientHello whose cookie is wrong, or that is malformed.
    Cookie = "dtls_cookie",
    /// More handshakes from one address than it may begin in a second.
    SourceRate = "dtls_source_rate",
    /// More handshakes than may begin in a second.
    TotalRate = "dtls_total_rate",
    /// More handshakes that have begun and not ended than there may be.
    HalfOpen = "dtls_half_open",
    /// A DTLS record that the association did not take: forged, repeated or out of place.
    Record = "dtls_refused",
}

/// How often each reason was found.
#[derive(Debug)]
pub(super) struct Drops([AtomicU64; Reason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Reason::ALL.len()])
    }
}

impl Drops {
    pub(super) fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// As the API shows them: those that there were.
    pub(super) fn shown(&self) -> Vec<v1::DropCount> {
        let counted =
            Reason::ALL.iter().map(|reason| (reason, self.0[*reason as usize].load(Ordering::Relaxed)));
        let seen = counted.filter(|(_, packets)| *packets > 0);
        seen.map(|(reason, packets)| v1::DropCount {
            reason: reason.name().to_owned(),
            packets,
            description: reason.description().trim().to_owned(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_counter_of_its_own() {
        let drops = Drops::default();
        for reason in Reason::ALL {
            drops.count(*reason);
        }
        let shown = drops.shown();
        assert_eq!(shown.len(), Reason::ALL.len());
        assert!(shown.iter().all(|drop| drop.packets == 1 && !drop.description.is_empty()));
    }
}
