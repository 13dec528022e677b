//! What the `.proto` files are held to: comments on everything, buf's names, no break by accident, and a reference
//! (`docs/api.md`) that is current. `just api-docs` writes the reference and the snapshot.

mod comments;
mod names;
mod reference;
mod snapshot;

use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;

/// A folder or file below this crate.
fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every `.proto` file there is, compiled with its comments.
fn files() -> FileDescriptorSet {
    let mut names: Vec<_> = std::fs::read_dir(here("proto/sluice/v1"))
        .unwrap()
        .map(|entry| format!("sluice/v1/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    names.sort();
    protox::compile(names, [here("proto")]).unwrap()
}

/// What a committed file has to be: it is written if `SLUICE_WRITE` says so, and compared otherwise.
fn committed(path: &Path, text: &str) {
    if std::env::var_os("SLUICE_WRITE").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    let differs = stored.lines().zip(text.lines()).position(|(stored, new)| stored != new);
    let line = differs.unwrap_or_else(|| stored.lines().count().min(text.lines().count()));
    assert!(stored == text, "{} is not current from line {}: run just api-docs", path.display(), line + 1);
}

#[test]
fn every_file_is_built_into_the_crate() {
    use prost::Message;
    let built = FileDescriptorSet::decode(sluice_proto::v1::FILE_DESCRIPTOR_SET).unwrap();
    let built: Vec<_> = built.file.iter().map(|file| file.name().to_owned()).collect();
    let missing: Vec<_> =
        files().file.into_iter().filter(|file| !built.contains(&file.name().into())).collect();
    assert!(missing.is_empty(), "build.rs leaves out {:?}", missing[0].name());
}
