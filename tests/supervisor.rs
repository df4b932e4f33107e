//! Lives of a server as data: `tests/supervisor/*.txt`, one scenario per file, named after its subject.
//!
//! ```text
//! plan workers=2 timeout=30            a line of settings
//! # words                              a comment
//! 0.5 hello 0 100 -> fork 1, ...       a moment in seconds, an event, the actions that follow
//! 9 reload 2 workers=3 -> ...          an event with settings of its own
//! 9 load 80 0 -> ...                   80 % busy time, no waiting connections
//! ```
//!
//! Generations have their number, except the first one.
//!
//! `UPDATE=1` rewrites the actions after the arrows.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rwsgi::supervisor::{Action, Event, Load, Moment, Plan, Scaling, Stop, Supervisor};

#[test]
fn every_scenario_goes_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/supervisor");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read_to_string(&path).unwrap();
        let found = play(&expected);
        count += 1;
        if found == expected {
            continue;
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, found).unwrap();
        } else {
            wrong.push(format!("{}\nexpected:\n{expected}\nfound:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 70, "expected at least 70 scenarios, found {count}");
}

/// Returns the scenario with the actions that the supervisor takes.
fn play(scenario: &str) -> String {
    let mut supervisor = None;
    let mut found = String::new();
    for line in scenario.lines() {
        if let Some(settings) = line.strip_prefix("plan") {
            supervisor = Some(Supervisor::new(1, plan(settings)));
        }
        if line.is_empty() || line.starts_with("plan") || line.starts_with('#') {
            found.push_str(line);
        } else {
            let supervisor = supervisor.as_mut().expect("a plan before the first event");
            let told = line.split("->").next().unwrap().trim();
            let (moment, words) = told.split_once(' ').expect("a moment and an event");
            let now = seconds(moment);
            let actions: Vec<String> = supervisor.on(&event(words), now).iter().map(action).collect();
            let wake = supervisor.wake_at(now).map_or_else(|| "never".to_owned(), |at| at.as_secs_f64().to_string());
            let line = format!("{told} -> {} | look at {wake}", actions.join(", "));
            found.push_str(&line.replace("->  |", "-> nothing |"));
        }
        found.push('\n');
    }
    found
}

fn plan(settings: &str) -> Plan {
    let of = |name: &str| {
        settings.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let time = |name: &str, default: &str| seconds(&of(name).unwrap_or_else(|| default.to_owned()));
    let number = |name: &str, default| of(name).map_or(default, |count| count.parse().unwrap());
    let scaling = of("most").map(|_| Scaling {
        least: number("least", 1),
        most: number("most", 1),
        step: number("by", 1),
        busy: 50,
        quiet: 25,
        calm: time("calm", "30"),
    });
    Plan {
        workers: number("workers", 1),
        scaling,
        die_on_idle: of("die-on-idle").is_some(),
        timeout: Some(time("timeout", "30")).filter(|timeout| !timeout.is_zero()),
        graceful_timeout: time("graceful", "30"),
        shutdown_delay: time("delay", "0"),
        boot_timeout: time("boot", "60"),
        step: number("step", 1),
        stop_first: of("order").is_some_and(|order| order == "stop-first"),
        room: number("room", 100),
    }
}

fn event(words: &str) -> Event {
    let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
    let mut words = rest.split_ascii_whitespace();
    // A zygote without a number is the first generation's.
    if let Some(event) = zygote_event(name, &mut words) {
        return event;
    }
    if name == "reload" {
        return Event::Reload(words.next().unwrap().parse().unwrap(), plan(rest));
    }
    let mut number = || words.next().expect("a number").parse::<usize>().unwrap();
    match name {
        "tick" => Event::Tick,
        "hello" => Event::Hello(number(), int(number())),
        "fork-failed" => Event::ForkFailed(number()),
        "ready" => Event::Ready(number(), words.next().map(due)),
        "boot-failed" => Event::BootFailed(number(), int(number())),
        "spent" => Event::Spent(number()),
        "idle" => Event::Seen(number(), None),
        "busy" => Event::Seen(number(), Some(seconds(words.next().unwrap()))),
        "gone" => Event::Exited(number()),
        "scale" => Event::Scale(number()),
        // The percentage of busy time, and the number of waiting connections.
        "load" => Event::Load(Load { busy: u32::try_from(number()).unwrap(), waiting: number() }),
        "quiet" => Event::Quiet,
        "late" => Event::Late(seconds(words.next().unwrap())),
        "TERM" => Event::Stop(Stop::Graceful),
        "INT" => Event::Stop(Stop::Quick),
        other => panic!("no event is called {other}"),
    }
}

fn zygote_event<'a>(name: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<Event> {
    let code = if name == "zygote-failed" { int(words.next()?.parse().unwrap()) } else { 0 };
    let mut generation = || words.next().map_or(1, |number| number.parse().unwrap());
    Some(match name {
        "zygote-ready" => Event::ZygoteReady(generation()),
        "zygote-failed" => Event::ZygoteFailed(generation(), code),
        "zygote-stopped" => Event::ZygoteStopped(generation()),
        "zygote-continued" => Event::ZygoteContinued(generation()),
        "zygote-gone" => Event::ZygoteGone(generation()),
        _ => return None,
    })
}

/// Parses `until=100`.
fn due(word: &str) -> Moment {
    seconds(word.strip_prefix("until=").expect("until=SECONDS"))
}

fn action(action: &Action) -> String {
    // The first generation is shown without its number.
    let of = |what: &str, generation: u64| match generation {
        1 => what.to_owned(),
        other => format!("{what} of {other}"),
    };
    match action {
        Action::StartZygote(generation) => of("start zygote", *generation),
        Action::TraceZygote(generation) => of("trace zygote", *generation),
        Action::RetireZygote(generation) => of("retire zygote", *generation),
        Action::EndZygote(generation) => of("end zygote", *generation),
        Action::KillZygote(generation) => of("kill zygote", *generation),
        Action::Fork(slot, generation) => of(&format!("fork {slot}"), *generation),
        Action::Retire(slot, pid) => format!("retire {slot} ({pid})"),
        Action::Finish(slot, pid) => format!("TERM {slot} ({pid})"),
        Action::Quit(slot, pid) => format!("QUIT {slot} ({pid})"),
        Action::Trace(slot, pid, why) => format!("trace {slot} ({pid}) for {why:?}"),
        Action::Kill(slot, pid, why) => format!("KILL {slot} ({pid}) for {why:?}"),
        Action::Outlived(slot, pid) => format!("outlived {slot} ({pid})"),
        Action::Scaled { new, .. } => format!("{new} workers"),
        Action::BackOff(delay) => format!("hold back {}", delay.as_secs_f64()),
        Action::Promote(generation) => format!("promote {generation}"),
        Action::GiveUp(generation, cause) => format!("give up {generation} for {cause:?}"),
        Action::Reloaded(generation) => format!("reloaded {generation}"),
        Action::CloseListeners => "close listeners".to_owned(),
        Action::End(code) => format!("finish {code}"),
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().unwrap())
}

fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap()
}
