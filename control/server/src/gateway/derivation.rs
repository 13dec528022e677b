//! From key material as it comes in to session keys. What comes in is wiped, used or not.

use std::mem::take;
use std::sync::Arc;

use rayon::prelude::*;
use sluice_datapath::Direction;
use sluice_proto::v1;
use sluice_srtp::{KeyId, KeyOptions, MasterKey, RocOnRekey, SessionKeys, Suite};
use zeroize::{Zeroize, Zeroizing};

use super::options;
use super::sending::{Fingerprint, SendingKey, SendingKeys};
use super::state::Key;
use crate::ApiError;
use crate::error::check_id;

/// Keys to be installed. However they end, be it by a call that is refused, their material is wiped.
pub(crate) struct Installs(pub(crate) Vec<v1::KeyInstall>);

impl Installs {
    /// Their names, without what they are.
    pub(crate) fn names(&self) -> Vec<v1::KeyRef> {
        self.0.iter().map(place).collect()
    }
}

impl Drop for Installs {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|install| install.key_salt.zeroize());
    }
}

fn place(install: &v1::KeyInstall) -> v1::KeyRef {
    v1::KeyRef {
        session: install.session.clone(),
        leg: install.leg.clone(),
        key: install.key.clone(),
        direction: install.direction,
    }
}

/// An entry of a batch, checked and with its session keys derived.
pub(super) struct Derived {
    pub(super) session: String,
    pub(super) leg: String,
    pub(super) key: Key,
    pub(super) keys: SessionKeys,
}

impl Installs {
    /// On all cores.
    pub(super) fn derive(mut self, sending: &SendingKeys) -> Vec<Result<Derived, ApiError>> {
        self.0.par_iter_mut().map(|install| derive(sending, install)).collect()
    }
}

/// Checks an entry and derives its session keys; the key material is wiped when this returns.
fn derive(sending: &SendingKeys, install: &mut v1::KeyInstall) -> Result<Derived, ApiError> {
    let key_salt = Zeroizing::new(take(&mut install.key_salt));
    let (options, roc) = (options::options(install), options::roc(install));
    let v1::KeyInstall { session, leg, key, direction: way, suite, .. } = install;
    let (session, leg, id) = (take(session), take(leg), take(key));
    check_id("session", &session)?;
    check_id("leg", &leg)?;
    check_id("key", &id)?;
    let direction = direction(v1::Direction::try_from(*way).unwrap_or_default())?;
    let suite: Suite = suite.parse()?;
    let shared = install.shared && direction == Direction::Outbound;
    let (key, keys) = derive_one(sending, id, direction, suite, &key_salt, options?, roc?)?;
    Ok(Derived { session, leg, key: Key { shared, ..key }, keys })
}

/// A key, and the session keys that are derived of it.
pub(super) fn derive_one(
    sending: &SendingKeys,
    id: String,
    direction: Direction,
    suite: Suite,
    key_salt: &[u8],
    options: KeyOptions,
    roc: RocOnRekey,
) -> Result<(Key, SessionKeys), ApiError> {
    let master = MasterKey::from_concatenated(suite, key_salt)?;
    let fingerprint = sending.fingerprint(key_salt);
    let halves: Vec<_> = match suite.half() {
        Some(half) => {
            let (keys, salts) = key_salt.split_at(suite.key_len());
            let pairs = keys.chunks(half.key_len()).zip(salts.chunks(half.salt_len()));
            pairs.map(|(key, salt)| sending.fingerprint(&Zeroizing::new([key, salt].concat()))).collect()
        }
        None => Vec::new(),
    };
    let (number, sending) = number(sending, direction, fingerprint, &halves);
    let keys = SessionKeys::derive_with(number, &master, &options)?;
    let shared = false;
    let key =
        Key { id, number, direction, suite, options, fingerprint, sending, shared, roc, retiring: None };
    Ok((key, keys))
}

fn number(
    keys: &SendingKeys,
    direction: Direction,
    fingerprint: Fingerprint,
    halves: &[Fingerprint],
) -> (KeyId, Option<Arc<SendingKey>>) {
    match direction {
        Direction::Inbound => (keys.fresh_number(), None),
        Direction::Outbound => {
            let key = keys.key(fingerprint, halves);
            (key.number(), Some(Arc::new(key)))
        }
    }
}

pub(super) fn direction(direction: v1::Direction) -> Result<Direction, ApiError> {
    match direction {
        v1::Direction::Inbound => Ok(Direction::Inbound),
        v1::Direction::Outbound => Ok(Direction::Outbound),
        v1::Direction::Unspecified => {
            let remedy = "say DIRECTION_INBOUND or DIRECTION_OUTBOUND";
            Err(ApiError::invalid("direction", "is not specified", remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn keys_that_are_not_installed_are_wiped() {
        let key_salt: Vec<u8> = (0..4096).map(|i| (i % 251) as u8 | 1).collect();
        let secret = key_salt[2000..2030].to_vec();
        let at = key_salt.as_ptr() as u64;
        let install = v1::KeyInstall { key_salt, ..Default::default() };
        let found = || {
            let mut memory = [0; 4096];
            let read = File::open("/proc/self/mem").unwrap().read_at(&mut memory, at);
            // Memory that was given back to the system cannot be read.
            read.is_ok() && memory.windows(30).any(|window| window == secret)
        };
        let installs = Installs(vec![install]);
        assert!(found(), "the scan finds what is there");
        drop(installs);
        assert!(!found());
    }
}
