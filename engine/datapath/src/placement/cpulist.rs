//! Lists of CPUs as the kernel writes them: `0-3,8`.

use std::fs;
use std::ops::RangeInclusive;

/// A set of CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Vec<RangeInclusive<usize>>);

impl CpuList {
    /// The CPUs that are online; `None` if the kernel does not tell.
    pub fn online() -> Option<Self> {
        let list = Self::parse(&fs::read_to_string("/sys/devices/system/cpu/online").ok()?)?;
        (!list.0.is_empty()).then_some(list)
    }

    /// The CPUs that the scheduler keeps other tasks away from.
    pub fn isolated() -> Self {
        let text = fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
        Self::parse(&text).unwrap_or_default()
    }

    /// Reads a list. `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
        };
        let text = text.trim();
        if text.is_empty() {
            return Some(Self::default());
        }
        text.split(',').map(range).collect::<Option<_>>().map(Self)
    }

    /// Whether a CPU is among them.
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.iter().any(|range| range.contains(&cpu))
    }

    /// The CPUs, as far as there can be any of their number.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        const MOST: usize = 1 << 16;
        self.0.iter().flat_map(|range| *range.start()..=(*range.end()).min(MOST))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists_are_read_and_others_refused() {
        let list = CpuList::parse("0-2,5,8-9\n").unwrap();
        let members: Vec<_> = (0..12).filter(|cpu| list.contains(*cpu)).collect();
        assert_eq!(members, [0, 1, 2, 5, 8, 9]);
        assert!(list.iter().eq(members));
        assert!(CpuList::parse("\n").unwrap().is_empty());
        assert_eq!(CpuList::parse("9999999-99999999999").unwrap().iter().count(), 0);
        for wrong in ["a", "1-", "-1", "1,,2", "1-x"] {
            assert_eq!(CpuList::parse(wrong), None, "{wrong}");
        }
    }
}
