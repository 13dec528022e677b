//! ICE agents against each other over a network that loses, delays and moves, with a clock of its own; against forgeries;
//! and against an agent that we did not write.

mod aioice;
mod checks;
mod connect;
mod consent;
mod forged;
mod moves;
mod network;
mod restart;
mod roles;
mod vectors;
