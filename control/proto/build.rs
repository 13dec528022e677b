//! Compiles the `.proto` files in pure Rust: no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let names = ["sluice", "signalling", "recording"].map(|name| format!("sluice/v1/{name}.proto"));
    let files = protox::compile(names, ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut messages = prost_build::Config::new();
    // By which `sluice ctl --json` finds a message's descriptor.
    messages.enable_type_names();
    // Key material must not be printed by accident, and SDP has keys: these messages have a Debug of their own.
    messages.skip_debug([
        "sluice.v1.KeyInstall",
        "sluice.v1.TapKey",
        "sluice.v1.IceCredentials",
        "sluice.v1.AddCallCandidatesRequest",
        "sluice.v1.ProcessOfferRequest",
        "sluice.v1.ProcessOfferResponse",
        "sluice.v1.ProcessAnswerRequest",
        "sluice.v1.ProcessAnswerResponse",
        "sluice.v1.CreateBranchResponse",
        "sluice.v1.RetargetResponse",
    ]);
    tonic_prost_build::configure().compile_fds_with_config(files.clone(), messages)?;
    std::fs::write(out.join("sluice.v1.bin"), prost::Message::encode_to_vec(&files))?;
    Ok(())
}
