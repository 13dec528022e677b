//! The program itself: the committed object, loaded through the verifier.

use aya::programs::{ProgramError, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use sluice_classifier::layout;

use super::error::kernel_answer;
use super::{Maps, XdpError};

/// The built program (`ebpf/program/build.sh` makes it).
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ebpf/program/sluice.bpf.o"));

/// The program in the kernel, with maps of its own, not attached to anything.
pub struct Xdp {
    ebpf: Ebpf,
    /// Its maps.
    pub maps: Maps,
}

impl Xdp {
    /// Loads the program, with room for `max_legs` local ports ([`layout::MAX_LEGS`] by default).
    pub fn load(max_legs: u32) -> Result<Self, XdpError> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(layout::LEGS, max_legs)
            .load(OBJECT)
            .map_err(|error| XdpError::from_aya("create the XDP program's maps", &error))?;
        program(&mut ebpf)?.load().map_err(load_error)?;
        let maps = Maps::take(&mut ebpf, max_legs)?;
        Ok(Self { ebpf, maps })
    }

    /// The kernel's number of the program.
    pub fn id(&self) -> Result<u32, XdpError> {
        let action = "ask the kernel about the program";
        let program = self.program().ok_or_else(damaged)?;
        Ok(program.info().map_err(|error| XdpError::from_aya(action, &error))?.id())
    }

    /// Runs the program once over a frame without any interface (`BPF_PROG_TEST_RUN`) and returns its
    /// return code (`XDP_PASS` = 2, …). The frame counts as received on queue 0 of `lo`.
    pub fn test_run(&self, frame: &[u8]) -> Result<u32, XdpError> {
        let program = self.program().ok_or_else(damaged)?;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        let result = program
            .test_run(options)
            .map_err(|error| XdpError::from_aya("run the XDP program over a test frame", &error))?;
        Ok(result.return_value)
    }

    pub(super) fn program_mut(&mut self) -> Result<&mut aya::programs::Xdp, XdpError> {
        program(&mut self.ebpf)
    }

    fn program(&self) -> Option<&aya::programs::Xdp> {
        self.ebpf.program(layout::PROGRAM)?.try_into().ok()
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut aya::programs::Xdp, XdpError> {
    ebpf.program_mut(layout::PROGRAM).and_then(|program| program.try_into().ok()).ok_or_else(damaged)
}

/// The object is part of this binary; that it lacks a part cannot happen unless it was built wrongly.
pub(super) fn damaged() -> XdpError {
    XdpError::Kernel {
        action: "find the program and its maps in the embedded object",
        source: std::io::Error::other("built from another version of ebpf/program/sluice.bpf.o"),
    }
}

pub(super) fn load_error(error: ProgramError) -> XdpError {
    match error {
        ProgramError::LoadError { io_error, verifier_log }
            if matches!(io_error.raw_os_error(), Some(libc::EACCES | libc::EINVAL | libc::E2BIG)) =>
        {
            XdpError::Rejected { source: kernel_answer(&io_error), log: verifier_log.to_string() }
        }
        other => XdpError::from_aya("load the XDP program", &other),
    }
}
