//! A dialog of the relay with one user agent (RFC 3261 section 12).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::message::{Message, parameter};

/// What names a dialog and says where its requests go.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// Who the relay is to this peer.
    pub own: SocketAddr,
    /// The peer.
    pub peer: SocketAddr,
    pub call_id: String,
    /// The value of From in what the relay sends, with its tag.
    pub local: String,
    /// The value of To, with the peer's tag if it is known.
    pub remote: String,
    /// The URI of requests.
    pub target: String,
    sequence: u32,
}

impl Dialog {
    /// One that the relay begins.
    pub(super) fn calling(own: SocketAddr, peer: SocketAddr, target: String) -> Self {
        Self {
            own,
            peer,
            call_id: format!("{}@{}", fresh("call"), own.ip()),
            local: format!("<sip:relay@{own}>;tag={}", fresh("t")),
            remote: format!("<{target}>"),
            target,
            sequence: 0,
        }
    }

    /// One that an INVITE begins, whose responses have `tag`.
    pub(super) fn called(own: SocketAddr, peer: SocketAddr, invite: &Message, tag: &str) -> Self {
        Self {
            own,
            peer,
            call_id: invite.header("Call-ID").to_owned(),
            local: format!("{};tag={tag}", invite.header("To")),
            remote: invite.header("From").to_owned(),
            target: invite.contact().to_owned(),
            sequence: 0,
        }
    }

    /// Takes the peer's tag and its target from what it sent.
    pub(super) fn learn(&mut self, message: &Message) {
        let tagged = message.header("To");
        if message.status().is_some() && parameter(tagged, "tag").is_some() {
            tagged.clone_into(&mut self.remote);
        }
        if !message.contact().is_empty() {
            message.contact().clone_into(&mut self.target);
        }
    }

    /// The next request of the dialog.
    pub(super) fn request(&mut self, method: &str) -> Message {
        self.sequence += 1;
        let via = format!("SIP/2.0/UDP {};branch={};rport", self.own, fresh("z9hG4bK"));
        self.addressed(method, &via, self.sequence, &self.remote)
    }

    /// The ACK of a final response to an INVITE of this dialog: of a refusal it belongs to the INVITE's transaction
    /// (RFC 3261 section 17.1.1.3), of a 2xx it is one of its own (section 13.2.2.4).
    pub(super) fn acknowledge(&self, invite: &Message, response: &Message) -> Message {
        let accepted = response.status().is_some_and(|(status, _)| status < 300);
        if !accepted {
            let mut ack = self.within("ACK", invite, response.header("To"));
            ack.start = format!("ACK {} SIP/2.0", invite.uri());
            return ack;
        }
        let via = format!("SIP/2.0/UDP {};branch={};rport", self.own, fresh("z9hG4bK"));
        self.addressed("ACK", &via, invite.sequence().0, response.header("To"))
    }

    /// The CANCEL of an INVITE (RFC 3261 section 9.1).
    pub(super) fn cancel(&self, invite: &Message) -> Message {
        let mut cancel = self.within("CANCEL", invite, invite.header("To"));
        cancel.start = format!("CANCEL {} SIP/2.0", invite.uri());
        cancel
    }

    fn within(&self, method: &str, invite: &Message, to: &str) -> Message {
        self.addressed(method, invite.header("Via"), invite.sequence().0, to)
    }

    fn addressed(&self, method: &str, via: &str, sequence: u32, to: &str) -> Message {
        Message::request(method, &self.target)
            .with("Via", via)
            .with("Max-Forwards", "70")
            .with("From", &self.local)
            .with("To", to)
            .with("Call-ID", &self.call_id)
            .with("CSeq", format!("{sequence} {method}"))
            .with("Contact", contact(self.own))
    }
}

/// The relay's Contact.
pub(super) fn contact(own: SocketAddr) -> String {
    format!("<sip:relay@{own}>")
}

/// A word that this process did not use before. Tests are no place for those who guess.
pub(super) fn fresh(begin: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{begin}{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
