//! The machine under the bench: one core of it, its name, its clock, the date.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Pins the calling thread to one core and says which: the one asked for, else the first isolated
/// one, else the idlest that the process may use.
pub fn pin(wanted: Option<usize>) -> anyhow::Result<usize> {
    let allowed = sched_getaffinity(None).context("which cores may be used")?;
    let isolated = std::fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let isolated = isolated.split([',', '-']).next().and_then(|cpu| cpu.trim().parse().ok());
    let idlest = || idlest(|cpu| cpu < CpuSet::MAX_CPU && allowed.is_set(cpu));
    let core = wanted.or(isolated).or_else(idlest).context("no core may be used")?;
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to core {core}"))?;
    Ok(core)
}

/// The core that idles most in a look at all of them; of equals the last, as interrupts tend to the
/// first.
fn idlest(allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let before = idle_ticks();
    std::thread::sleep(Duration::from_millis(500));
    let idled = idle_ticks().into_iter().zip(before);
    let idled = idled.map(|((cpu, after), (_, before))| (after.saturating_sub(before), cpu));
    idled.filter(|(_, cpu)| allowed(*cpu)).max().map(|(_, cpu)| cpu)
}

/// Cores and their idle times so far, in hundredths of a second (proc(5), /proc/stat).
fn idle_ticks() -> Vec<(usize, u64)> {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let core = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        Some((fields.next()?.parse().ok()?, fields.nth(3)?.parse().ok()?))
    };
    // The first line is all cores together.
    stat.lines().skip(1).filter_map(core).collect()
}

/// Marketing name, family and model: hypervisors hide the name, but not the others.
pub fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).map_or("unknown", str::trim)
    };
    format!("{} (family {}, model {})", field("model name"), field("cpu family"), field("model"))
}

/// A name for a folder: lower case, digits and single hyphens.
pub fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Today in UTC as YYYY-MM-DD.
pub fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = civil(since.as_secs() / 86400);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a number of days since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// Nanoseconds between two readings of the clock with nothing between them. Every measured pass of
/// packets holds one such gap.
pub fn clock_cost() -> f64 {
    let gap = || Instant::now().elapsed().as_nanos() as f64;
    let mean = |_| (0..1000).map(|_| gap()).sum::<f64>() / 1000.0;
    (0..20).map(mean).fold(f64::INFINITY, f64::min)
}

/// Who else used the machine since this was made.
pub struct Quiet {
    core: usize,
    wall: Instant,
    cpu: Duration,
    idle: Vec<(usize, u64)>,
}

impl Quiet {
    /// From now on, for the calling thread on `core`.
    pub fn start(core: usize) -> Self {
        Self { core, wall: Instant::now(), cpu: thread_time(), idle: idle_ticks() }
    }

    /// How much of the time this thread had its core for itself, from 0 to 1.
    pub fn own_core(&self) -> f64 {
        thread_time().saturating_sub(self.cpu).as_secs_f64() / self.wall.elapsed().as_secs_f64()
    }

    /// How busy the other cores were on average, from 0 to 1.
    pub fn other_cores(&self) -> f64 {
        let others = self.idle.iter().zip(idle_ticks()).filter(|((core, _), _)| *core != self.core);
        let (ticks, wall) = (100.0, self.wall.elapsed().as_secs_f64());
        let busy = others.map(|(before, after)| 1.0 - (after.1 - before.1) as f64 / ticks / wall);
        let busy: Vec<_> = busy.collect();
        (busy.iter().sum::<f64>() / busy.len().max(1) as f64).max(0.0)
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_780), (2026, 11, 23));
    }

    #[test]
    fn a_cpu_name_becomes_a_folder_name() {
        assert_eq!(slug("Intel(R) Xeon(R) @ 2.5GHz (family 6)"), "intel-r-xeon-r-2-5ghz-family-6");
    }
}
