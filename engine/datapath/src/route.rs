//! A directed edge between two legs of a worker.

use crate::{RouteId, RouteOptions};

/// What one leg receives, another sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) id: RouteId,
    /// Places in the table of legs.
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) options: RouteOptions,
}
