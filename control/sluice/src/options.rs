//! Options of keys on the command line, for `ctl` and `pcap` alike.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sluice_proto::v1;
use sluice_srtp::{Cryptex, DerivationRate, Indices, KeyOptions, Omit, Rcc, RccMode};

/// How a key is used, beside suite, MKI and lifetime.
#[derive(Args, Default)]
#[command(next_help_heading = "How the key is used")]
pub(crate) struct OptionArgs {
    /// Derive session keys anew after so many packets, a power of two (RFC 3711 §4.3.1).
    #[arg(long, value_name = "PACKETS", default_value_t = 0, hide_default_value = true)]
    kdr: u32,
    /// RTP packets are not encrypted (UNENCRYPTED_SRTP of RFC 4568).
    #[arg(long)]
    unencrypted_rtp: bool,
    /// RTCP packets are not encrypted (UNENCRYPTED_SRTCP of RFC 4568).
    #[arg(long)]
    unencrypted_rtcp: bool,
    /// RTP packets have no tag (UNAUTHENTICATED_SRTP of RFC 4568).
    #[arg(long)]
    unauthenticated_rtp: bool,
    /// Header extension elements that are encrypted: their identifiers (RFC 6904).
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    encrypted_extensions: Vec<u8>,
    /// CSRCs and header extensions are encrypted with the payload (RFC 9335).
    #[arg(long, value_name = "HOW")]
    cryptex: Option<How>,
    /// RTP packets carry the rollover counter (RFC 4771): mode 1 to 3, every so many packets, length of the
    /// tag.
    #[arg(long, value_name = "MODE:RATE[:TAG]")]
    rcc: Option<String>,
    /// The RTP packet indices that the key is for (RFC 3711 §8.1.1).
    #[arg(long, value_name = "FROM-TO")]
    indices: Option<String>,
    /// RTCP packets have tags of 32 bits, as some endpoints send them under _32 suites.
    #[arg(long)]
    short_rtcp_tags: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    /// Sent so, received either way.
    On,
    /// Nothing else is accepted.
    Required,
}

impl OptionArgs {
    /// For the SRTP library.
    pub(crate) fn read(&self) -> Result<KeyOptions> {
        if self.encrypted_extensions.contains(&0) {
            bail!("--encrypted-extensions: identifiers are 1 to 255");
        }
        Ok(KeyOptions {
            derivation_rate: DerivationRate::new(self.kdr.into()).context("--kdr")?,
            omit: Omit {
                rtp_encryption: self.unencrypted_rtp,
                rtcp_encryption: self.unencrypted_rtcp,
                rtp_authentication: self.unauthenticated_rtp,
            },
            encrypted_extensions: self.encrypted_extensions.iter().copied().collect(),
            cryptex: match self.cryptex {
                None => Cryptex::Off,
                Some(How::On) => Cryptex::On,
                Some(How::Required) => Cryptex::Required,
            },
            rcc: match self.carrying()? {
                None => None,
                Some([mode, rate, tag]) => {
                    let mode = match mode {
                        1 => RccMode::One,
                        2 => RccMode::Two,
                        3 => RccMode::Three,
                        _ => bail!("--rcc: a mode is 1, 2 or 3, not {mode}"),
                    };
                    let usual = if mode == RccMode::Three { 4 } else { 14 };
                    let tag = if tag == 0 { usual } else { u8::try_from(tag).unwrap_or(0) };
                    Some(Rcc::new(mode, u16::try_from(rate).unwrap_or(0), tag).context("--rcc")?)
                }
            },
            indices: match self.ends()? {
                Some((from, to)) => Indices::new(from, to).context("--indices")?,
                None => Indices::ALL,
            },
            short_rtcp_tags: self.short_rtcp_tags,
            ..KeyOptions::default()
        })
    }

    /// For the API, which checks them itself.
    pub(crate) fn fill(self, install: &mut v1::KeyInstall) -> Result<()> {
        let carrying = self.carrying()?;
        install.packet_indices = self.ends()?.map(|(from, to)| v1::PacketIndices { from, to });
        install.key_derivation_rate = self.kdr;
        install.unencrypted_rtp = self.unencrypted_rtp;
        install.unencrypted_rtcp = self.unencrypted_rtcp;
        install.unauthenticated_rtp = self.unauthenticated_rtp;
        install.short_rtcp_tags = self.short_rtcp_tags;
        install.encrypted_extensions = self.encrypted_extensions.into_iter().map(u32::from).collect();
        let cryptex = match self.cryptex {
            None => v1::Cryptex::Unspecified,
            Some(How::On) => v1::Cryptex::On,
            Some(How::Required) => v1::Cryptex::Required,
        };
        install.cryptex = cryptex.into();
        install.roc_carrying =
            carrying.map(|[mode, rate, tag_length]| v1::RocCarrying { mode, rate, tag_length });
        Ok(())
    }

    fn ends(&self) -> Result<Option<(u64, u64)>> {
        let Some(text) = &self.indices else { return Ok(None) };
        let ends = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        ends.map(Some).with_context(|| format!("--indices {text}: not FROM-TO, such as 0-65535"))
    }

    /// Mode, rate and length of the tag, 0 if it is not said.
    fn carrying(&self) -> Result<Option<[u32; 3]>> {
        let Some(text) = &self.rcc else { return Ok(None) };
        let numbers: Option<Vec<u32>> = text.split(':').map(|part| part.parse().ok()).collect();
        match numbers.as_deref() {
            Some([mode, rate]) => Ok(Some([*mode, *rate, 0])),
            Some([mode, rate, tag]) => Ok(Some([*mode, *rate, *tag])),
            _ => bail!("--rcc {text}: not MODE:RATE or MODE:RATE:TAG, such as 2:1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: OptionArgs,
    }

    fn read(line: &str) -> Result<KeyOptions> {
        Line::try_parse_from(std::iter::once("test").chain(line.split_whitespace()))?.options.read()
    }

    #[test]
    fn every_option_arrives_and_what_cannot_be_is_told_by_its_name() {
        assert_eq!(read("").unwrap(), KeyOptions::default());
        let all = read(
            "--kdr 16 --unencrypted-rtp --unencrypted-rtcp --unauthenticated-rtp --encrypted-extensions 1,255 \
             --cryptex required --rcc 3:100 --indices 0-65535 --short-rtcp-tags",
        );
        let expected = KeyOptions {
            derivation_rate: DerivationRate::new(16).unwrap(),
            omit: Omit { rtp_encryption: true, rtcp_encryption: true, rtp_authentication: true },
            encrypted_extensions: [1, 255].into_iter().collect(),
            cryptex: Cryptex::Required,
            rcc: Some(Rcc::new(RccMode::Three, 100, 4).unwrap()),
            indices: Indices::new(0, 65_535).unwrap(),
            short_rtcp_tags: true,
            ..KeyOptions::default()
        };
        assert_eq!(all.unwrap(), expected);
        for (line, name) in [
            ("--kdr 3", "--kdr"),
            ("--encrypted-extensions 0", "--encrypted-extensions"),
            ("--indices 5-4", "--indices"),
            ("--indices 5", "--indices"),
            ("--rcc 4:1", "--rcc"),
            ("--rcc 1", "--rcc"),
            ("--rcc 1:0", "--rcc"),
            ("--rcc 3:1:14", "--rcc"),
        ] {
            let error = format!("{:#}", read(line).unwrap_err());
            assert!(error.contains(name), "{line}: {error}");
        }
    }
}
