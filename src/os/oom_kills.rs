//! Processes that the kernel has killed because memory ran out, counted in the cgroup of this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel's counter, and how far it has been accounted for.
#[derive(Debug)]
pub struct OomKills {
    /// `memory.events` (cgroup v2) or `memory.oom_control` (v1); none where there is neither.
    file: Option<PathBuf>,
    /// Its count of `oom_kill` at the last look.
    seen: u64,
    /// Kills that the last look found and that belong to no process yet.
    unclaimed: u64,
    /// The time of the last look.
    looked: Duration,
}

impl OomKills {
    /// Counts from here on.
    pub fn of_this_process() -> OomKills {
        OomKills::beside(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"))
    }

    fn beside(cgroups: &Path, mount: &Path) -> OomKills {
        let text = fs::read_to_string(cgroups).unwrap_or_default();
        let file = places(&text, mount).into_iter().find(|file| count(file).is_some());
        let seen = file.as_deref().and_then(count).unwrap_or(0);
        OomKills { file, seen, unclaimed: 0, looked: Duration::ZERO }
    }

    /// True if the kernel has killed a process since the last look that no earlier call has claimed; none if it does not
    /// say. `now` is a moment of the monotonic clock. Several workers that it kills at once are claimed one by one.
    pub fn claim(&mut self, now: Duration) -> Option<bool> {
        let count = count(self.file.as_deref()?)?;
        if now.saturating_sub(self.looked) > SAME_BURST {
            self.unclaimed = 0;
        }
        self.looked = now;
        self.unclaimed += count.saturating_sub(self.seen);
        self.seen = count;
        let is_killed = self.unclaimed > 0;
        self.unclaimed = self.unclaimed.saturating_sub(1);
        Some(is_killed)
    }
}

/// Returns the files that may have the counter, by the text of `/proc/self/cgroup` (cgroups(7)). In a container the paths in it
/// may be those of the host, and the counter is at the root of what is mounted.
fn places(text: &str, mount: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|name| name == "memory") {
            let memory = mount.join("memory");
            places.extend([memory.join(path).join("memory.oom_control"), memory.join("memory.oom_control")]);
        } else if controllers.is_empty() {
            places.extend([mount.join(path).join("memory.events"), mount.join("memory.events")]);
        }
    }
    places
}

/// Returns the number of kills that a file counts.
fn count(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Kills that the kernel makes at once are reported to the master within this time.
const SAME_BURST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    fn site(cgroups: &str, file: &str, text: &str) -> (tempfile::TempDir, OomKills, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let counter = root.path().join(file);
        fs::create_dir_all(counter.parent().unwrap()).unwrap();
        fs::write(&counter, text).unwrap();
        fs::write(root.path().join("cgroups"), cgroups).unwrap();
        let kills = OomKills::beside(&root.path().join("cgroups"), root.path());
        (root, kills, counter)
    }

    #[test]
    fn kills_of_both_versions_are_counted_from_the_start_on() {
        let v1 = "9:name=systemd:/\n4:memory:/a/b\n0::/\n";
        for (cgroups, file) in [
            ("0::/system.slice/site.service\n", "system.slice/site.service/memory.events"),
            ("0::/of/the/host\n", "memory.events"),
            (v1, "memory/a/b/memory.oom_control"),
            (v1, "memory/memory.oom_control"),
        ] {
            let (_root, mut kills, counter) = site(cgroups, file, "under_oom 0\noom_kill 3\n");
            assert_eq!(kills.claim(second(10)), Some(false), "{file}");
            fs::write(&counter, "low 0\noom 9\noom_kill 4\n").unwrap();
            assert_eq!((kills.claim(second(20)), kills.claim(second(20))), (Some(true), Some(false)), "{file}");
        }
    }

    #[test]
    fn several_at_once_are_claimed_one_by_one_and_not_later() {
        let (_root, mut kills, counter) = site("0::/\n", "memory.events", "oom_kill 0\n");
        fs::write(&counter, "oom_kill 2\n").unwrap();
        let claims = [10, 10, 10].map(|at| kills.claim(second(at)));
        assert_eq!(claims, [Some(true), Some(true), Some(false)]);
        // One of the two that follow was a program of the application.
        fs::write(&counter, "oom_kill 4\n").unwrap();
        assert_eq!([20, 60].map(|at| kills.claim(second(at))), [Some(true), Some(false)]);
    }

    #[test]
    fn without_a_counter_nothing_is_said() {
        let (_root, mut kills, _) = site("0::/\n", "elsewhere", "oom_kill 1\n");
        assert_eq!(kills.claim(second(1)), None);
    }
}
