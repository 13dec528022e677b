//! The demo: the gateway's main job on real media, between peers that share no code with it, in
//! network namespaces of its own; also the toolbox of the tests in network namespaces.

pub mod adversary;
pub mod measure;
pub mod media;
pub mod namespace;
pub mod process;
pub mod wire;
pub mod world;
