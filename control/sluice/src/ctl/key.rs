//! Key material from a file, standard input or the command line.

use anyhow::{Context, Result, bail};
use sluice_proto::v1;

use super::args::{KeyArgs, Material};
use crate::secret;

/// The request for one key.
pub(super) fn install(args: KeyArgs) -> Result<v1::KeyInstall> {
    Ok(v1::KeyInstall {
        session: args.session,
        leg: args.leg,
        key: args.key,
        direction: v1::Direction::from(args.direction).into(),
        suite: args.suite,
        key_salt: read(&args.material)?.to_vec(),
        mki: hex::decode(&args.mki).context("--mki: write the MKI in hex")?,
        lifetime_rtp_packets: args.lifetime,
        lifetime_rtcp_packets: args.lifetime.min(1 << 31),
    })
}

fn read(material: &Material) -> Result<secret::Material> {
    match (&material.key_salt, &material.key_file) {
        (Some(text), _) => secret::parse(text),
        (None, Some(path)) => secret::parse(&secret::read(path)?),
        (None, None) => bail!("no key: give --key-file or --key-salt"),
    }
}
