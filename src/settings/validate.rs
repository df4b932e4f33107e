//! Finds settings that contradict each other, and settings without effect. Changes no setting.

use super::problem::{Problem, ProblemCause};
use super::resolve::{Resolved, place};
use super::source_value::Origin;
use super::table::{Row, Section};
use super::types::Workers;
use crate::http::AccessFormat;

/// A check of settings that belong together.
type Check = fn(&Resolved) -> Option<Problem>;

/// Returns the setting that a problem is about.
fn setting_of(problem: &Problem) -> Option<&str> {
    match &problem.cause {
        ProblemCause::Value { name, .. } => Some(name),
        ProblemCause::Absent { key, .. } => Some(key),
        _ => None,
    }
}

impl Resolved {
    /// Returns all contradictions, except those of settings whose value is wrong in itself.
    pub(super) fn contradictions(&self, wrong: &[&str]) -> Vec<Problem> {
        let checks: [(&[&str], Check); 4] = [
            (&["workers", "workers_min", "workers_max"], Self::workers),
            (&["busyness_min", "busyness_max"], Self::busyness),
            (&["idle", "die_on_idle", "workers_min", "workers_max"], Self::idle),
            (&["bind"], Self::same_address),
        ];
        let sound = checks.iter().filter(|(names, _)| !names.iter().any(|name| wrong.contains(name)));
        sound.filter_map(|(_, check)| check(self)).collect()
    }

    /// Checks the format of the access log, and warns of names without a meaning. A Python logger interprets the format
    /// itself.
    pub(super) fn check_access_format(&mut self, has_logconfig_dict: bool) -> Option<Problem> {
        const NAME: &str = "access_log_format";
        if self.settings.is_logged_by_python() || has_logconfig_dict {
            return None;
        }
        let (place, origin) = (self.origin_of(NAME), &self.origins[NAME]);
        match AccessFormat::parse(&self.settings.access_log_format) {
            Ok(format) => {
                let names = format.unknown().iter();
                self.warnings.extend(names.map(|name| format!("{place}: {name} is always -, {}", AccessFormat::NAMES)));
                None
            }
            Err(error) => {
                let words = match origin {
                    Origin::File { .. } => format!("{NAME}: {error}"),
                    _ => error.to_string(),
                };
                Some(Problem { origin: origin.clone(), cause: ProblemCause::File(words), hint: None })
            }
        }
    }

    /// Checks that no two addresses are the same socket, which would be "address already in use" by the server itself.
    fn same_address(&self) -> Option<Problem> {
        let bind = &self.settings.bind;
        let earlier = |index: usize, later| bind[..index].iter().find(|earlier| earlier.overlaps(later));
        let overlap = |(index, later)| earlier(index, later).map(|earlier| (earlier, later));
        let (earlier, later) = bind.iter().enumerate().find_map(overlap)?;
        let found = if earlier == later { format!("{later} twice") } else { format!("{earlier} and {later}") };
        let problem = self.wrong("bind", "each address once".to_owned(), &found);
        Some(Problem { hint: Some("leave one of them out".to_owned()), ..problem })
    }

    /// Turns problems of TLS settings into warnings if there is no TLS: configurations are copied with values that only
    /// other servers take.
    pub(super) fn pass_over_tls(&mut self, problems: &mut Vec<Problem>) {
        if self.settings.tls().is_some() {
            return;
        }
        let (of_tls, others): (Vec<_>, Vec<_>) = problems.drain(..).partition(|problem| {
            setting_of(problem).is_some_and(|name| {
                name == "ssl_context" || Row::named(name).is_some_and(|row| row.section == Section::Tls)
            })
        });
        *problems = others;
        self.warnings.extend(of_tls.iter().filter_map(|problem| {
            Some(format!("{}: not read without certfile", place(&problem.origin, setting_of(problem)?)))
        }));
    }

    /// Checks the number of workers against its bounds.
    fn workers(&self) -> Option<Problem> {
        let settings = &self.settings;
        let (least, most) = (settings.workers_min, settings.workers_max);
        let count = match settings.workers {
            Workers::Count(count) => Some(count),
            Workers::Auto => None,
        };
        let bound = if most > 0 { Some(("workers_max", most)) } else { count.map(|count| ("workers", count)) };
        if let Some((name, most)) = bound.filter(|(_, most)| least > *most) {
            return Some(self.wrong("workers_min", format!("at most {name}, which is {most}"), &least));
        }
        // `WEB_CONCURRENCY` is set for every application of a platform, so it is clamped like `auto`.
        let count = count.filter(|_| self.is_given("workers") && !self.is_by_platform("workers"))?;
        if most > 0 && count > most {
            return Some(self.wrong("workers", format!("at most workers_max, which is {most}"), &count));
        }
        (count < least).then(|| self.wrong("workers", format!("at least workers_min, which is {least}"), &count))
    }

    fn busyness(&self) -> Option<Problem> {
        let (low, high) = (self.settings.busyness_min, self.settings.busyness_max);
        if low < high {
            None
        } else if self.is_given("busyness_min") {
            Some(self.wrong("busyness_min", format!("less than busyness_max, which is {high}"), &low))
        } else {
            Some(self.wrong("busyness_max", format!("more than busyness_min, which is {low}"), &high))
        }
    }

    fn idle(&self) -> Option<Problem> {
        let settings = &self.settings;
        let is_timed = settings.idle.limit().is_some();
        if settings.die_on_idle && !is_timed {
            return Some(self.wrong("die_on_idle", "idle to be set, in seconds".to_owned(), &"none"));
        }
        let is_vain = is_timed && !settings.die_on_idle && !self.is_scaled();
        is_vain.then(|| self.wrong("idle", "workers_min or die_on_idle to be set".to_owned(), &"neither"))
    }

    /// Warns of settings that were given and have no effect.
    pub(super) fn warn_of_unused(&mut self) {
        let (least, most) = (self.settings.workers_min, self.settings.workers_max);
        if !self.is_scaled() {
            let of_scaling = ["workers_step", "workers_cooldown", "busyness_max", "busyness_min"];
            let given: Vec<_> = of_scaling.into_iter().filter(|name| self.is_given(name)).collect();
            let warning = |name| format!("{}: no effect without workers_min or workers_max", self.origin_of(name));
            let warnings: Vec<String> = given.into_iter().map(warning).collect();
            self.warnings.extend(warnings);
        }
        if let (Workers::Count(count), true) = (self.settings.workers, self.is_by_platform("workers")) {
            let start = count.clamp(least, if most > 0 { most } else { count.max(least) });
            if start != count {
                let origin = self.origin_of("workers");
                self.warnings
                    .push(format!("{origin}: limited by workers_min and workers_max; the server starts with {start}"));
            }
        }
    }

    fn is_scaled(&self) -> bool {
        self.settings.workers_min > 0 || self.settings.workers_max > 0
    }

    fn is_given(&self, name: &str) -> bool {
        self.origins[name] != Origin::Default
    }

    fn is_by_platform(&self, name: &str) -> bool {
        matches!(&self.origins[name], Origin::Env(variable) if variable == "WEB_CONCURRENCY")
    }

    fn wrong(&self, name: &'static str, expected: String, found: &dyn ToString) -> Problem {
        let cause = ProblemCause::Value { name, expected, found: found.to_string() };
        Problem { origin: self.origins[name].clone(), cause, hint: None }
    }
}
