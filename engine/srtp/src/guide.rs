//! How the library is used, by example. All of them run as tests.
//!
//! # A batch
//!
//! Many packets of many streams, each in a buffer of its own with [`MAX_OVERHEAD`](crate::MAX_OVERHEAD) octets of
//! tailroom, in one call. Contexts are in any table that implements [`Contexts`](crate::Contexts), a slice for
//! one; a job names its context by number. A job that fails has its own reason, its packet is as it was, and the
//! others go on.
//!
//! ```
//! use std::sync::Arc;
//! use sluice_srtp::{Error, Inbound, Job, KeyId, KeyOptions, Kind, MAX_OVERHEAD, MasterKey, Outbound};
//! use sluice_srtp::{ReplayWindow, SessionKeys, Suite, protect, unprotect};
//!
//! let master = MasterKey::new(Suite::AeadAes128Gcm, &[1; 16], &[2; 12])?;
//! let keys = Arc::new(SessionKeys::derive_with(KeyId(1), &master, &KeyOptions::default())?);
//! let ssrcs = [10, 11, 12];
//! let mut senders: Vec<_> = ssrcs.iter().map(|ssrc| Outbound::new(*ssrc, keys.clone(), 0)).collect();
//! let window = ReplayWindow::new(1024)?;
//! let mut receivers: Vec<_> =
//!     ssrcs.iter().map(|ssrc| Inbound::new(*ssrc, keys.clone(), window, 0)).collect();
//!
//! let rtp = |ssrc: u32| [&[0x80, 96, 0, 1, 0, 0, 0, 0][..], &ssrc.to_be_bytes(), b"payload"].concat();
//! let mut buffers: Vec<_> = ssrcs.iter().map(|ssrc| [&rtp(*ssrc)[..], &[0; MAX_OVERHEAD]].concat()).collect();
//! let len = rtp(0).len();
//! let mut jobs: Vec<_> =
//!     buffers.iter_mut().enumerate().map(|(at, buffer)| Job::new(at, Kind::Rtp, buffer, len)).collect();
//! protect(&mut senders[..], &mut jobs);
//! assert!(jobs.iter().all(|job| job.result.is_ok() && job.len == len + 16));
//!
//! jobs[1].packet[20] ^= 1; // Somebody tampers with one of them.
//! unprotect(&mut receivers[..], &mut jobs);
//! let results: Vec<_> = jobs.iter().map(|job| job.result).collect();
//! assert_eq!(results, [Ok(()), Err(Error::AuthFailed), Ok(())]);
//! assert_eq!(jobs[2].packet[..jobs[2].len], rtp(12));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Another key
//!
//! A receiver holds old and new keys side by side and tries the newest first, or goes by the MKI; a sender has
//! one. Rollover counter and indices go on (RFC 3711 §3.3.1). [`Outbound::remaining`](crate::Outbound::remaining)
//! says how long a key lasts.
//!
//! ```
//! # use std::{slice::from_mut, sync::Arc};
//! # use sluice_srtp::*;
//! let derive = |id, octet| -> Result<_, KeyError> {
//!     let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &[octet; 16], &[octet; 14])?;
//!     Ok(Arc::new(SessionKeys::derive_with(KeyId(id), &master, &KeyOptions::default())?))
//! };
//! let (old, new) = (derive(1, 0xaa)?, derive(2, 0xbb)?);
//! let mut sender = Outbound::new(7, old.clone(), 0);
//! let mut receiver = Inbound::new(7, old, ReplayWindow::default(), 0);
//! # let mut through = |sender: &mut Outbound, receiver: &mut Inbound, sequence: u8| {
//! #     let mut buffer = [&[0x80, 96, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; MAX_OVERHEAD]].concat();
//! #     let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, 12)];
//! #     protect(from_mut(sender), &mut jobs);
//! #     unprotect(from_mut(receiver), &mut jobs);
//! #     jobs[0].result
//! # };
//! through(&mut sender, &mut receiver, 1)?;
//!
//! receiver.install(new.clone()); // The receiver first: it understands both from now on.
//! through(&mut sender, &mut receiver, 2)?;
//! sender.switch(new);
//! through(&mut sender, &mut receiver, 3)?;
//! assert!(receiver.retire(KeyId(1)));
//! through(&mut sender, &mut receiver, 4)?;
//! assert_eq!(receiver.position(), sender.position());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # SRTCP
//!
//! The same contexts and calls with [`Kind::Rtcp`](crate::Kind::Rtcp), for compound and reduced-size packets
//! (RFC 5506). Index and E flag are the library's business (RFC 3711 §3.4).
//!
//! ```
//! # use std::{slice::from_mut, sync::Arc};
//! # use sluice_srtp::*;
//! # let master = MasterKey::new(Suite::AesCm128HmacSha1_32, &[1; 16], &[2; 14])?;
//! # let keys = Arc::new(SessionKeys::derive_with(KeyId(1), &master, &KeyOptions::default())?);
//! let (mut sender, mut receiver) =
//!     (Outbound::new(7, keys.clone(), 0), Inbound::new(7, keys, ReplayWindow::default(), 0));
//! let report = [0x80, 201, 0, 1, 0, 0, 0, 7]; // An empty receiver report of SSRC 7.
//! let mut buffer = [&report[..], &[0; MAX_OVERHEAD]].concat();
//! let mut jobs = [Job::new(0, Kind::Rtcp, &mut buffer, report.len())];
//! protect(from_mut(&mut sender), &mut jobs);
//! assert_eq!(jobs[0].len, report.len() + 4 + 10, "E flag and index, and a tag of 80 bits");
//! unprotect(from_mut(&mut receiver), &mut jobs);
//! jobs[0].result?;
//! assert_eq!(jobs[0].packet[..jobs[0].len], report);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Header extensions
//!
//! RFC 6904 encrypts chosen elements one by one, RFC 9335 (cryptex) all of them and the CSRCs, too: options of
//! a key, [`KeyOptions`](crate::KeyOptions).
//!
//! ```
//! # use std::{slice::from_mut, sync::Arc};
//! # use sluice_srtp::*;
//! # let master = MasterKey::new(Suite::AeadAes256Gcm, &[1; 32], &[2; 12])?;
//! // Element 1 is an audio level (RFC 6464), element 2 something that everybody may see.
//! let mut rtp = vec![0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
//! rtp.extend([0xbe, 0xde, 0, 1, 0x10, 0x2a, 0x20, 0x55]);
//! rtp.extend(b"payload");
//! for (options, clear) in [
//!     (KeyOptions::default(), &[0xbe, 0xde, 0, 1, 0x10, 0x2a, 0x20, 0x55][..]),
//!     (KeyOptions { encrypted_extensions: [1].into_iter().collect(), ..KeyOptions::default() }, &[0xbe, 0xde, 0, 1, 0x10]),
//!     (KeyOptions { cryptex: Cryptex::Required, ..KeyOptions::default() }, &[0xc0, 0xde, 0, 1]),
//! ] {
//!     let keys = Arc::new(SessionKeys::derive_with(KeyId(1), &master, &options)?);
//!     let mut buffer = [&rtp[..], &[0; MAX_OVERHEAD]].concat();
//!     let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, rtp.len())];
//!     protect(from_mut(&mut Outbound::new(7, keys.clone(), 0)), &mut jobs);
//!     assert_eq!(jobs[0].packet[12..][..clear.len()], *clear, "this much can be seen on the wire");
//!     unprotect(from_mut(&mut Inbound::new(7, keys, ReplayWindow::default(), 0)), &mut jobs);
//!     jobs[0].result?;
//!     assert_eq!(jobs[0].packet[..jobs[0].len], rtp);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Conferences that cannot listen
//!
//! With a double suite (RFC 8723) the media distributor between two endpoints changes headers without being able
//! to read the media.
//!
//! ```
//! # use std::{slice::from_mut, sync::Arc};
//! # use sluice_srtp::*;
//! use sluice_srtp::perc::{self, Changes};
//!
//! // Endpoints share the first half of the key; the second half is for one hop.
//! let suite = Suite::DoubleAeadAes128Gcm;
//! let master = |hop: u8| -> Result<_, KeyError> {
//!     MasterKey::new(suite, &[[0xee; 16], [hop; 16]].concat(), &[[0xdd; 12], [hop; 12]].concat())
//! };
//! let derive = |master: &MasterKey| -> Result<_, KeyError> {
//!     Ok(Arc::new(SessionKeys::derive_with(KeyId(1), master, &KeyOptions::default())?))
//! };
//! let (uplink, downlink) = (master(1)?, master(2)?);
//! let mut alice = Outbound::new(7, derive(&uplink)?, 0);
//! let mut bob = Inbound::new(7, derive(&downlink)?, ReplayWindow::default(), 0);
//! // All that the distributor has.
//! let (up, down) = (uplink.outer().ok_or("double")?, downlink.outer().ok_or("double")?);
//! let mut from_alice = Inbound::new(7, derive(&up)?, ReplayWindow::default(), 0);
//! let mut to_bob = Outbound::new(7, derive(&down)?, 0);
//!
//! let rtp = [&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7][..], b"for Bob alone"].concat();
//! let mut buffer = [&rtp[..], &[0; MAX_OVERHEAD]].concat();
//! let mut jobs = [Job::new(0, Kind::Rtp, &mut buffer, rtp.len())];
//! protect(from_mut(&mut alice), &mut jobs);
//!
//! unprotect(from_mut(&mut from_alice), &mut jobs);
//! jobs[0].result?;
//! assert!(!jobs[0].packet.windows(3).any(|octets| octets == b"Bob"));
//! let changes = Changes { payload_type: Some(100), sequence: Some(500), marker: None };
//! jobs[0].len = perc::relay(jobs[0].packet, jobs[0].len, &changes)?;
//! protect(from_mut(&mut to_bob), &mut jobs);
//!
//! unprotect(from_mut(&mut bob), &mut jobs);
//! jobs[0].result?;
//! assert_eq!(jobs[0].packet[12..jobs[0].len], *b"for Bob alone");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Late joiners, and streams that move
//!
//! Who joins after 65,536 packets needs the rollover counter: from signalling ([`Inbound::new`](crate::Inbound::new)),
//! from the packets ([`Rcc`](crate::Rcc)), or by trying ([`Inbound::trying_rocs`](crate::Inbound::trying_rocs)).
//! Where a stream stands is its [`Position`](crate::Position): with it another machine carries on, and neither
//! accepts a packet twice nor uses an index twice.
//!
//! ```
//! # use std::sync::Arc;
//! # use sluice_srtp::*;
//! # let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &[1; 16], &[2; 14])?;
//! # let keys = Arc::new(SessionKeys::derive_with(KeyId(1), &master, &KeyOptions::default())?);
//! let told = Inbound::new(7, keys.clone(), ReplayWindow::default(), 3);
//! let trying = Inbound::new(8, keys.clone(), ReplayWindow::default(), 0).trying_rocs(8);
//!
//! let position = Position { rtp: Some(3 << 16 | 41), rtcp: Some(9) };
//! let sender = Outbound::resume(7, keys.clone(), position, 0);
//! assert_eq!(sender.index_of(42), Ok(3 << 16 | 42));
//! let mut receiver = Inbound::new(7, keys, ReplayWindow::default(), 0);
//! receiver.advance(position);
//! assert_eq!(receiver.position().roc(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
