//! The primitives of [`crate::crossing`], for which a model checker has others.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};
