//! From what was asked to the call, and from the answer to what is printed.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use sluice_proto::v1;
use tonic::{Response, Status};

use super::args::{Command, CreateLeg, KeyArgs, Keys, Legs, Material, Protection, Routes, Sessions};
use super::client::{Client, explain};
use super::json;
use super::media_path::Candidates;
use super::print::Printer;
use super::route;
use crate::secret;

/// Positions in one call, as many as the API takes.
const IMPORT: usize = 10_000;

pub(super) async fn call(client: &mut Client, command: Command, print: Printer) -> Result<ExitCode> {
    match command {
        Command::Info => print.info(&answer(client.get_info(v1::GetInfoRequest {}).await)?)?,
        Command::Sessions(command) => sessions(client, command, print).await?,
        Command::Legs(command) => legs(client, command, print).await?,
        Command::Routes(command) => routes(client, command, print).await?,
        Command::Keys(command) => keys(client, command, print).await?,
        Command::Calls(_) => bail!("calls have a service of their own"),
        Command::Taps(_) => bail!("taps have a service of their own"),
        Command::Stats { session } => {
            let session = session.unwrap_or_default();
            let request = v1::GetStatisticsRequest { session, workers_only: false };
            print.statistics(&answer(client.get_statistics(request).await)?)?;
        }
        Command::Watch { session } => watch(client, session.unwrap_or_default(), print).await?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn answer<T>(result: Result<Response<T>, Status>) -> Result<T> {
    result.map(Response::into_inner).map_err(|status| explain(&status))
}

async fn watch(client: &mut Client, session: String, print: Printer) -> Result<()> {
    let mut events = answer(client.watch_events(v1::WatchEventsRequest { session }).await)?;
    while let Some(event) = events.message().await.map_err(|status| explain(&status))? {
        print.event(&event)?;
    }
    Err(anyhow!("the gateway ended the stream of events: it has stopped"))
}

async fn sessions(client: &mut Client, command: Sessions, print: Printer) -> Result<()> {
    match command {
        Sessions::Create { session, label } => {
            let request = v1::CreateSessionRequest { session, labels: label.into_iter().collect() };
            print.sessions(&[answer(client.create_session(request).await)?])
        }
        Sessions::List => {
            let mut all = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = v1::ListSessionsRequest { page_size: 10_000, page_token };
                let page = answer(client.list_sessions(request).await)?;
                all.extend(page.sessions);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    return print.sessions(&all);
                }
            }
        }
        Sessions::Show { session } => {
            print.sessions(&[answer(client.get_session(v1::GetSessionRequest { session }).await)?])
        }
        Sessions::Move { session, worker } => {
            let request = v1::MoveSessionRequest { session, worker };
            print.sessions(&[answer(client.move_session(request).await)?])
        }
        Sessions::Delete { session } => {
            let request = v1::DeleteSessionRequest { session };
            print.deleted("session", answer(client.delete_session(request).await)?.existed)
        }
    }
}

async fn legs(client: &mut Client, command: Legs, print: Printer) -> Result<()> {
    match command {
        Legs::Create(create) => print.legs(&[answer(client.create_leg(create_leg(create)?).await)?]),
        Legs::Update(update) => {
            let request = v1::UpdateLegRequest::try_from(update)?;
            print.legs(&[answer(client.update_leg(request).await)?])
        }
        Legs::List { session } => {
            let request = v1::ListLegsRequest { session: session.unwrap_or_default() };
            print.legs(&answer(client.list_legs(request).await)?.legs)
        }
        Legs::Show { session, leg } => {
            print.leg(&answer(client.get_leg(v1::GetLegRequest { session, leg }).await)?)
        }
        Legs::Candidates { session, leg, more } => {
            let Candidates { candidates, end } = more;
            let request = v1::AddCandidatesRequest { session, leg, candidates, end };
            print.leg(&answer(client.add_candidates(request).await)?)
        }
        Legs::Delete { session, leg } => {
            let request = v1::DeleteLegRequest { session, leg };
            print.deleted("leg", answer(client.delete_leg(request).await)?.existed)
        }
        Legs::Export { session, leg } => {
            let request = v1::ExportPositionsRequest { session, leg };
            json::print(&answer(client.export_positions(request).await)?)
        }
        Legs::Import { session, leg, file } => {
            let text = match &file {
                Some(path) => std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?,
                None => std::io::read_to_string(std::io::stdin()).context("cannot read standard input")?,
            };
            let positions: v1::Positions = json::parse(&text).context("not what `export` prints")?;
            let count = positions.streams.len();
            // An empty import is asked for as well: it says whether the leg is there.
            for streams in positions.streams.chunks(IMPORT).chain((count == 0).then_some(&[][..])) {
                let (session, leg, streams) = (session.clone(), leg.clone(), streams.to_vec());
                answer(client.import_positions(v1::Positions { session, leg, streams }).await)?;
            }
            print.done(&format!("{count} streams carry on"))
        }
        Legs::Roc { session, leg, ssrc, roc } => {
            let direction = v1::Direction::Inbound.into();
            let stream = v1::StreamPosition { direction, ssrc, initial_roc: Some(roc), ..Default::default() };
            let request = v1::Positions { session, leg, streams: vec![stream] };
            answer(client.import_positions(request).await)?;
            print.done(&format!("SSRC {ssrc:#010x} begins at rollover counter {roc}"))
        }
    }
}

fn create_leg(create: CreateLeg) -> Result<v1::CreateLegRequest> {
    let (dtls, ice) = create.media_path.read()?;
    // Absent beside --ring only, which is plain.
    let protection =
        |given: Option<Protection>| v1::Protection::from(given.unwrap_or(Protection::Plain)).into();
    let latching = create.latching.map_or(v1::Latching::Unspecified, Into::into);
    let config = v1::LegConfig {
        local: create.local,
        remote: create.remote,
        remote_rtcp: create.remote_rtcp,
        rtcp_mux: create.rtcp_mux,
        inbound: protection(create.inbound),
        outbound: protection(create.outbound),
        latching: latching.into(),
        payload_types: create.payload_types,
        replay_window: create.replay_window,
        max_streams: create.max_streams,
        dscp: create.dscp,
        roc_trials: create.roc_trials,
        shared_port: create.shared_port,
        ssrcs: create.ssrcs.map(|route::Only(ssrcs)| ssrcs).unwrap_or_default(),
        ice_ufrag: create.ice_ufrag.unwrap_or_default(),
        ring: create.ring,
        early_media: create.early_media,
        keying: create.keying.map_or(v1::Keying::Unspecified, Into::into).into(),
        attestation: create.hop_tls.then(|| v1::LegAttestation { hop_tls: true, ..Default::default() }),
        dtls,
        ice,
    };
    Ok(v1::CreateLegRequest { session: create.session, leg: create.leg, config: Some(config) })
}

async fn routes(client: &mut Client, command: Routes, print: Printer) -> Result<()> {
    match command {
        Routes::Create { session, route, from, to, choices } => {
            let route = v1::Route { from, to, ..route::chosen(session, route, choices) };
            let request = v1::CreateRouteRequest { route: Some(route) };
            print.routes(&[answer(client.create_route(request).await)?])
        }
        Routes::Update { session, route, choices } => {
            let route = route::chosen(session, route, choices);
            let request = v1::UpdateRouteRequest { route: Some(route) };
            print.routes(&[answer(client.update_route(request).await)?])
        }
        Routes::List { session } => {
            let request = v1::ListRoutesRequest { session: session.unwrap_or_default() };
            print.routes(&answer(client.list_routes(request).await)?.routes)
        }
        Routes::Delete { session, route } => {
            let request = v1::DeleteRouteRequest { session, route };
            print.deleted("route", answer(client.delete_route(request).await)?.existed)
        }
    }
}

async fn keys(client: &mut Client, command: Keys, print: Printer) -> Result<()> {
    match command {
        Keys::Install(key) => {
            let leg = key.leg.clone();
            let request = v1::InstallKeysRequest { keys: vec![install(key)?] };
            let results = answer(client.install_keys(request).await)?.results;
            print.keys(&[v1::LegKeys { leg, keys: succeeded(results)? }])
        }
        Keys::Rekey { key, grace } => {
            let leg = key.leg.clone();
            let request = v1::RekeyRequest { keys: vec![install(key)?], grace_milliseconds: grace };
            let results = answer(client.rekey(request).await)?.results;
            print.keys(&[v1::LegKeys { leg, keys: succeeded(results)? }])
        }
        Keys::Retire { session, leg, key, direction } => {
            let direction = v1::Direction::from(direction).into();
            let key = v1::KeyRef { session, leg, key, direction };
            let request = v1::RetireKeysRequest { keys: vec![key] };
            let keys = succeeded(answer(client.retire_keys(request).await)?.results)?;
            print.deleted("key", keys.iter().any(|key| !key.suite.is_empty()))
        }
        Keys::List { session, leg } => {
            let request = v1::ListKeysRequest { session, leg: leg.unwrap_or_default() };
            print.keys(&answer(client.list_keys(request).await)?.legs)
        }
    }
}

/// The request for one key.
fn install(args: KeyArgs) -> Result<v1::KeyInstall> {
    let mut install = v1::KeyInstall {
        session: args.session,
        leg: args.leg,
        key: args.key,
        direction: v1::Direction::from(args.direction).into(),
        suite: args.suite,
        key_salt: material(args.material)?.to_vec(),
        mki: args.mki.as_deref().map(secret::parse_mki).transpose()?.unwrap_or_default(),
        lifetime_rtp_packets: args.lifetime,
        lifetime_rtcp_packets: args.lifetime.min(1 << 31),
        shared: args.shared,
        roc: args.roc.map_or(v1::RocOnRekey::Unspecified, Into::into).into(),
        ..Default::default()
    };
    args.options.fill(&mut install)?;
    Ok(install)
}

fn material(material: Material) -> Result<secret::Material> {
    let text = match (material.key_salt, material.key_file) {
        (Some(text), _) => secret::Text::new(text),
        (None, Some(path)) => secret::read(&path)?,
        (None, None) => bail!("no key: give --key-file or --key-salt"),
    };
    secret::parse(&text)
}

/// The keys of a batch, or the first refusal.
fn succeeded(results: Vec<v1::KeyResult>) -> Result<Vec<v1::Key>> {
    let each = results.into_iter().map(|result| match result.result {
        Some(v1::key_result::Result::Key(key)) => Ok(key),
        Some(v1::key_result::Result::Failure(failure)) => {
            let at = if failure.field.is_empty() { String::new() } else { format!("{}: ", failure.field) };
            Err(anyhow!("{at}{}: {}", failure.message, failure.remedy))
        }
        None => Err(anyhow!("the gateway gave no answer for a key; is it of another version?")),
    });
    each.collect()
}
