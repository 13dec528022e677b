//! x
use crate::*;
use sluice_srtp::KeyId;
/// x
#[derive(Debug)]
pub struct Engine;
/// x
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// x
    #[error("{0}")]
    Other(String),
}
impl Engine {
    /// Starts the workers.
    pub fn start(_config: EngineConfig) -> Result<(Self, EventReceiver), EngineError> {
        Err(EngineError::Other("not yet".into()))
    }
    /// How many workers there are.
    pub fn workers(&self) -> usize {
        0
    }
    /// Gives a command to a worker.
    pub fn command(&self, worker: usize, _command: Command) -> Result<Ticket, QueueFull> {
        Ok(Ticket::failed(CommandError::NoSuchWorker(worker)))
    }
    /// Statistics of each worker.
    pub fn stats(&self) -> Vec<WorkerSnapshot> {
        Vec::new()
    }
    /// How the engine runs.
    pub fn report(&self) -> EngineReport {
        EngineReport { kernel: "", path: sluice_io::Path::IoUring, interfaces: vec![], workers: vec![] }
    }
    /// Tells the two-time-pad guard that a key is gone for good.
    pub fn forget_key(&self, _key: KeyId) -> bool {
        true
    }
    /// Stops the workers and detaches XDP.
    pub fn shutdown(self) {}
}
