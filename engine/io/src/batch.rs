//! A fixed array of frames: what travels between the stages.

use arrayvec::ArrayVec;

use crate::{Frame, Pool};

/// Most frames in one batch.
pub const BATCH: usize = 64;

/// Up to [`BATCH`] frames, in order.
#[derive(Default)]
pub struct FrameBatch(ArrayVec<Frame, BATCH>);

impl FrameBatch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// Appends a frame, or gives it back if the batch is full.
    #[allow(clippy::result_large_err, reason = "the error is the frame itself, which must not be lost")]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        self.0.try_push(frame).map_err(arrayvec::CapacityError::element)
    }

    /// Takes the last frame.
    pub fn pop(&mut self) -> Option<Frame> {
        self.0.pop()
    }

    /// Takes all frames, in order.
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.0.drain(..)
    }

    /// The frames, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Frame> {
        self.0.iter()
    }

    /// The frames, to change.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Frame> {
        self.0.iter_mut()
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no more fit.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// How many more fit.
    pub fn room(&self) -> usize {
        self.0.remaining_capacity()
    }

    /// Gives every frame back to the pool.
    pub fn free(&mut self, pool: &mut Pool) {
        self.0.drain(..).for_each(|frame| pool.free(frame));
    }
}

impl<'a> IntoIterator for &'a FrameBatch {
    type Item = &'a Frame;
    type IntoIter = std::slice::Iter<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut FrameBatch {
    type Item = &'a mut Frame;
    type IntoIter = std::slice::IterMut<'a, Frame>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
