//! What a leg costs the whole daemon, control's books included.

use anyhow::{Result, ensure};
use sluice_proto::v1;
use sluice_srtp::Suite;
use sluice_tests::site::executable;
use sluice_tools::demo::gateway::{Gateway, Key, Settings};
use sluice_tools::demo::world::World;

use crate::books::resident;

/// Legs of a round, unless `SLUICE_LEGS` says otherwise: so many that what the allocator keeps of requests, some 20 MiB
/// however many legs there are, hides nothing of what each takes.
const LEGS: u32 = 50_000;
const AT_A_TIME: u32 = 500;
/// What a leg with one key may take in all, in octets: docs/operations.md.
const STATED: u64 = 8 << 10;

/// Adds legs to a session of their own each, on the shared port, with a key for what they receive.
fn add(gateway: &mut Gateway, legs: std::ops::Range<u32>) -> Result<()> {
    for first in legs.clone().step_by(AT_A_TIME as usize) {
        let some = first..(first + AT_A_TIME).min(legs.end);
        let session = format!("session-{first}");
        let created = v1::CreateSessionRequest { session: session.clone(), ..Default::default() };
        gateway.call(|client| client.create_session(created))?;
        let leg = |number: u32| v1::CreateLegRequest {
            session: session.clone(),
            leg: format!("leg-{number}"),
            config: Some(v1::LegConfig {
                remote: format!("10.{}.{}.{}:5004", number >> 16, number >> 8 & 255, number & 255),
                rtcp_mux: true,
                shared_port: true,
                inbound: v1::Protection::Srtp.into(),
                outbound: v1::Protection::Plain.into(),
                max_streams: 4,
                ..Default::default()
            }),
        };
        let request = v1::CreateLegsRequest { legs: some.clone().map(leg).collect() };
        for result in gateway.call(|client| client.create_legs(request))?.results {
            ensure!(matches!(result.result, Some(v1::leg_result::Result::Leg(_))), "{result:?}");
        }
        let mut keys = Vec::new();
        for number in some {
            let key = Key::random(Suite::AesCm128HmacSha1_80)?;
            keys.push(v1::KeyInstall {
                session: session.clone(),
                leg: format!("leg-{number}"),
                key: "first".to_owned(),
                direction: v1::Direction::Inbound.into(),
                suite: key.suite.name().to_owned(),
                key_salt: key.material,
                ..Default::default()
            });
        }
        gateway.install_keys(keys)?;
    }
    Ok(())
}

#[test]
fn twice_the_legs_take_twice_the_memory_and_no_more_than_is_stated() -> Result<()> {
    let legs = std::env::var("SLUICE_LEGS").ok().and_then(|text| text.parse().ok()).unwrap_or(LEGS);
    let (world, directory) = (World::loopback(), tempfile::tempdir()?);
    let mut gateway = Gateway::start(&Settings {
        executable: executable()?,
        place: &world.gateway,
        directory: directory.path(),
        interfaces: Vec::new(),
        addresses: vec![world.gateway_address],
        datapath: "io_uring",
        workers: Some(1),
        shared_port: Some(16_002),
        legs: Some(2 * legs),
    })?;
    let start = resident(gateway.id())?;
    add(&mut gateway, 0..legs)?;
    let once = resident(gateway.id())?;
    add(&mut gateway, legs..2 * legs)?;
    let twice = resident(gateway.id())?;
    let each = |before: u64, after: u64| after.saturating_sub(before) / u64::from(legs);
    let (first, second) = (each(start, once), each(once, twice));
    eprintln!("{legs} legs and as many again: {} MiB, {first} and {second} bytes each", twice >> 20);
    ensure!(
        first <= STATED && second <= STATED,
        "{first} and {second} bytes for each leg, {STATED} are stated"
    );
    ensure!(gateway.healthy()?, "{}", gateway.log());
    Ok(())
}
