//! What a verifier takes, and the bounds of that.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::FRESHNESS_SECONDS;
use super::party::{DialPlan, LONGEST_NUMBER};

/// A PASSporT that is an hour old was signed for another call; and each has to be remembered for as long as it is fresh.
const FRESHNESS_MAX: u64 = 3_600;
/// Of 16 octets each, twice, in tables with room to grow: about a gigabyte.
const REMEMBERED_MAX: usize = 1 << 24;
const PROVIDERS_MAX: usize = 1_024;
/// Of a service provider code: an operating company number has 4 characters, others may be longer (RFC 8226 section 9).
const PROVIDER_MAX: usize = 64;

/// What a verifier takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifierOptions {
    /// How far Date and `iat` may be from now, in seconds. 1 to 3600.
    pub freshness_seconds: u64,
    /// How many PASSporTs are remembered of each span of twice the freshness, so that none is used twice. More are refused.
    /// 1 to 16,777,216.
    pub remembered: usize,
    /// Codes of service providers whose certificates count for every telephone number. At most 1024, of 1 to 64 letters and
    /// digits.
    pub service_providers: Vec<String>,
    /// How numbers that are not global become so: each of its parts at most 15 digits, that may be `#` and `*` in prefixes.
    pub dial_plan: DialPlan,
}

impl Default for VerifierOptions {
    fn default() -> Self {
        Self {
            freshness_seconds: FRESHNESS_SECONDS,
            remembered: 1 << 20,
            service_providers: Vec::new(),
            dial_plan: DialPlan::default(),
        }
    }
}

/// What is wrong with [`VerifierOptions`], and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// Nothing would be fresh, or what is long over.
    #[error("identity.verify.freshness_seconds is {0}: 1 to {FRESHNESS_MAX} (RFC 8224 recommends 60)")]
    Freshness(u64),
    /// Nothing could be remembered, so that everything would be refused, or too much for memory.
    #[error("identity.verify.remembered is {0}: 1 to {REMEMBERED_MAX}")]
    Remembered(usize),
    /// Too many codes.
    #[error("identity.verify.service_providers has {0} codes: at most {PROVIDERS_MAX}")]
    Providers(usize),
    /// A code that no certificate can have.
    #[error(
        "identity.verify.service_providers has {0:?}: a code is 1 to {PROVIDER_MAX} letters and digits (RFC 8226 \
         section 9)"
    )]
    Provider(String),
    /// A part of the dial plan that stands before no number.
    #[error("identity.verify.dial_plan.{part} is {text:?}: at most {LONGEST_NUMBER} digits{more}")]
    DialPlan {
        /// Which part.
        part: &'static str,
        /// As it is.
        text: String,
        /// What it may have besides.
        more: &'static str,
    },
}

impl VerifierOptions {
    /// Looks whether a verifier can work with them.
    ///
    /// # Errors
    /// The first thing that is out of bounds.
    pub fn check(&self) -> Result<(), OptionsError> {
        if !(1..=FRESHNESS_MAX).contains(&self.freshness_seconds) {
            return Err(OptionsError::Freshness(self.freshness_seconds));
        }
        if !(1..=REMEMBERED_MAX).contains(&self.remembered) {
            return Err(OptionsError::Remembered(self.remembered));
        }
        if self.service_providers.len() > PROVIDERS_MAX {
            return Err(OptionsError::Providers(self.service_providers.len()));
        }
        let is_code = |code: &&String| {
            (1..=PROVIDER_MAX).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if let Some(code) = self.service_providers.iter().find(|code| !is_code(code)) {
            return Err(OptionsError::Provider(code.clone()));
        }
        self.dial_plan.check()
    }
}

impl DialPlan {
    fn check(&self) -> Result<(), OptionsError> {
        let parts = [
            ("country_code", &self.country_code, "", ""),
            ("international_prefix", &self.international_prefix, "#*", ", # and *"),
            ("national_prefix", &self.national_prefix, "#*", ", # and *"),
        ];
        for (part, text, besides, more) in parts {
            let fits = |character: char| character.is_ascii_digit() || besides.contains(character);
            if text.len() > LONGEST_NUMBER || !text.chars().all(fits) {
                return Err(OptionsError::DialPlan { part, text: text.clone(), more });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl FnOnce(&mut VerifierOptions)) -> OptionsError {
        let mut options = VerifierOptions::default();
        change(&mut options);
        options.check().unwrap_err()
    }

    #[test]
    fn what_is_out_of_bounds_is_told_by_its_name() {
        for seconds in [0, 3_601, u64::MAX] {
            let error = wrong(|options| options.freshness_seconds = seconds);
            assert_eq!(error, OptionsError::Freshness(seconds));
            assert!(error.to_string().contains("identity.verify.freshness_seconds"), "{error}");
        }
        for remembered in [0, (1 << 24) + 1, usize::MAX] {
            assert_eq!(
                wrong(|options| options.remembered = remembered),
                OptionsError::Remembered(remembered)
            );
        }
        let many = wrong(|options| options.service_providers = vec!["709J".into(); 1_025]);
        assert_eq!(many, OptionsError::Providers(1_025));
        for code in ["", "70 9J", "é", &"7".repeat(65)] {
            let error = wrong(|options| options.service_providers = vec!["709J".into(), code.into()]);
            assert_eq!(error, OptionsError::Provider(code.into()));
        }
        let part = |error| match error {
            OptionsError::DialPlan { part, .. } => part,
            other => panic!("{other}"),
        };
        let prefix = |text: &str| text.to_owned();
        assert_eq!(part(wrong(|options| options.dial_plan.country_code = prefix("+49"))), "country_code");
        let error = wrong(|options| options.dial_plan.international_prefix = "0".repeat(16));
        assert_eq!(part(error), "international_prefix");
        assert_eq!(part(wrong(|options| options.dial_plan.national_prefix = prefix("O"))), "national_prefix");
    }

    #[test]
    fn bounds_themselves_are_taken() {
        assert_eq!(VerifierOptions::default().check(), Ok(()));
        let dial_plan = DialPlan {
            country_code: "4".repeat(15),
            international_prefix: "*31#00".into(),
            national_prefix: "0".into(),
        };
        let service_providers = vec!["7".repeat(64); 1_024];
        for (freshness_seconds, remembered) in [(1, 1), (3_600, 1 << 24)] {
            let (service_providers, dial_plan) = (service_providers.clone(), dial_plan.clone());
            let options = VerifierOptions { freshness_seconds, remembered, service_providers, dial_plan };
            assert_eq!(options.check(), Ok(()));
        }
    }
}
