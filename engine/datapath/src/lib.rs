//! Pinned workers that own streams: the packet pipeline.
