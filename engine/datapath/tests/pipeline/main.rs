//! What the pipeline does with datagrams, over memory.

mod attack;
mod clash;
mod early;
mod fanout;
mod latching;
mod lifecycle;
mod media;
mod ports;
mod positions;
mod property;
mod rekey;
mod steering;
mod support;
mod trouble;
mod update;
