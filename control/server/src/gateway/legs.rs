//! Legs.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_datapath::{
    Command, EarlyMedia, Latching, LegSetup, LegStats, PayloadTypes, Protection, Sharing, Ticket,
};
use sluice_proto::v1;
use sluice_srtp::ReplayWindow;

use super::directory::LegNames;
use super::media_path::{
    Shown, check_media_path, engine_latching, same_dtls, share_by_fragment, without_secrets,
};
use super::robustness::class_shown;
use super::state::{Leg, Route, State};
use super::{Gateway, Reserved, path_name, shared};
use crate::error::check_id;
use crate::media_path::Wanted as InMediaPath;
use crate::ports::{Sockets, bind_exactly};
use crate::{ApiError, Config};

/// Each costs a tag, for whoever sends packets of unknown SSRCs.
const MAX_ROC_TRIALS: u8 = 16;

/// A leg whose command is on its way.
pub(super) enum Begun {
    /// It was there before, with the same contents; perhaps from an earlier entry, which may yet fail.
    Same,
    Sent(sluice_datapath::Ticket),
}

impl Gateway {
    /// Creates legs: all commands first, then all answers. What fails leaves nothing behind.
    pub(crate) async fn create_legs(
        &self,
        requests: Vec<v1::CreateLegRequest>,
    ) -> Vec<Result<v1::Leg, ApiError>> {
        let mut state = self.state.lock().await;
        let mut begun = Vec::with_capacity(requests.len());
        for request in requests {
            let started = self.begin_leg(&mut state, &request).await;
            begun.push((request, started));
        }
        let mut results = Vec::with_capacity(begun.len());
        // What failed in this batch: an entry that repeats it has failed as well.
        let mut failed: HashMap<(String, String), ApiError> = HashMap::new();
        for (v1::CreateLegRequest { session, leg, .. }, started) in begun {
            let done = match started {
                Ok(Begun::Sent(ticket)) => ticket.await.map_err(|error| {
                    self.forget_leg(&mut state, &session, &leg);
                    let error = ApiError::from(error);
                    failed.insert((session.clone(), leg.clone()), error.clone());
                    error
                }),
                Ok(Begun::Same) => {
                    let before = failed.get(&(session.clone(), leg.clone()));
                    before.map_or(Ok(()), |error| Err(error.clone()))
                }
                Err(error) => Err(error),
            };
            results.push(done.and_then(|()| self.created(&mut state, &session, &leg)));
            self.legs_changed(&state, &session);
        }
        drop(state);
        let mut told = Vec::with_capacity(results.len());
        for result in results {
            told.push(match result {
                Ok(shown) => Ok(shown.told().await),
                Err(error) => Err(error),
            });
        }
        told
    }

    async fn begin_leg(&self, state: &mut State, request: &v1::CreateLegRequest) -> Result<Begun, ApiError> {
        check_id("leg", &request.leg)?;
        let mut config = request.config.clone().unwrap_or_default();
        check_media_path(&config)?;
        share_by_fragment(&mut config);
        let worker = state.session(&request.session)?.worker;
        if let Some(existing) = state.session(&request.session)?.legs.get(&request.leg) {
            return match difference(&existing.config, &config) {
                Some(field) => Err(ApiError::exists("leg", &request.leg, field)),
                None => Ok(Begun::Same),
            };
        }
        if config.ring {
            return self.begin_ring_leg(state, request, config, worker).await;
        }
        let mut wanted = Wanted::read(&config, &self.config)?;
        let sockets = match (&mut wanted.sharing, wanted.port) {
            (Some(sharing), _) => {
                let (port, rtp) = self.shared_port(state, wanted.address, worker).await?;
                sharing.port = port;
                Sockets { rtp, rtcp: None }
            }
            (None, Some(port)) => bind_exactly(SocketAddr::new(wanted.address, port), config.rtcp_mux)?,
            (None, None) => state.ports.allocate(wanted.address, config.rtcp_mux)?,
        };
        let at = addresses(&sockets)?;
        let negotiates = self.wanted_in_media_path(&mut config, [at.0, at.1])?;
        let leg = open_leg(state.leg_number(), config, at);
        let setup = wanted.setup(&leg, sockets);
        self.launch_leg(state, request, leg, setup, (worker, negotiates)).await
    }

    /// Gives the command of a leg on sockets that are bound already; `None`: it was there before.
    pub(super) async fn begin_reserved(
        &self,
        state: &mut State,
        request: &v1::CreateLegRequest,
        at: Reserved,
    ) -> Result<Option<Ticket>, ApiError> {
        check_id("leg", &request.leg)?;
        let mut config = request.config.clone().unwrap_or_default();
        let session = state.session(&request.session)?;
        let worker = session.worker;
        if let Some(existing) = session.legs.get(&request.leg) {
            let field = difference(&existing.config, &config);
            return field.map_or(Ok(None), |field| Err(ApiError::exists("leg", &request.leg, field)));
        }
        let wanted = Wanted::read(&config, &self.config)?;
        let negotiates = self.wanted_in_media_path(&mut config, [at.rtp, at.rtcp])?;
        let leg = open_leg(state.leg_number(), config, (at.rtp, at.rtcp));
        let setup = wanted.setup(&leg, at.sockets);
        match self.launch_leg(state, request, leg, setup, (worker, negotiates)).await? {
            Begun::Sent(ticket) => Ok(Some(ticket)),
            Begun::Same => Ok(None),
        }
    }

    /// Gives the engine a leg whose contents were checked.
    pub(super) async fn launch_leg(
        &self,
        state: &mut State,
        request: &v1::CreateLegRequest,
        leg: Leg,
        setup: LegSetup,
        (worker, negotiates): (usize, Option<InMediaPath>),
    ) -> Result<Begun, ApiError> {
        let number = leg.number;
        // Events may come before the answer does.
        self.directory.add_leg(number, LegNames::new(request.session.clone(), request.leg.clone(), worker));
        let ticket = match self.send(worker, Command::AddLeg(Box::new(setup))).await {
            Ok(ticket) => ticket,
            Err(error) => {
                self.directory.remove_leg(number);
                return Err(error);
            }
        };
        state.session(&request.session)?.legs.insert(request.leg.clone(), leg);
        state.count_legs(worker, 1);
        if let Some(wanted) = negotiates {
            self.set_media_path(number, wanted);
        }
        Ok(Begun::Sent(ticket))
    }

    /// Takes legs out of the state that the engine removed, with their routes, which went with them.
    pub(super) fn forget_legs(&self, state: &mut State, session: &str, gone: &HashSet<String>) {
        let Ok(found) = state.session(session) else { return };
        found.routes.retain(|_, Route { number, route }| {
            let goes = gone.contains(&route.from) || gone.contains(&route.to);
            if goes {
                self.directory.remove_route(*number);
            }
            !goes
        });
        for id in gone {
            self.forget_leg(state, session, id);
        }
    }

    fn forget_leg(&self, state: &mut State, session: &str, id: &str) {
        let Ok(found) = state.session(session) else { return };
        let worker = found.worker;
        if let Some(leg) = found.legs.remove(id) {
            // One that was removed has ended it before; one that failed to be made need not wait for it.
            drop(self.stop_media_path(leg.number));
            self.directory.remove_leg(leg.number);
            state.count_legs(worker, -1);
            state.ports.freed();
        }
    }

    pub(crate) async fn get_leg(&self, session: &str, leg: &str) -> Result<v1::Leg, ApiError> {
        let shown = self.shown(&mut *self.state.lock().await, session, leg)?;
        Ok(shown.told().await)
    }

    pub(crate) async fn list_legs(&self, session: &str) -> Result<Vec<v1::Leg>, ApiError> {
        let mut state = self.state.lock().await;
        let sessions = match session {
            "" => state.sessions.keys().cloned().collect(),
            one => state.session(one).map(|_| vec![one.to_owned()])?,
        };
        let mut legs = Vec::new();
        for session in sessions {
            let ids: Vec<_> = state.session(&session)?.legs.keys().cloned().collect();
            for id in ids {
                legs.push(self.shown(&mut state, &session, &id)?);
            }
        }
        drop(state);
        let mut told = Vec::with_capacity(legs.len());
        for shown in legs {
            told.push(shown.told().await);
        }
        Ok(told)
    }

    pub(crate) async fn delete_leg(&self, session: &str, id: &str) -> Result<bool, ApiError> {
        let mut state = self.state.lock().await;
        let found = state.session(session)?;
        let worker = found.worker;
        let Some(leg) = found.legs.get(id).cloned() else { return Ok(false) };
        self.say_goodbye([leg.number]).await;
        self.remove(worker, Command::RemoveLeg { leg: leg.number }).await?;
        self.forget_legs(&mut state, session, &HashSet::from([id.to_owned()]));
        self.legs_changed(&state, session);
        Ok(true)
    }

    /// A leg as its creator sees it.
    fn created(&self, state: &mut State, session: &str, id: &str) -> Result<Shown, ApiError> {
        let mut shown = self.shown(state, session, id)?;
        let ring = state.session(session)?.leg("leg", id)?.ring.as_ref();
        shown.leg.ring_token = ring.map(|ring| ring.token.clone()).unwrap_or_default();
        Ok(shown)
    }

    pub(super) fn shown(&self, state: &mut State, session: &str, id: &str) -> Result<Shown, ApiError> {
        let leg = state.session(session)?.leg("leg", id)?;
        let robustness = super::robustness::of_leg(&leg.config, &leg.keys);
        let learnt = self.directory.leg(leg.number).and_then(|names| names.learnt());
        let address =
            |address: SocketAddr| if leg.ring.is_some() { String::new() } else { address.to_string() };
        let remote_in_use = learnt.map_or_else(|| leg.config.remote.clone(), |remote| remote.to_string());
        let shown = v1::Leg {
            session: session.to_owned(),
            id: id.to_owned(),
            config: Some(without_secrets(&leg.config)),
            local_rtp: address(leg.local_rtp),
            local_rtcp: address(if leg.config.rtcp_mux { leg.local_rtp } else { leg.local_rtcp }),
            ring_token: String::new(),
            remote_in_use,
            keys: leg.keys.iter().map(super::state::Key::shown).collect(),
            robustness: class_shown(robustness).into(),
            robustness_explanation: robustness.explain().to_owned(),
            media_path: None,
        };
        Ok(Shown::new(self, leg.number, shown))
    }

    /// The path of a leg's newest media, as the API names it.
    pub(super) fn path_of(stats: &LegStats) -> String {
        stats.snapshot().path.map_or_else(String::new, |path| path_name(path).to_owned())
    }
}

/// Where a leg's sockets are bound: of RTP, and of RTCP.
pub(super) fn addresses(sockets: &Sockets) -> Result<(SocketAddr, SocketAddr), ApiError> {
    let address = |socket: &std::net::UdpSocket| {
        socket.local_addr().map_err(|error| ApiError::precondition("BIND", error.to_string(), "retry"))
    };
    let rtp = address(&sockets.rtp)?;
    Ok((rtp, sockets.rtcp.as_deref().map_or(Ok(rtp), address)?))
}

pub(super) fn open_leg(
    number: u32,
    config: v1::LegConfig,
    (local_rtp, local_rtcp): (SocketAddr, SocketAddr),
) -> Leg {
    let stats = Arc::new(LegStats::new());
    let (keys, codecs) = (Vec::new(), Vec::new());
    Leg { number, config, local_rtp, local_rtcp, stats, keys, ring: None, codecs }
}

/// The first field in which two configurations differ.
fn difference(a: &v1::LegConfig, b: &v1::LegConfig) -> Option<&'static str> {
    let same = [
        ("local", a.local == b.local),
        ("remote", a.remote == b.remote),
        ("remote_rtcp", a.remote_rtcp == b.remote_rtcp),
        ("rtcp_mux", a.rtcp_mux == b.rtcp_mux),
        ("inbound", a.inbound == b.inbound),
        ("outbound", a.outbound == b.outbound),
        ("latching", a.latching == b.latching),
        ("payload_types", a.payload_types == b.payload_types),
        ("replay_window", a.replay_window == b.replay_window),
        ("max_streams", a.max_streams == b.max_streams),
        ("dscp", a.dscp == b.dscp),
        ("roc_trials", a.roc_trials == b.roc_trials),
        ("shared_port", a.shared_port == b.shared_port),
        ("ssrcs", a.ssrcs == b.ssrcs),
        ("ice_ufrag", a.ice_ufrag == b.ice_ufrag),
        ("ring", a.ring == b.ring),
        ("keying", a.keying == b.keying),
        ("attestation", a.attestation == b.attestation),
        ("early_media", a.early_media == b.early_media),
        ("dtls", same_dtls(a.dtls.as_ref(), b.dtls.as_ref())),
        ("ice", a.ice == b.ice),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}

/// A leg's configuration, checked.
pub(super) struct Wanted {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
    sharing: Option<Sharing>,
    remotes: Remotes,
    inbound: Protection,
    outbound: Protection,
    latching: Latching,
    payload_types: PayloadTypes,
    window: ReplayWindow,
    max_streams: u16,
    roc_trials: u8,
    dscp: u8,
    early_media: EarlyMedia,
}

impl Wanted {
    pub(super) fn read(config: &v1::LegConfig, defaults: &Config) -> Result<Self, ApiError> {
        let (address, port) = local(&config.local, defaults)?;
        Ok(Self {
            address,
            port,
            sharing: shared::sharing(config, port.is_some())?,
            remotes: if config.ice.is_some() {
                Remotes { rtp: None, rtcp: None }
            } else {
                Remotes::read(config, address)?
            },
            inbound: protection("inbound", config.inbound())?,
            outbound: protection("outbound", config.outbound())?,
            latching: engine_latching(config, defaults),
            payload_types: payload_types(&config.payload_types)?,
            window: window(config.replay_window, defaults)?,
            max_streams: max_streams(config)?,
            roc_trials: u8::try_from(config.roc_trials)
                .ok()
                .filter(|trials| *trials <= MAX_ROC_TRIALS)
                .ok_or_else(|| {
                    let message = format!("{} is too many", config.roc_trials);
                    ApiError::invalid("roc_trials", message, "give 0 to 16")
                })?,
            dscp: dscp(config.dscp)?,
            early_media: config.early_media.as_ref().map_or(Ok(EarlyMedia::Drop), early_media)?,
        })
    }

    pub(super) fn setup(self, leg: &Leg, sockets: Sockets) -> LegSetup {
        LegSetup {
            leg: leg.number,
            local: leg.local_rtp,
            rtp: Some(sockets.rtp),
            rtcp: sockets.rtcp,
            remote: self.remotes.rtp,
            rtcp_remote: self.remotes.rtcp,
            latching: self.latching,
            inbound: self.inbound,
            outbound: self.outbound,
            window: self.window,
            payload_types: self.payload_types,
            max_streams: self.max_streams,
            roc_trials: self.roc_trials,
            dscp: self.dscp,
            sharing: self.sharing,
            early_media: self.early_media,
            stats: leg.stats.clone(),
        }
    }
}

fn local(text: &str, config: &Config) -> Result<(IpAddr, Option<u16>), ApiError> {
    let remedy = "give \"ip\" or \"ip:port\"; IPv6 with a port as \"[ip]:port\"";
    let (address, port) = if text.is_empty() {
        let Some(address) = config.media.default_address() else {
            let message = "is empty, and the configuration has no media.addresses";
            return Err(ApiError::invalid("local", message, "name the leg's address"));
        };
        (address, None)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        (address, None)
    } else {
        let address: SocketAddr = text
            .parse()
            .map_err(|_| ApiError::invalid("local", format!("{text:?} is no address"), remedy))?;
        (address.ip(), (address.port() != 0).then_some(address.port()))
    };
    if address.is_unspecified() || address.is_multicast() {
        let message = format!("{address} is no address of one interface");
        return Err(ApiError::invalid("local", message, "name the address that media is sent to"));
    }
    Ok((address, port))
}

/// The peer's addresses.
pub(super) struct Remotes {
    pub(super) rtp: Option<SocketAddr>,
    pub(super) rtcp: Option<SocketAddr>,
}

impl Remotes {
    pub(super) fn read(config: &v1::LegConfig, local: IpAddr) -> Result<Self, ApiError> {
        let rtp = remote("remote", &config.remote, local)?;
        let rtcp = remote("remote_rtcp", &config.remote_rtcp, local)?;
        if rtcp.is_some() && (config.rtcp_mux || rtp.is_none()) {
            let message = "means something only beside remote and without rtcp_mux";
            return Err(ApiError::invalid("remote_rtcp", message, "leave it out"));
        }
        Ok(Self { rtp, rtcp })
    }
}

fn remote(field: &'static str, text: &str, local: IpAddr) -> Result<Option<SocketAddr>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let remedy = "give \"ip:port\" or \"[ip]:port\" of the leg's address family";
    let address: SocketAddr = text
        .parse()
        .map_err(|_| ApiError::invalid(field, format!("{text:?} is no transport address"), remedy))?;
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(ApiError::invalid(field, format!("{address} cannot be sent to"), remedy));
    }
    if address.is_ipv4() != local.is_ipv4() {
        let message = format!("{address} and the local address {local} are of different families");
        return Err(ApiError::invalid(field, message, remedy));
    }
    Ok(Some(address))
}

pub(super) fn latching(latching: v1::Latching, defaults: &Config) -> Latching {
    match latching {
        v1::Latching::Unspecified => defaults.defaults.latching.into(),
        v1::Latching::Never => Latching::Never,
        v1::Latching::SignalledOnly => Latching::SignalledOnly,
        v1::Latching::FirstAuthenticated => Latching::FirstAuthenticated,
        v1::Latching::NewestAuthenticated => Latching::NewestAuthenticated,
    }
}

pub(super) fn window(packets: u32, defaults: &Config) -> Result<ReplayWindow, ApiError> {
    let default = defaults.defaults.replay_window.0 as u32;
    Ok(ReplayWindow::new(if packets == 0 { default } else { packets })?)
}

/// What becomes of media before the first key.
pub(super) fn early_media(wanted: &v1::EarlyMedia) -> Result<EarlyMedia, ApiError> {
    let refused = |message: &str| {
        let remedy = "give at most 1024 packets and 10000 milliseconds, with EARLY_MEDIA_MODE_HOLD only";
        Err(ApiError::invalid("early_media", message, remedy))
    };
    let bounds = (wanted.packets, wanted.milliseconds);
    match v1::EarlyMediaMode::try_from(wanted.mode) {
        Ok(v1::EarlyMediaMode::Hold) => {
            let packets = if bounds.0 == 0 { EarlyMedia::USUAL_PACKETS.into() } else { bounds.0 };
            let given = Duration::from_millis(bounds.1.into());
            let time = if given.is_zero() { EarlyMedia::USUAL_TIME } else { given };
            match u16::try_from(packets) {
                Ok(packets) if packets <= EarlyMedia::MOST_PACKETS && time <= EarlyMedia::LONGEST => {
                    Ok(EarlyMedia::Hold { packets, time })
                }
                _ => refused("is to be held in too many packets, or for too long"),
            }
        }
        Ok(_) if bounds != (0, 0) => refused("has bounds for what is not held"),
        Ok(v1::EarlyMediaMode::Plain) => Ok(EarlyMedia::Plain),
        Ok(v1::EarlyMediaMode::Unspecified | v1::EarlyMediaMode::Drop) => Ok(EarlyMedia::Drop),
        Err(_) => refused("has a mode that is no value of EarlyMediaMode"),
    }
}

pub(super) fn protection(field: &'static str, protection: v1::Protection) -> Result<Protection, ApiError> {
    match protection {
        v1::Protection::Plain => Ok(Protection::Plain),
        v1::Protection::Srtp => Ok(Protection::Srtp),
        v1::Protection::Unspecified => Err(ApiError::invalid(
            field,
            "is not specified",
            "say PROTECTION_SRTP or PROTECTION_PLAIN; plain media is never a default",
        )),
    }
}

/// A list of more than 128 has one out of range or twice, so that what is kept of it stays small.
pub(super) fn payload_types(values: &[u32]) -> Result<PayloadTypes, ApiError> {
    let refused = |problem: String| ApiError::invalid("payload_types", problem, "give 0 to 127, each once");
    let mut set = [0_u64; 2];
    for value in values {
        let word = set.get_mut((value / 64) as usize);
        let word = word.ok_or_else(|| refused(format!("{value} is no payload type")))?;
        let bit = 1 << (value % 64);
        if *word & bit != 0 {
            return Err(refused(format!("{value} is given twice")));
        }
        *word |= bit;
    }
    Ok((!values.is_empty()).then_some(set))
}

pub(super) fn max_streams(config: &v1::LegConfig) -> Result<u16, ApiError> {
    match config.max_streams {
        0 => Ok(LegSetup::DEFAULT_MAX_STREAMS),
        streams => u16::try_from(streams).map_err(|_| {
            ApiError::invalid("max_streams", format!("{streams} is too many"), "give at most 65535")
        }),
    }
}

pub(super) fn dscp(value: u32) -> Result<u8, ApiError> {
    match u8::try_from(value) {
        Ok(dscp @ 0..=63) => Ok(dscp),
        _ => Err(ApiError::invalid("dscp", format!("{value} is no code point"), "give 0 to 63")),
    }
}
