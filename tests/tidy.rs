//! The house rules that a compiler does not hold: which room may know which, where the kernel and Python are touched,
//! what no file may hold.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, lowest first, each with its floor. A room knows rooms before it in this list only.
const ROOMS: [(&str, u8); 13] = [
    ("http", 0),
    ("settings", 0),
    ("command", 0),
    ("control", 0),
    ("message", 0),
    ("supervisor", 0),
    ("os", 1),
    ("log", 1),
    ("interpreter", 1),
    ("tls", 1),
    ("worker", 2),
    ("master", 3),
    ("cli", 4),
];

/// What a room must not name, beside the order above.
const FENCES: [(&str, &[&str]); 4] = [
    ("http", &["crate::settings"]),
    ("worker", &["crate::settings", "crate::interpreter", "crate::message", "os::process"]),
    ("master", &["crate::http", "crate::worker"]),
    ("interpreter", &["crate::settings", "crate::message"]),
];

/// Things of the world that values and rules do without.
const WORLD: [&str; 12] = [
    "std::env",
    "std::fs",
    "std::io",
    "TcpStream",
    "TcpListener",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "tracing::",
    "nix::",
    "std::os::",
];

/// The files that may hold unsafe blocks: they are about the kernel's own interfaces.
const UNSAFE: [&str; 16] = [
    "src/interpreter/door.rs",
    "src/log/sink.rs",
    "src/os/aborts.rs",
    "src/os/background.rs",
    "src/os/clock.rs",
    "src/os/forked.rs",
    "src/os/listener.rs",
    "src/os/listener/address.rs",
    "src/os/process.rs",
    "src/os/scoreboard.rs",
    "src/os/signal.rs",
    "src/os/socket.rs",
    "src/os/stacks.rs",
    "src/os/stream.rs",
    "src/os/successor.rs",
    "src/os/title.rs",
];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// What is before the tests, without comments.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }

    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let name = inside.split('/').next()?;
        Some(name.strip_suffix(".rs").unwrap_or(name)).filter(|name| ROOMS.iter().any(|(room, _)| room == name))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

#[test]
fn rooms_know_only_rooms_below_them() {
    let place = |name: &str| ROOMS.iter().position(|(room, _)| *room == name);
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let Some(room) = source.room() else { continue };
        let code = source.code();
        for (known, _) in ROOMS {
            let named = code.contains(&format!("crate::{known}::")) || code.contains(&format!("crate::{known};"));
            if named && known != room && place(known) > place(room) {
                wrong.push(format!("{}: {room} names {known}, which is above it", source.path));
            }
        }
        for (_, forbidden) in FENCES.iter().filter(|(fenced, _)| *fenced == room) {
            wrong.extend(
                forbidden
                    .iter()
                    .filter(|name| code.contains(*name))
                    .map(|name| format!("{}: {room} must not know {name}", source.path)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_of_src_belongs_to_a_room() {
    let homeless: Vec<String> = sources("src")
        .into_iter()
        .filter(|source| source.room().is_none() && !["src/main.rs", "src/lib.rs"].contains(&source.path.as_str()))
        .map(|source| source.path)
        .collect();
    assert_eq!(homeless, Vec::<String>::new());
}

#[test]
fn floor_0_is_values_and_rules() {
    let mut wrong = Vec::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let floor = source.room().and_then(|room| ROOMS.iter().find(|(name, _)| *name == room));
        if floor.is_some_and(|(_, floor)| *floor == 0) {
            let code = source.code();
            wrong.extend(
                WORLD.iter().filter(|name| code.contains(*name)).map(|name| format!("{}: {name}", source.path)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_environment_is_read_in_one_place() {
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let reads = ["env::var", "env::vars"].iter().any(|name| source.code().contains(name));
        assert!(!reads || source.path == "src/cli/mod.rs", "{} reads the environment", source.path);
    }
}

#[test]
fn python_is_known_to_the_engine_alone() {
    let manifest = read("Cargo.toml");
    assert!(!manifest.contains("pyo3"), "Cargo.toml names pyo3; it is a dependency of engine/ alone");
    for source in sources("src") {
        assert!(!source.code().contains("pyo3"), "{} names pyo3", source.path);
    }
}

#[test]
fn unsafe_code_stands_where_it_is_the_subject() {
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        let allowed = UNSAFE.contains(&source.path.as_str());
        let found = source.code().contains("unsafe {");
        assert!(allowed || !found, "{} holds an unsafe block", source.path);
    }
}

#[test]
fn files_can_be_held_in_the_head() {
    for source in [sources("src"), sources("engine/src")].into_iter().flatten() {
        let lines = source.text.lines().count();
        // A table may be longer, and a machine, all of whose transitions stand in one place.
        let is_table = ["src/settings/table.rs", "src/supervisor.rs", "src/worker/connection/state.rs"]
            .contains(&source.path.as_str())
            || source.is_test();
        assert!(is_table || lines <= MOST_LINES, "{}: {lines} lines, expected at most {MOST_LINES}", source.path);
        assert!(source.text.starts_with("//! "), "{} does not say what it is for", source.path);
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = ["TO", "FIX", "XX"].map(|mark| mark.to_owned() + if mark == "FIX" { "ME" } else { "DO" });
    let all = [sources("src"), sources("engine/src"), sources("tests"), sources("benches")];
    for source in all.into_iter().flatten() {
        for mark in &marks {
            assert!(!source.text.contains(mark.as_str()), "{} holds a {mark}", source.path);
        }
        let ignored = concat!("#[", "ignore");
        assert!(!source.text.contains(ignored), "{} holds an ignored test", source.path);
    }
}

const MOST_LINES: usize = 450;

fn sources(directory: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(directory), &mut found);
    assert!(!found.is_empty() || directory == "benches", "no sources in {directory}");
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push(Source { text: fs::read_to_string(&path).unwrap(), path: relative });
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
