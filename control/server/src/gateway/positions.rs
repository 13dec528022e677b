//! Where streams stand: from and to other daemons, and from signalling.

use std::sync::{Arc, Mutex, PoisonError};

use sluice_datapath::{Command, Direction, StreamPosition};
use sluice_proto::v1;
use sluice_srtp::Position;

use super::Gateway;
use super::derivation::direction;
use crate::ApiError;

impl Gateway {
    pub(crate) async fn export_positions(&self, session: &str, leg: &str) -> Result<v1::Positions, ApiError> {
        let (worker, number) = self.leg_of(session, leg).await?;
        let into = Arc::new(Mutex::new(Vec::new()));
        let done =
            self.command(worker, Command::ExportPositions { leg: number, into: Arc::clone(&into) }).await;
        // Here no key was given that could be wrong.
        done.map_err(|error| if error.field == "key_salt" { error.at("leg") } else { error })?;
        let streams = std::mem::take(&mut *into.lock().unwrap_or_else(PoisonError::into_inner));
        let streams = streams.into_iter().map(shown).collect();
        Ok(v1::Positions { session: session.to_owned(), leg: leg.to_owned(), streams })
    }

    pub(crate) async fn import_positions(&self, positions: v1::Positions) -> Result<(), ApiError> {
        let v1::Positions { session, leg, streams } = positions;
        let streams: Vec<_> = streams.iter().map(read).collect::<Result<_, _>>()?;
        let (worker, number) = self.leg_of(&session, &leg).await?;
        self.command(worker, Command::ImportPositions { leg: number, streams }).await
    }

    async fn leg_of(&self, session: &str, leg: &str) -> Result<(usize, u32), ApiError> {
        let mut state = self.state.lock().await;
        let session = state.session(session)?;
        Ok((session.worker, session.leg("leg", leg)?.number))
    }
}

fn shown(stream: StreamPosition) -> v1::StreamPosition {
    let direction = match stream.direction {
        Direction::Inbound => v1::Direction::Inbound,
        Direction::Outbound => v1::Direction::Outbound,
    };
    v1::StreamPosition {
        direction: direction.into(),
        ssrc: stream.ssrc,
        rtp_index: stream.position.rtp,
        // Of 31 bits.
        rtcp_index: stream.position.rtcp.map(|index| index as u32),
        initial_roc: stream.initial_roc,
    }
}

fn read(stream: &v1::StreamPosition) -> Result<StreamPosition, ApiError> {
    let refused = |problem: String, remedy| ApiError::invalid("streams", problem, remedy);
    let v1::StreamPosition { ssrc, rtp_index, rtcp_index, initial_roc, .. } = *stream;
    let direction = direction(stream.direction()).map_err(|error| error.at("streams"))?;
    if let Some(index) = rtp_index.filter(|index| *index >= 1 << 48) {
        return Err(refused(format!("rtp_index {index} has more than 48 bits"), "correct it"));
    }
    if let Some(index) = rtcp_index.filter(|index| *index >= 1 << 31) {
        return Err(refused(format!("rtcp_index {index} has more than 31 bits"), "correct it"));
    }
    if initial_roc.is_some() && (rtp_index.is_some() || direction == Direction::Outbound) {
        let problem =
            format!("initial_roc of SSRC {ssrc} says nothing beside an rtp_index, or of what is sent");
        return Err(refused(problem, "leave it out"));
    }
    let position = Position { rtp: rtp_index, rtcp: rtcp_index.map(u64::from) };
    Ok(StreamPosition { direction, ssrc, position, initial_roc })
}
