//! The keys of a run: for all streams, or for single SSRCs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use sluice_srtp::{
    Inbound, KeyError, KeyId, KeyOptions, MasterKey, Mki, Outbound, ReplayWindow, SessionKeys, Suite,
};

use super::{Direction, Material};
use crate::secret;

/// Keys that are tried on one stream.
const MAX_TRIED: usize = 8;
/// Rollover counters after 0 that are tried on a stream whose own is not told: about six hours of audio.
const ROC_TRIALS: u32 = 15;

type Keys = Vec<Arc<SessionKeys>>;

/// All keys, expanded once.
pub(super) struct KeyRing {
    any: Keys,
    of: HashMap<u32, Keys>,
    roc: Option<u32>,
    roc_of: HashMap<u32, u32>,
    roc_trials: Option<u32>,
    window: ReplayWindow,
    /// Only these SSRCs; empty: all.
    only: HashSet<u32>,
}

impl KeyRing {
    /// Reads the keys. To protect a stream there must be one key and one suite; to unprotect it, several
    /// can be tried.
    pub(super) fn new(material: &Material, direction: Direction) -> Result<Self> {
        let one = direction == Direction::Protect;
        let mut ring = Self {
            any: Vec::new(),
            of: HashMap::new(),
            roc: None,
            roc_of: HashMap::new(),
            roc_trials: material.roc_trials,
            window: ReplayWindow::new(material.replay_window)?,
            only: material.ssrc.iter().copied().collect(),
        };
        if one && material.roc_trials.is_some() {
            bail!("--roc-trials: there is nothing to try when encrypting; say where it begins with --roc");
        }
        for entry in texts(material)? {
            ring.add(&entry, material, one)?;
        }
        for roc in &material.roc {
            match assignment(roc) {
                Some((ssrc, roc)) => drop(ring.roc_of.insert(ssrc, number(roc)?)),
                None => ring.roc = Some(number(roc)?),
            }
        }
        if ring.any.is_empty() && ring.of.is_empty() {
            bail!("no key: give --key, --key-file or the environment variable SLUICE_PCAP_KEY");
        }
        Ok(ring)
    }

    fn add(&mut self, entry: &str, material: &Material, one: bool) -> Result<()> {
        let (ssrc, text) = assignment(entry).map_or((None, entry), |(ssrc, text)| (Some(ssrc), text));
        let key_salt = secret::parse(text)?;
        let mki = material.mki.as_deref().map(secret::parse_mki).transpose()?.unwrap_or_default();
        let suites: Vec<Suite> = match material.suite {
            Some(suite) => vec![suite],
            None => secret::suites_of(key_salt.len()).take(if one { 1 } else { usize::MAX }).collect(),
        };
        let keys = ssrc.map_or(&mut self.any, |ssrc| self.of.entry(ssrc).or_default());
        for suite in suites {
            if keys.len() == if one { 1 } else { MAX_TRIED } {
                bail!("{}", too_many(ssrc, one));
            }
            let master = MasterKey::from_concatenated(suite, &key_salt)?;
            let id = KeyId(keys.len() as u64);
            let options = KeyOptions { mki: Mki::new(&mki)?, ..material.options.read()? };
            let derived = SessionKeys::derive_with(id, &master, &options).map_err(|error| match error {
                KeyError::ShortTags { .. } => anyhow!("--short-rtcp-tags: {error}; choose an HMAC suite"),
                other => other.into(),
            });
            keys.push(Arc::new(derived?));
        }
        Ok(())
    }

    fn of(&self, ssrc: u32) -> &[Arc<SessionKeys>] {
        if !self.only.is_empty() && !self.only.contains(&ssrc) {
            return &[];
        }
        self.of.get(&ssrc).unwrap_or(&self.any)
    }

    /// The suite that an SSRC is protected with.
    pub(super) fn suite(&self, ssrc: u32) -> Option<Suite> {
        self.of(ssrc).first().map(|keys| keys.suite())
    }

    /// Whether there is any key to use on packets of this SSRC.
    pub(super) fn has(&self, ssrc: u32) -> bool {
        !self.of(ssrc).is_empty()
    }

    /// Contexts to try on a stream, one for each rollover counter that it may have begun at.
    pub(super) fn inbound(&self, ssrc: u32) -> impl Iterator<Item = (u32, Inbound)> {
        let told = self.roc_of.get(&ssrc).copied().or(self.roc);
        let trials = self.roc_trials.unwrap_or(if told.is_some() { 0 } else { ROC_TRIALS });
        let first = told.unwrap_or(0);
        (first..=first.saturating_add(trials)).filter_map(move |roc| Some((roc, self.inbound_at(ssrc, roc)?)))
    }

    /// A context with all keys of an SSRC; the first given is the first tried.
    pub(super) fn inbound_at(&self, ssrc: u32, roc: u32) -> Option<Inbound> {
        let mut keys = self.of(ssrc).iter().rev();
        let mut context = Inbound::new(ssrc, Arc::clone(keys.next()?), self.window, roc);
        keys.for_each(|keys| context.install(Arc::clone(keys)));
        Some(context)
    }

    /// The context that protects an SSRC.
    pub(super) fn outbound(&self, ssrc: u32) -> Option<Outbound> {
        let keys = self.of(ssrc).first()?;
        let roc = self.roc_of.get(&ssrc).copied().or(self.roc).unwrap_or(0);
        Some(Outbound::new(ssrc, Arc::clone(keys), roc))
    }
}

fn too_many(ssrc: Option<u32>, one: bool) -> String {
    let whose = ssrc.map_or_else(|| "for all streams".to_owned(), |ssrc| format!("for SSRC {ssrc:#010x}"));
    if one {
        format!("two keys {whose}: packets can be protected with one only; write SSRC=KEY for single streams")
    } else {
        format!(
            "too many keys {whose}: at most {MAX_TRIED} can be tried on one stream (two for each key of 30 \
             bytes unless --suite is given); write SSRC=KEY for single streams"
        )
    }
}

/// All key entries: from the command line, the file, the environment.
fn texts(material: &Material) -> Result<Vec<secret::Text>> {
    let mut entries: Vec<secret::Text> = material.key.iter().map(|key| key.clone().into()).collect();
    if let Some(file) = &material.key_file {
        let text = secret::read(file)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        entries.extend(lines.map(|line| line.to_owned().into()));
        if entries.is_empty() {
            bail!("{} holds no key", file.display());
        }
    }
    if entries.is_empty()
        && let Ok(text) = std::env::var("SLUICE_PCAP_KEY")
    {
        entries.extend(text.split([',', '\n']).map(|entry| entry.trim().to_owned().into()));
    }
    Ok(entries)
}

/// Splits `SSRC=VALUE`. Base64 ends in `=` as well, but no base64 key is a number before it.
fn assignment(text: &str) -> Option<(u32, &str)> {
    let (name, value) = text.split_once('=')?;
    Some((ssrc(name).ok()?, value))
}

/// An SSRC: hexadecimal with `0x`, else decimal.
pub(super) fn ssrc(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text:?} is not an SSRC: 0x and hex digits, or a decimal number"))
}

fn number(text: &str) -> Result<u32> {
    text.parse().with_context(|| format!("{text:?} is not a rollover counter, 0 to 4294967295"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ssrc_before_a_key_is_told_from_base64_padding() {
        assert_eq!(assignment("0xDEADBEEF=AAAA="), Some((0xdead_beef, "AAAA=")));
        assert_eq!(assignment("7=k"), Some((7, "k")));
        assert_eq!(assignment("QUJDRA=="), None);
        assert_eq!(assignment("0x1DEADBEEF=AAAA"), None);
    }
}
