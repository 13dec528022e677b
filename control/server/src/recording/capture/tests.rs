//! Files of recordings.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use super::*;

const BOUNDS: Bounds = Bounds { bytes: 65_536, files: 2 };

fn capture(folder: &Path, name: &str) -> Result<(Capture, Arc<Written>), ApiError> {
    let written = Arc::new(Written::default());
    let capture = Capture::create(folder, name, BOUNDS, "a test", Arc::clone(&written))?;
    Ok((capture, written))
}

fn put(capture: &mut Capture, media: &[u8]) -> Result<(), Stop> {
    let at: SocketAddr = "192.0.2.1:5004".parse().unwrap();
    capture.put(0, Duration::from_nanos(1), at, at, media)
}

#[test]
fn files_are_the_owners_alone_and_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, _) = capture_of(folder.path());
    let mode = std::fs::metadata(folder.path().join("a.pcapng")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = self::capture(folder.path(), "a").err().unwrap();
    assert_eq!((refused.reason, refused.field), ("FILE_EXISTS", "file.name"));
    capture.discard();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("a.pcapng")).unwrap();
    assert_eq!(self::capture(folder.path(), "a").err().unwrap().reason, "FILE_EXISTS", "nor through a link");
    let missing = self::capture(&folder.path().join("none"), "a").err().unwrap();
    assert_eq!(missing.reason, "NO_FOLDER");
}

fn capture_of(folder: &Path) -> (Capture, Arc<Written>) {
    let (mut capture, written) = capture(folder, "a").unwrap();
    capture.interface("s/a".into(), "leg a".into()).unwrap();
    (capture, written)
}

#[test]
fn files_of_bounded_size_follow_each_other_until_the_last_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let (mut capture, written) = capture_of(folder.path());
    let mut packets = 0;
    let stop = loop {
        match put(&mut capture, &[7; 1000]) {
            Ok(()) => packets += 1,
            Err(stop) => break stop,
        }
    };
    assert!(matches!(stop, Stop::Full), "{stop}");
    let expected = Amounts { packets, bytes: 1000 * packets, lost: 0, files: 2 };
    assert_eq!(written.amounts(), expected);
    for name in ["a.pcapng", "a.2.pcapng"] {
        let octets = std::fs::read(folder.path().join(name)).unwrap();
        assert!((64_000..=65_536).contains(&octets.len()), "{}", octets.len());
        let (whole, ..) = whole_blocks(&octets);
        assert_eq!(whole, octets.len());
    }
}

#[test]
fn what_was_written_in_part_is_counted_by_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let (mut capture, _) = capture_of(folder.path());
    (0..3).for_each(|_| put(&mut capture, &[7; 1001]).unwrap());
    let blocks = capture.writer.get_ref();
    let (end, packets, bytes) = whole_blocks(&blocks[..blocks.len() - 1]);
    assert_eq!((end % 4, packets, bytes), (0, 2, 2002));
    assert_eq!(whole_blocks(blocks), (blocks.len(), 3, 3003));
    assert_eq!(whole_blocks(&[]), (0, 0, 0));
    assert_eq!(whole_blocks(&[6, 0, 0, 0, 0, 0, 0, 0]), (0, 0, 0), "a length that cannot be");
}
