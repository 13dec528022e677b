//! Which kernel runs: chosen once, named everywhere.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// An implementation of every primitive of this crate. All give identical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// RustCrypto's `aes`, `aes-gcm` and `hmac`, one packet at a time: the reference. They pick AES-NI,
    /// PCLMULQDQ and SHA-NI by themselves where the CPU has them.
    Portable,
}

impl Kernel {
    /// Every kernel in this build, best first.
    pub const ALL: &'static [Self] = &[Self::Portable];

    /// The name used by `SLUICE_KERNEL`, logs and benches.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
        }
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
    /// The kernel's known-answer test failed: its output cannot be trusted on this machine.
    SelfTest(Kernel),
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "SLUICE_KERNEL={name}: no such kernel; unset it or use one of:")?;
                Kernel::ALL.iter().try_for_each(|kernel| write!(f, " {kernel}"))
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
        let found = Self::ALL.iter().find(|kernel| kernel.name() == name);
        found.copied().ok_or_else(|| SelectError::Unknown(name.to_owned()))
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
    let trusted = Kernel::ALL.iter().copied().find(|kernel| crate::self_test(*kernel));
    trusted.ok_or(SelectError::SelfTest(Kernel::Portable))
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
        for kernel in Kernel::ALL {
            assert_eq!(choose(Some(kernel.name())), Ok(*kernel));
        }
        assert!(choose(None).is_ok());
        assert!(choose(Some("")).is_ok());
    }
}
