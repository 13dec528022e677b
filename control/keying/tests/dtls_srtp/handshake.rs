//! The gateway's ends with each other.

use std::time::Duration;

use sluice_keying::dtls_srtp::{Settings, Version, Versions};

use super::relay::{ALL, Pair, endpoint};

const SECONDS: Duration = Duration::from_secs(1);

#[test]
fn both_ends_get_the_same_keys_by_either_version() {
    for (versions, version) in [(Versions::Dtls12, Version::Dtls12), (Versions::Dtls13, Version::Dtls13)] {
        let settings = Settings { versions, ..Settings::default() };
        let [client, server] = [(); 2].map(|()| endpoint(settings.clone()));
        let mut pair = Pair::acquainted(&client, &server, [&ALL, &ALL]);
        pair.run(SECONDS * 60);
        let keys = pair.assert_keyed();
        assert_eq!(keys.version, version);
        assert!(keys.forward_secret && !keys.resumed);
    }
}
