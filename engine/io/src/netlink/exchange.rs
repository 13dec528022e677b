//! One question, one answer.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use super::NetlinkError;

/// What the kernel said.
pub(super) enum Answer {
    /// What was asked for.
    Found(RouteNetlinkMessage),
    /// It did what it was told.
    Done,
    /// There is none, or it refuses.
    Refused(io::Error),
}

/// A netlink socket that is used in strict turns; it stays in the network namespace that it was opened in.
pub(super) struct Exchange {
    socket: Socket,
    sequence: u32,
}

impl Exchange {
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(Self { socket, sequence: 0 })
        };
        open().map_err(NetlinkError::Open)
    }

    /// Asks for one object.
    pub(super) fn ask(&mut self, question: RouteNetlinkMessage) -> Result<Answer, NetlinkError> {
        self.exchange(question, NLM_F_REQUEST)
    }

    /// Orders something, and waits until it is done.
    pub(super) fn order(&mut self, order: RouteNetlinkMessage) -> Result<Answer, NetlinkError> {
        self.exchange(order, NLM_F_REQUEST | NLM_F_ACK)
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<Answer, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        (header.flags, header.sequence_number) = (flags, self.sequence);
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(NetlinkError::Exchange)?;
        loop {
            let (answer, _) = self.socket.recv_from_full().map_err(NetlinkError::Exchange)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| NetlinkError::Answer(error.to_string()))?;
            // The answer to an earlier question whose reading was interrupted is not ours.
            if answer.header.sequence_number == self.sequence {
                return understand(answer.payload);
            }
        }
    }
}

fn understand(payload: NetlinkPayload<RouteNetlinkMessage>) -> Result<Answer, NetlinkError> {
    match payload {
        NetlinkPayload::InnerMessage(found) => Ok(Answer::Found(found)),
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(Answer::Done),
        NetlinkPayload::Error(error) => Ok(Answer::Refused(error.to_io())),
        _ => Err(NetlinkError::Answer("neither an object nor an error".into())),
    }
}
