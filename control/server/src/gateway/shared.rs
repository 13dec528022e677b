//! Local ports that legs share: one for each local address and worker, made when the first leg wants it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use sluice_datapath::{Command, PortId, PortSetup, Sharing};
use sluice_proto::v1;

use super::Gateway;
use super::state::State;
use crate::ApiError;
use crate::ports::bind_exactly;

/// The shared ports that there are; they stay until the daemon ends.
#[derive(Default)]
pub(super) struct SharedPorts {
    ports: HashMap<(IpAddr, usize), (PortId, Arc<UdpSocket>)>,
}

impl Gateway {
    /// The shared port of an address on a worker, and its socket.
    pub(super) async fn shared_port(
        &self,
        state: &mut State,
        address: IpAddr,
        worker: usize,
    ) -> Result<(PortId, Arc<UdpSocket>), ApiError> {
        if let Some((port, socket)) = state.shared.ports.get(&(address, worker)) {
            return Ok((*port, Arc::clone(socket)));
        }
        let refuse = |message: &str, remedy: &'static str| {
            let error = ApiError::precondition("NO_SHARED_PORT", message.to_owned(), remedy);
            Err(error.at("shared_port"))
        };
        let Some(first) = self.config.media.shared_port.as_ref() else {
            let remedy = "set media.shared_port, or leave shared_port out of the leg";
            return refuse("the configuration has no shared port", remedy);
        };
        let Some(number) = u16::try_from(first.0 as usize + worker).ok() else {
            return refuse("the worker's shared port would be beyond 65535", "lower media.shared_port");
        };
        let local = SocketAddr::new(address, number);
        let socket = bind_exactly(local, true).map_err(|error| error.at("shared_port"))?.rtp;
        let port = state.shared.ports.len() as PortId;
        let setup = PortSetup { port, local, socket: Arc::clone(&socket) };
        self.command(worker, Command::AddPort(setup)).await?;
        state.shared.ports.insert((address, worker), (port, Arc::clone(&socket)));
        Ok((port, socket))
    }
}

/// What tells the leg from the others of its port, checked as far as the engine does not do it.
pub(super) fn sharing(config: &v1::LegConfig, has_port: bool) -> Result<Option<Sharing>, ApiError> {
    if !config.shared_port {
        let alone = [("ssrcs", config.ssrcs.is_empty()), ("ice_ufrag", config.ice_ufrag.is_empty())];
        return match alone.into_iter().find(|(_, alone)| !alone) {
            Some((field, _)) => {
                let remedy = "leave it out, or set shared_port";
                Err(ApiError::invalid(field, "tells legs of a shared port apart, which this is not", remedy))
            }
            None => Ok(None),
        };
    }
    if !config.rtcp_mux {
        let remedy = "set rtcp_mux";
        return Err(ApiError::invalid("rtcp_mux", "is needed on a shared port: RTCP has no other", remedy));
    }
    if has_port {
        let remedy = "leave the port out";
        return Err(ApiError::invalid("local", "names a port, and the leg is to share one", remedy));
    }
    // RFC 8839 §5.4: 4 to 256 letters, digits, + and /.
    let is_ice = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    let ufrag = &config.ice_ufrag;
    if !ufrag.is_empty() && (!(4..=256).contains(&ufrag.len()) || !ufrag.chars().all(is_ice)) {
        let message = "is not 4 to 256 letters, digits, + and / (RFC 8839 section 5.4)";
        return Err(ApiError::invalid(
            "ice_ufrag",
            message,
            "give the fragment of the leg's own a=ice-ufrag",
        ));
    }
    let ice_ufrag = (!ufrag.is_empty()).then(|| ufrag.as_str().into());
    Ok(Some(Sharing { port: 0, ssrcs: config.ssrcs.clone(), ice_ufrag }))
}
