//! Compiles the `.proto` files in pure Rust: no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["sluice/v1/sluice.proto"], ["proto"])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("sluice.v1.bin"))
        // Key material must not be printed by accident: those messages get a Debug of their own.
        .skip_debug(["sluice.v1.KeyInstall"])
        .compile_fds(files.clone())?;
    std::fs::write(out.join("sluice.v1.bin"), prost::Message::encode_to_vec(&files))?;
    Ok(())
}
