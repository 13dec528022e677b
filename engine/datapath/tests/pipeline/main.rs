//! What the pipeline does with datagrams, over memory.

mod attack;
mod clash;
mod fanout;
mod latching;
mod lifecycle;
mod media;
mod ports;
mod positions;
mod property;
mod steering;
mod support;
mod trouble;
