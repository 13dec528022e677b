//! Changes of legs, as arguments.

use clap::Args;
use sluice_proto::v1;

use super::args::{Latching, Protection};
use super::media_path::MediaPath;

#[derive(Args)]
pub(super) struct UpdateLeg {
    session: String,
    leg: String,
    /// The peer's RTP address.
    #[arg(long, value_name = "IP:PORT")]
    remote: Option<String>,
    /// The peer's RTCP address.
    #[arg(long, value_name = "IP:PORT")]
    remote_rtcp: Option<String>,
    /// DSCP code point of what is sent, 0 to 63.
    #[arg(long)]
    dscp: Option<u32>,
    /// Payload types that are accepted.
    #[arg(long, value_delimiter = ',', value_name = "PT,…")]
    payload_types: Option<Vec<u32>>,
    /// What the peer sends from now on; plain takes the leg's keys for receiving away.
    #[arg(long)]
    inbound: Option<Protection>,
    /// What the peer gets from now on; plain takes the leg's keys for sending away.
    #[arg(long)]
    outbound: Option<Protection>,
    /// What becomes of media before the next first key for receiving.
    #[arg(long, value_name = "drop|plain|hold[:PACKETS[:MS]]", value_parser = early_media)]
    early_media: Option<v1::EarlyMedia>,
    /// Whether the peer's address may be learnt from its packets.
    #[arg(long)]
    latching: Option<Latching>,
    /// Send RTCP from and to the RTP port.
    #[arg(long, value_name = "BOOL")]
    rtcp_mux: Option<bool>,
    /// Replay window in packets, 64 to 32768: while the leg has no streams.
    #[arg(long)]
    replay_window: Option<u32>,
    /// SSRCs that the peer may use at a time.
    #[arg(long)]
    max_streams: Option<u32>,
    #[command(flatten)]
    media_path: MediaPath,
}

impl TryFrom<UpdateLeg> for v1::UpdateLegRequest {
    type Error = anyhow::Error;

    fn try_from(update: UpdateLeg) -> anyhow::Result<Self> {
        let (dtls, ice) = update.media_path.read()?;
        let protection = |given: Protection| v1::Protection::from(given).into();
        Ok(Self {
            session: update.session,
            leg: update.leg,
            remote: update.remote,
            remote_rtcp: update.remote_rtcp,
            dscp: update.dscp,
            payload_types: update.payload_types.map(|values| v1::PayloadTypes { values }),
            inbound: update.inbound.map(protection),
            outbound: update.outbound.map(protection),
            early_media: update.early_media,
            latching: update.latching.map(|latching| v1::Latching::from(latching).into()),
            rtcp_mux: update.rtcp_mux,
            replay_window: update.replay_window,
            max_streams: update.max_streams,
            dtls,
            ice,
            ..Default::default()
        })
    }
}

/// `drop`, `plain`, or `hold` with packets and milliseconds.
pub(super) fn early_media(text: &str) -> Result<v1::EarlyMedia, String> {
    let wrong = || "write drop, plain, hold, hold:PACKETS or hold:PACKETS:MILLISECONDS".to_owned();
    let mut parts = text.split(':');
    let mode = match parts.next() {
        Some("drop") => v1::EarlyMediaMode::Drop,
        Some("plain") => v1::EarlyMediaMode::Plain,
        Some("hold") => v1::EarlyMediaMode::Hold,
        _ => return Err(wrong()),
    };
    let mut number = || parts.next().map_or(Ok(0), |number| number.parse().map_err(|_| wrong()));
    let (packets, milliseconds) = (number()?, number()?);
    match parts.next() {
        None => Ok(v1::EarlyMedia { mode: mode.into(), packets, milliseconds }),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_media_is_a_mode_and_perhaps_bounds() {
        let hold = |packets, milliseconds| {
            let mode = v1::EarlyMediaMode::Hold.into();
            Ok(v1::EarlyMedia { mode, packets, milliseconds })
        };
        assert_eq!(early_media("hold"), hold(0, 0));
        assert_eq!(early_media("hold:64"), hold(64, 0));
        assert_eq!(early_media("hold:64:500"), hold(64, 500));
        for wrong in ["", "keep", "hold:", "hold:x", "hold:1:2:3", "hold:-1"] {
            assert!(early_media(wrong).is_err(), "{wrong}");
        }
    }
}
