//! A look ahead: what a batch is going to touch is asked of memory for all of its packets at once, so that with many
//! legs, whose state no cache holds, the packets of a batch wait together and not one after the other.

use arrayvec::ArrayVec;
use sluice_classifier::LocalKey;
use sluice_io::{Frame, FrameBatch, Ingress};
use sluice_srtp::prefetch;

use super::ingress::Located;
use super::{BATCH, Pipeline, Received};
use crate::port::Remote;
use crate::stream::Target;

/// Legs beyond which it pays: fewer are in the second-level cache, and so are their streams.
const WORTHWHILE: usize = 1024;
/// Routes of a stream that are looked at: those of a larger fan-out are in order, as the CPU itself expects.
const ROUTES: usize = 4;

impl Pipeline {
    fn is_worthwhile(&self, packets: usize) -> bool {
        packets > 1 && self.legs.len() > WORTHWHILE
    }

    /// Asks for legs and streams of what was received. Each pass finds at hand what the one before asked for.
    pub(super) fn look_ahead(&self, rx: &FrameBatch) {
        if !self.is_worthwhile(rx.len()) {
            return;
        }
        for ingress in rx.iter().filter_map(Frame::ingress) {
            match ingress.socket {
                None => self.locals.prefetch(&LocalKey::from(ingress.local)),
                Some(token) => self.leg_ids.prefetch(&token.leg),
            }
        }
        let located: ArrayVec<(Located, &Ingress, u32), BATCH> = rx
            .iter()
            .filter_map(|frame| {
                let ingress = frame.ingress()?;
                Some((self.locate(ingress)?, ingress, ssrc(frame)?))
            })
            .collect();
        for (place, ingress, _) in &located {
            match place {
                Located::Leg(leg, _) => self.legs.prefetch(*leg),
                Located::Port(port) => self.finder.remotes.prefetch(&Remote::new(*port, ingress.remote)),
            }
        }
        let streams: ArrayVec<(u32, u32), BATCH> = located
            .into_iter()
            .filter_map(|(place, ingress, ssrc)| match place {
                Located::Leg(leg, _) => Some((leg, ssrc)),
                Located::Port(port) => {
                    Some((self.finder.remotes.get(&Remote::new(port, ingress.remote))?, ssrc))
                }
            })
            .collect();
        for stream in &streams {
            self.legs.prefetch(stream.0);
            self.stream_ids.prefetch(stream);
        }
        for stream in streams.iter().filter_map(|stream| self.stream_ids.get(stream)) {
            self.streams.prefetch(stream);
        }
    }

    /// Asks for what forwarding needs: the routes of each packet's stream, their legs and contexts, and counters.
    pub(super) fn look_ahead_along_routes(&self, received: &[Received]) {
        if !self.is_worthwhile(received.len()) {
            return;
        }
        let bindings = |packet: &Received| {
            let stream = self.streams.get(packet.stream).filter(|_| packet.outcome.is_ok());
            stream.map(|stream| stream.bindings.as_slice()).unwrap_or_default()
        };
        for packet in received {
            if let Some(first) = bindings(packet).first() {
                prefetch(first);
            }
            if let Some(leg) = self.legs.get(packet.leg) {
                prefetch(&leg.counters().received_rtp);
            }
        }
        for binding in received.iter().flat_map(|packet| bindings(packet).iter().take(ROUTES)) {
            self.legs.prefetch(binding.to);
            if let Target::Context(context) = binding.target {
                self.egress.prefetch(context);
            }
        }
        for binding in received.iter().flat_map(|packet| bindings(packet).iter().take(ROUTES)) {
            if let Some(leg) = self.legs.get(binding.to) {
                prefetch(&leg.counters().sent_rtp);
            }
        }
    }
}

/// The SSRC, if it is RTP; for anything else a number that finds nothing.
fn ssrc(frame: &Frame) -> Option<u32> {
    Some(u32::from_be_bytes(*frame.payload().get(8..)?.first_chunk()?))
}
