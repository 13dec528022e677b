//! Which kernel runs: chosen once, named everywhere.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use crate::arch::x86_64;

/// An implementation of every primitive of this crate. All give identical bytes. A value other than
/// [`Kernel::PORTABLE`] exists only where the CPU has what it needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel(pub(crate) Isa);

/// Instruction sets, with the proof that the CPU has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Aesni(x86_64::Aesni),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86_64::Avx512),
}

impl Kernel {
    /// RustCrypto's `aes`, `aes-gcm` and `hmac`, one packet at a time: the reference, on every CPU.
    pub const PORTABLE: Self = Self(Isa::Portable);

    /// Names of every kernel of this build, best first, whether or not this CPU can run it.
    pub const NAMES: &'static [&'static str] =
        if cfg!(target_arch = "x86_64") { &["avx512", "aesni", "portable"] } else { &["portable"] };

    /// The kernels that this CPU can run, best first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let simd = [x86_64::Avx512::detect().map(Isa::Avx512), x86_64::Aesni::detect().map(Isa::Aesni)];
        #[cfg(not(target_arch = "x86_64"))]
        let simd: [Option<Isa>; 0] = [];
        simd.into_iter().flatten().map(Self).chain([Self::PORTABLE])
    }

    /// The name used by `SLUICE_KERNEL`, logs and benches.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Aesni(_) => "aesni",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why no kernel could be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectError {
    /// `SLUICE_KERNEL` names a kernel that this build does not have.
    Unknown(String),
    /// `SLUICE_KERNEL` names a kernel that this CPU cannot run.
    Unsupported(String),
    /// The kernel's known-answer test failed: its output cannot be trusted on this machine.
    SelfTest(Kernel),
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "SLUICE_KERNEL={name}: no such kernel; unset it or use one of:")?;
                Kernel::NAMES.iter().try_for_each(|kernel| write!(f, " {kernel}"))
            }
            Self::Unsupported(name) => {
                write!(f, "SLUICE_KERNEL={name}: this CPU lacks what it needs; unset it or use one of:")?;
                Kernel::available().try_for_each(|kernel| write!(f, " {kernel}"))
            }
            Self::SelfTest(kernel) => {
                write!(f, "kernel {kernel} gives wrong answers on this machine; do not run media here")
            }
        }
    }
}

impl std::error::Error for SelectError {}

impl FromStr for Kernel {
    type Err = SelectError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if !Self::NAMES.contains(&name) {
            return Err(SelectError::Unknown(name.to_owned()));
        }
        let found = Self::available().find(|kernel| kernel.name() == name);
        found.ok_or_else(|| SelectError::Unsupported(name.to_owned()))
    }
}

/// The kernel of this process: `SLUICE_KERNEL` if set, else the best whose self-test passes.
/// Decided at the first call; call it at start-up so that an error stops the start, not a call.
pub fn selected() -> Result<Kernel, SelectError> {
    static CHOICE: OnceLock<Result<Kernel, SelectError>> = OnceLock::new();
    CHOICE.get_or_init(|| choose(std::env::var("SLUICE_KERNEL").ok().as_deref())).clone()
}

fn choose(asked: Option<&str>) -> Result<Kernel, SelectError> {
    if let Some(name) = asked.filter(|name| !name.is_empty()) {
        let kernel = name.parse()?;
        return if crate::self_test(kernel) { Ok(kernel) } else { Err(SelectError::SelfTest(kernel)) };
    }
    let trusted = Kernel::available().find(|kernel| crate::self_test(*kernel));
    trusted.ok_or(SelectError::SelfTest(Kernel::PORTABLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_and_the_known_ones_are_listed() {
        let error = choose(Some("quantum")).unwrap_err();
        assert_eq!(error, SelectError::Unknown("quantum".into()));
        assert!(error.to_string().contains("portable"));
    }

    #[test]
    fn every_kernel_can_be_asked_for_by_name() {
        for kernel in Kernel::available() {
            assert_eq!(choose(Some(kernel.name())), Ok(kernel));
        }
        for name in Kernel::NAMES {
            let choice = choose(Some(name));
            assert!(choice.is_ok() || choice == Err(SelectError::Unsupported((*name).into())));
        }
        assert_eq!(choose(None).ok(), Kernel::available().next(), "the best one");
        assert!(choose(Some("")).is_ok());
    }
}
