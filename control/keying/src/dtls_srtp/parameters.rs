//! What signalling says of a handshake to come.

use sluice_srtp::Suite;

use super::Fingerprint;

/// Which part the gateway plays in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It begins: its `a=setup` is active.
    Client,
    /// The peer begins.
    Server,
}

/// What the gateway says of itself towards one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDtls {
    /// Of its certificate, one for each hash function that is offered.
    pub fingerprints: Vec<Fingerprint>,
    /// Names the association (`a=tls-id`, RFC 8842 section 4): another one, another association.
    pub tls_id: String,
}

/// What a peer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerDtls {
    /// Its certificate has one of these.
    pub fingerprints: Vec<Fingerprint>,
    /// Names the association, if the peer knows RFC 8842.
    pub tls_id: Option<String>,
}

impl PeerDtls {
    /// Of the fingerprints those that count: "An endpoint MUST select the set of fingerprints that use its most preferred hash
    /// function (out of those offered by the peer)" (RFC 8122 section 5), which is the strongest.
    pub fn decisive(&self) -> impl Iterator<Item = &Fingerprint> {
        let strongest = self.fingerprints.iter().map(Fingerprint::hash).max();
        self.fingerprints.iter().filter(move |fingerprint| Some(fingerprint.hash()) == strongest)
    }

    /// The fingerprint that vouches for a certificate in DER, if one does: it has to match "one fingerprint out of that set".
    pub fn vouching_for(&self, certificate: &[u8]) -> Option<&Fingerprint> {
        self.decisive().find(|fingerprint| fingerprint.matches(certificate))
    }
}

/// What was agreed on a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedDtls {
    /// Numbers the associations that negotiation has seen on a transport, from 1. See [`AgreedDtls::continues`].
    pub association: u32,
    /// The gateway's part.
    pub role: Role,
    /// The gateway.
    pub own: OwnDtls,
    /// The peer.
    pub peer: PeerDtls,
    /// Suites that the handshake may choose from, the preferred one first.
    pub suites: Vec<Suite>,
}

impl AgreedDtls {
    /// Whether the association is the one that was agreed on before, whose keys stay; otherwise it is a new one, with a
    /// handshake of its own (RFC 8842 section 3.1).
    ///
    /// Both names have to be looked at: "the combination of the SDP "tls-id" attribute values of the SDP offerer and
    /// answerer identifies each individual DTLS association" (section 5.1), and several peers may answer one offer.
    pub fn continues(&self, before: &Self) -> bool {
        self.association == before.association
            && self.role == before.role
            && self.own == before.own
            && self.peer.tls_id == before.peer.tls_id
            && self.peer.fingerprints == before.peer.fingerprints
    }
}

#[cfg(test)]
mod tests {
    use super::super::HashFunction;
    use super::*;

    #[test]
    fn the_strongest_hash_function_decides() {
        let fingerprint = |hash, certificate: &str| Fingerprint::of(hash, certificate.as_bytes());
        let weak = fingerprint(HashFunction::Sha256, "a");
        let strong = [fingerprint(HashFunction::Sha512, "b"), fingerprint(HashFunction::Sha512, "c")];
        let peer = PeerDtls { fingerprints: vec![weak, strong[0].clone(), strong[1].clone()], tls_id: None };
        assert_eq!(peer.vouching_for(b"a"), None);
        assert_eq!(peer.vouching_for(b"b"), Some(&strong[0]));
        assert_eq!(peer.vouching_for(b"c"), Some(&strong[1]));
    }

    #[test]
    fn without_fingerprints_nobody_is_vouched_for() {
        assert_eq!(PeerDtls::default().vouching_for(b"a"), None);
    }
}
