//! The sluice.v1 gRPC API.
