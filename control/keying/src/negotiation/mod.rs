//! Offer and answer (RFC 3264) with a peer on either side: what one offers is offered to the other, and what that one
//! answers is answered to the first, each with the gateway's own addresses and keys.
//!
//! ```text
//!  caller's offer ──► RemoteOffer::read ──► LocalOffer::compose ──► SDP for the callee
//!  SDP for the caller ◄── LocalAnswer::compose ◄── RemoteAnswer::read ◄── callee's answer
//! ```
//!
//! Both peers' legs are numbered by *transports*: one for each medium that passes the gateway, or for a BUNDLE group
//! if that passes. A transport keeps its number for as long as the session lasts, on both sides and whoever offers.
//! After an exchange each side has a [`Standing`], from which the next one goes on: an offer is read with that of its
//! peer ([`RemoteOffer::reread`]), and made with that of the other ([`LocalOffer::recompose`]).

mod address;
mod agreed;
mod answered_keys;
mod capabilities;
mod choice;
mod configuration;
mod dtls;
mod error;
mod form;
mod formats;
mod fragment;
mod ice;
mod keys;
mod levels;
mod local_answer;
mod local_offer;
mod names;
mod offered_keys;
mod origin;
mod remote_answer;
mod remote_offer;
mod rewrite;
mod slots;
mod standing;
mod taken;
mod transports;
mod twins;

pub use agreed::{Agreed, Direction, NegotiatedKey, Offered, OfferedDtls, OwnAddresses, OwnMedia, Protected};
pub use choice::Choice;
pub use error::{Fault, NegotiationError};
pub use fragment::{FragmentError, FragmentLine, IceFragment, MAX_FRAGMENT, parse_candidate};
pub use local_answer::LocalAnswer;
pub use local_offer::LocalOffer;
pub use origin::Origin;
pub use remote_answer::RemoteAnswer;
pub use remote_offer::{RemoteMedia, RemoteOffer, Treatment};
pub use standing::Standing;
