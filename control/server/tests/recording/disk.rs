//! A disk that is full.

use std::path::{Path, PathBuf};
use std::process::Command;

use sluice_proto::v1;
use sluice_proto::v1::event::Kind;
use tonic::Code;

use crate::bed::{Bed, outbound, seal, tap_event, to_file};
use crate::captured::Recording;
use crate::support::{receive, rtp};

/// A file system of a few pages, which goes with this value.
struct Small(PathBuf);

impl Small {
    /// `None` without the rights to mount one, which is said on standard error.
    fn mount(at: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(at);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("SKIP: a small tmpfs cannot be mounted here; run as root");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_ends_the_tap_and_nothing_else() {
    let mut bed = Bed::start("tapfull").await;
    let Some(_small) = Small::mount(&bed.folder) else { return bed.stop().await };
    bed.tap("t", to_file("full", &["a"])).await.unwrap();
    let mut events = bed.events().await;
    let mut expected = outbound(crate::SUITE, &crate::bed::B_KEY, 0xa11ce);
    let mut sent = Vec::new();
    for sequence in 0..3000 {
        let plain = bed.a.send(sequence);
        // The call does not notice.
        bed.expect_at_b(&seal(&mut expected, sluice_srtp::Kind::Rtp, &plain));
        sent.push(plain);
    }
    let Kind::TapEnded(ended) = tap_event(&mut events).await else { panic!("another event") };
    assert_eq!(ended.reason, "storage");
    assert!(ended.detail.contains("full.pcapng") && ended.detail.contains("space"), "{}", ended.detail);
    let tap = bed.get_tap("t").await.unwrap();
    assert_eq!((tap.state(), tap.end()), (v1::TapState::Ended, v1::TapEnd::Storage));
    let written = Recording::read(&bed.folder.join("full.pcapng")).payloads("a");
    assert_eq!(written.len() as u64, tap.packets, "what is told is what is there");
    assert!(written.len() > 500 && written[..] == sent[..written.len()]);
    assert!(tap.dropped > 0);
    // A file cannot even be begun, or is empty.
    match bed.tap("again", to_file("again", &["a"])).await {
        Ok(_) => {
            bed.a.send(3000);
            receive(&bed.b);
            bed.tap_when("again", |tap| tap.end() == v1::TapEnd::Storage).await;
        }
        Err(refused) => assert_eq!(refused.code(), Code::ResourceExhausted),
    }
    let plain = bed.a.send(3001);
    assert_eq!(plain, rtp(3001, 0xa11ce, 160));
    receive(&bed.b);
    bed.stop().await;
}

/// The files of a tap that cannot be written do not come from anywhere else.
#[tokio::test]
async fn a_folder_that_goes_away_ends_no_call() {
    let mut bed = Bed::start("tapgone").await;
    bed.tap("t", to_file("gone", &["a"])).await.unwrap();
    std::fs::remove_dir_all(&bed.folder).unwrap();
    let refused = bed.tap("u", to_file("other", &["a"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("folder"), "{}", refused.message());
    bed.a.send(1);
    receive(&bed.b);
    // The file has no name any more, and is written all the same.
    bed.tap_when("t", |tap| tap.packets == 1).await;
    assert_eq!(bed.stop_tap("t").await.unwrap().end(), v1::TapEnd::Stopped);
    bed.stop().await;
}
