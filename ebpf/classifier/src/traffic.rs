//! What the bench's traffic program and user space share.

/// Frames that can be laid out at a time, a power of two.
pub const SLOTS: u32 = 4096;
/// Room of a frame in octets, which has less than that; a power of two.
pub const FRAME: usize = 2048;
/// The program that sends frames.
pub const GENERATE: &str = "generate";
/// The program that sends back what comes.
pub const REFLECT: &str = "reflect";
/// The map of one [`Control`].
pub const CONTROL: &str = "CONTROL";
/// The map of frames.
pub const FRAMES: &str = "FRAMES";

/// How far either side is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// Frames that user space has laid out so far.
    pub filled: u64,
    /// Frames that the program has sent so far.
    pub sent: u64,
    /// Octets of each frame.
    pub len: u32,
    /// Index of the interface that they leave by.
    pub interface: u32,
}
