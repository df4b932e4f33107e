//! Lives of a server as data: `tests/supervisor/*.txt`, a file a scenario, its name what it shows.
//!
//! ```text
//! plan workers=2 timeout=30            a line of settings
//! # words                              a comment
//! 0.5 hello 0 100 -> fork 1, ...       a moment in seconds, an event, the actions that follow
//! ```
//!
//! `UPDATE=1` rewrites what follows the arrows.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rwsgi::supervisor::{Action, Event, Plan, Stop, Supervisor};

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
    assert!(count >= 20, "expected at least 20 scenarios, found {count}");
}

/// The scenario with the actions that the supervisor takes.
fn play(scenario: &str) -> String {
    let mut supervisor = None;
    let mut found = String::new();
    for line in scenario.lines() {
        if let Some(settings) = line.strip_prefix("plan") {
            supervisor = Some(Supervisor::new(plan(settings)));
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
    Plan {
        workers: of("workers").map_or(1, |count| count.parse().unwrap()),
        timeout: Some(time("timeout", "30")).filter(|timeout| !timeout.is_zero()),
        graceful_timeout: time("graceful", "30"),
        shutdown_delay: time("delay", "0"),
        boot_timeout: time("boot", "60"),
    }
}

fn event(words: &str) -> Event {
    let mut words = words.split_ascii_whitespace();
    let name = words.next().unwrap();
    let mut number = || words.next().expect("a number").parse::<usize>().unwrap();
    match name {
        "tick" => Event::Tick,
        "zygote-ready" => Event::ZygoteReady,
        "zygote-failed" => Event::ZygoteFailed(int(number())),
        "zygote-gone" => Event::ZygoteGone,
        "hello" => Event::Hello(number(), int(number())),
        "fork-failed" => Event::ForkFailed(number()),
        "ready" => Event::Ready(number()),
        "boot-failed" => Event::BootFailed(number(), int(number())),
        "spent" => Event::Spent(number()),
        "idle" => Event::Seen(number(), None),
        "busy" => Event::Seen(number(), Some(seconds(words.next().unwrap()))),
        "gone" => Event::Exited(number()),
        "TERM" => Event::Stop(Stop::Graceful),
        "INT" => Event::Stop(Stop::Quick),
        other => panic!("no event is called {other}"),
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::StartZygote => "start zygote".to_owned(),
        Action::TraceZygote => "trace zygote".to_owned(),
        Action::KillZygote => "kill zygote".to_owned(),
        Action::Fork(slot) => format!("fork {slot}"),
        Action::Retire(slot, pid) => format!("TERM {slot} ({pid})"),
        Action::Quit(slot, pid) => format!("QUIT {slot} ({pid})"),
        Action::Trace(slot, pid, why) => format!("trace {slot} ({pid}) for {why:?}"),
        Action::Kill(slot, pid, why) => format!("KILL {slot} ({pid}) for {why:?}"),
        Action::BackOff(delay) => format!("hold back {}", delay.as_secs_f64()),
        Action::CloseListeners => "close listeners".to_owned(),
        Action::Finish(code) => format!("finish {code}"),
    }
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().unwrap())
}

fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap()
}
