//! What a client may be allowed to do.

use std::fmt;

use serde::Deserialize;

/// A role of a client. Whoever has any may read, short of what is the recorder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Makes, changes and ends calls, and gives them keys.
    Signalling,
    /// Taps calls: it can hear what they are about.
    Recorder,
    /// Runs the gateway: moves sessions, ends them, takes them to another gateway.
    Operator,
    /// Looks at sessions, counters and events.
    ReadOnly,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Signalling, Self::Recorder, Self::Operator, Self::ReadOnly];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signalling => "signalling",
            Self::Recorder => "recorder",
            Self::Operator => "operator",
            Self::ReadOnly => "read-only",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Roles(u8);

impl Roles {
    /// No role.
    pub(crate) const NONE: Self = Self(0);
    /// Every role.
    pub(crate) const ALL: Self = Self::of(&Role::ALL);

    /// The roles of a list.
    pub(crate) const fn of(roles: &[Role]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < roles.len() {
            bits |= roles[index].bit();
            index += 1;
        }
        Self(bits)
    }

    /// Adds a role.
    pub(crate) fn add(&mut self, role: Role) {
        self.0 |= role.bit();
    }

    /// Whether a role is among them.
    pub(crate) const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether any of others is among them.
    pub(crate) const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Those that are in the set, in the order of [`Role::ALL`].
    pub(crate) fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (index, role) in self.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            f.write_str(role.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roles({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let mut roles = Roles::of(&[Role::Operator]);
        assert!(roles.has(Role::Operator) && !roles.has(Role::Recorder));
        roles.add(Role::Signalling);
        assert_eq!(roles.to_string(), "signalling, operator");
        assert_eq!((Roles::NONE.to_string(), Roles::ALL.iter().count()), ("none".to_owned(), 4));
        assert!(Roles::ALL.has_any(roles) && !Roles::of(&[Role::ReadOnly]).has_any(roles));
    }
}
