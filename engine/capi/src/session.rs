//! A session: its streams by SSRC, and what new ones are made of.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_srtp::Kind;

use crate::policy::{Crypto, Policy, Streams};
use crate::stream::{Events, Stream};
use crate::types::srtp_err_status_t::{
    self, srtp_err_status_bad_param, srtp_err_status_no_ctx, srtp_err_status_ok,
};

type Result<T> = std::result::Result<T, srtp_err_status_t>;

#[derive(Default)]
pub(crate) struct Session {
    /// What a stream gets whose SSRC has no policy of its own.
    template: Option<Arc<Crypto>>,
    streams: HashMap<u32, Stream>,
}

impl Session {
    /// Adds a stream, or what all others are made of. An SSRC that has a stream is refused.
    pub(crate) fn add(&mut self, policy: &Policy) -> Result<()> {
        match policy.streams {
            Streams::Any if self.template.is_none() => self.template = Some(Arc::clone(&policy.crypto)),
            Streams::One(ssrc) if !self.streams.contains_key(&ssrc) => {
                self.streams.insert(ssrc, Stream::new(ssrc, &policy.crypto));
            }
            _ => return Err(srtp_err_status_bad_param),
        }
        Ok(())
    }

    /// Removes a stream.
    pub(crate) fn remove(&mut self, ssrc: u32) -> Result<()> {
        self.streams.remove(&ssrc).map(drop).ok_or(srtp_err_status_no_ctx)
    }

    /// Gives streams other keys; what was received and sent is not forgotten.
    pub(crate) fn update(&mut self, policy: &Policy) -> Result<()> {
        match policy.streams {
            Streams::One(ssrc) => self.stream(ssrc)?.update(&policy.crypto),
            Streams::Any => {
                let template = self.template.as_mut().ok_or(srtp_err_status_bad_param)?;
                let before = std::mem::replace(template, Arc::clone(&policy.crypto));
                for stream in self.streams.values_mut().filter(|stream| stream.shares(&before)) {
                    stream.update(&policy.crypto);
                }
            }
        }
        Ok(())
    }

    /// An existing stream.
    pub(crate) fn stream(&mut self, ssrc: u32) -> Result<&mut Stream> {
        self.streams.get_mut(&ssrc).ok_or(srtp_err_status_bad_param)
    }

    /// The stream that a packet is to be sent in; one that is made now if the SSRC is new.
    pub(crate) fn sending(&mut self, ssrc: u32) -> Result<&mut Stream> {
        match &self.template {
            Some(template) => Ok(self.streams.entry(ssrc).or_insert_with(|| Stream::new(ssrc, template))),
            None => self.streams.get_mut(&ssrc).ok_or(srtp_err_status_no_ctx),
        }
    }

    /// Unprotects a packet in place. A stream for a new SSRC is kept only if the packet was authentic: a
    /// forger makes none.
    pub(crate) fn unprotect(
        &mut self,
        ssrc: u32,
        kind: Kind,
        packet: &mut [u8],
        mki: bool,
        events: &mut Events,
    ) -> Result<usize> {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            return stream.unprotect(kind, packet, mki, events);
        }
        let mut stream = Stream::new(ssrc, self.template.as_ref().ok_or(srtp_err_status_no_ctx)?);
        let len = stream.unprotect(kind, packet, mki, events)?;
        self.streams.insert(ssrc, stream);
        Ok(len)
    }

    /// Most octets that protection adds to a packet of any stream.
    pub(crate) fn overhead(&self, kind: Kind, mki: Option<usize>) -> Result<usize> {
        let streams = self.streams.values().map(Stream::crypto);
        let cryptos = self.template.iter().chain(streams);
        cryptos.filter_map(|crypto| crypto.overhead(kind, mki)).max().ok_or(srtp_err_status_bad_param)
    }
}

/// As a status.
pub(crate) fn status(result: Result<()>) -> srtp_err_status_t {
    result.err().unwrap_or(srtp_err_status_ok)
}
