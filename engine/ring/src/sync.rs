//! What the rings work on; `tests/ring_model.rs` puts loom's in its place.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
