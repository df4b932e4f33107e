//! Rules that the compiler does not check: dependencies between rooms, places of unsafe code, the environment and
//! Python, the wording of comments.

mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, lowest first, each with its floor. A room knows only rooms before it in this list.
const ROOMS: [(&str, u8); 14] = [
    ("http", 0),
    ("settings", 0),
    ("command", 0),
    ("control", 0),
    ("message", 0),
    ("metrics", 0),
    ("supervisor", 0),
    ("os", 1),
    ("log", 1),
    ("interpreter", 1),
    ("tls", 1),
    ("worker", 2),
    ("master", 3),
    ("cli", 4),
];

/// Names that a room must not use, beside the order above.
const FENCES: [(&str, &[&str]); 4] = [
    ("http", &["crate::settings"]),
    ("worker", &["crate::settings", "crate::interpreter", "crate::message", "os::process"]),
    ("master", &["crate::http", "crate::worker"]),
    ("interpreter", &["crate::settings", "crate::message"]),
];

/// Names of the outside world, which values and rules do not use.
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

/// The folders of `engine/src/`, lowest first. A folder imports only folders before it in this list.
const ENGINE_FOLDERS: [&str; 5] = ["loading", "hooks", "timeouts", "wsgi", "processes"];

/// The crates without a circle of imports among files: all of them.
const WITHOUT_CIRCLES: [&str; 2] = ["engine/src", "src"];

/// The files that may contain unsafe blocks, because they call the kernel's interfaces.
const UNSAFE: &[&str] = &[
    "src/interpreter/launch.rs",
    "src/log/sink.rs",
    "src/os/sigabrt.rs",
    "src/os/access.rs",
    "src/os/daemonize.rs",
    "src/os/clock.rs",
    "src/os/fork_guard.rs",
    "src/os/heap.rs",
    "src/os/identity.rs",
    "src/os/listener.rs",
    "src/os/listener/address.rs",
    "src/os/process.rs",
    "src/os/rights.rs",
    "src/os/scoreboard.rs",
    "src/os/signal.rs",
    "src/os/socket.rs",
    "src/os/stack_dump.rs",
    "src/os/channel.rs",
    "src/os/reexec.rs",
    "src/os/proctitle.rs",
];

#[derive(Clone)]
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Returns the code before the tests, without comments.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }

    /// Returns the room of a file in `src/`. The engine is a room of its own.
    fn room(&self) -> Option<&str> {
        if self.path.starts_with("engine/") {
            return Some("engine");
        }
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
fn folders_of_the_engine_import_only_folders_before_them() {
    let place = |name: &str| ENGINE_FOLDERS.iter().position(|folder| *folder == name);
    let mut wrong = Vec::new();
    for source in sources("engine/src") {
        let Some((folder, _)) = source.path.trim_start_matches("engine/src/").split_once('/') else { continue };
        assert!(place(folder).is_some(), "engine/src/{folder} is on no list");
        let code = source.code();
        let later = ENGINE_FOLDERS.iter().filter(|known| place(known) > place(folder));
        let named = later.filter(|known| code.contains(&format!("crate::{known}::")));
        wrong.extend(named.map(|known| format!("{}: {folder} names {known}, which is above it", source.path)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_import_each_other_in_no_circle() {
    for tree in WITHOUT_CIRCLES {
        let below = |path: &str| path.strip_prefix(tree).unwrap_or_default().trim_start_matches('/').to_owned();
        let files: Vec<(String, String)> = sources(tree)
            .iter()
            .filter(|source| !source.is_test())
            .map(|source| (below(&source.path), source.code()))
            .collect();
        let circles = imports::Imports::of(&files).circles();
        assert!(circles.is_empty(), "{tree}: expected no circle of imports, found\n{}", circles.join("\n"));
    }
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

/// Rooms whose comments and messages are in plain words. A room that becomes clean is added here.
const PLAIN_ROOMS: &[&str] = &[
    "http",
    "settings",
    "command",
    "control",
    "message",
    "metrics",
    "supervisor",
    "os",
    "worker",
    "log",
    "interpreter",
    "tls",
    "master",
    "cli",
    "engine",
];

/// Files of these rooms that are not clean yet.
const PLAIN_EXCEPT: [&str; 0] = [];

/// Folders of pages in plain words.
const PLAIN_FOLDERS: [&str; 5] = ["", "docs", "docs/decisions", "docs/guides", "docs/reference"];

#[test]
fn comments_and_messages_are_in_plain_words() {
    let mut wrong = Vec::new();
    for room in PLAIN_ROOMS {
        let mut found = Found::default();
        let is_of_room =
            |source: &&Source| source.room() == Some(room) && !PLAIN_EXCEPT.contains(&source.path.as_str());
        let all = [sources("src"), sources("engine/src"), files("engine/python", "py")].concat();
        for source in all.iter().filter(is_of_room) {
            let marks: &[&str] = if source.path.starts_with("engine/python/") { &["#", "\"\"\""] } else { &["//"] };
            for (number, line) in (1..).zip(source.text.lines()) {
                let place = format!("{}:{number}", source.path);
                let comment = marks.iter().find_map(|mark| line.trim_start().strip_prefix(mark));
                match comment {
                    Some(comment) => found.comment(&place, comment.trim_start_matches(['/', '!']).trim()),
                    None => found.code(&place, line),
                }
            }
        }
        wrong.extend(found.beyond_the_level());
    }
    assert!(wrong.is_empty(), "expected plain words:\n{}", wrong.join("\n"));
}

#[test]
fn pages_are_in_plain_words() {
    let mut wrong = Vec::new();
    for path in PLAIN_FOLDERS.into_iter().flat_map(pages) {
        let lines = prose(&read(&path)).into_iter().filter(|(_, line)| has_a_vague_subject(line));
        wrong.extend(lines.map(|(number, line)| format!("{path}:{number}: {line}")));
    }
    assert!(wrong.is_empty(), "expected plain words:\n{}", wrong.join("\n"));
}

#[test]
fn every_decision_has_a_status() {
    for path in pages("docs/decisions").into_iter().filter(|path| path.contains("/0")) {
        let page = read(&path);
        let status = page.lines().nth(2).and_then(|line| line.strip_prefix("Status: "));
        let is_status =
            status.is_some_and(|status| ["in force", "withdrawn"].iter().any(|one| status.starts_with(one)));
        assert!(is_status, "{path}: expected \"Status: in force\" or \"Status: withdrawn\" below the title");
    }
}

/// Habits in the wording of a room.
#[derive(Default)]
struct Found {
    comments: usize,
    subjects: Vec<String>,
    openings: Vec<String>,
    questions: Vec<String>,
}

impl Found {
    fn comment(&mut self, place: &str, text: &str) {
        let note = || format!("{place}: {text}");
        self.comments += 1;
        self.subjects.extend(has_a_vague_subject(text).then(note));
        self.openings.extend(opens_with(text, &OPENINGS).then(note));
        self.questions.extend((opens_with(text, &QUESTIONS) && text.contains('?')).then(note));
    }

    /// Checks a line of code: its messages and names.
    fn code(&mut self, place: &str, line: &str) {
        self.subjects.extend(has_a_vague_subject(line).then(|| format!("{place}: {line}")));
    }

    /// Returns what exceeds the level of ripgrep: 20 openings and 1 question in a thousand lines, and no vague subject.
    fn beyond_the_level(self) -> Vec<String> {
        let mut wrong = self.subjects;
        for (found, most) in [(self.openings, 20), (self.questions, 1)] {
            if found.len() * 1000 > self.comments * most {
                wrong.extend(found);
            }
        }
        wrong
    }
}

/// True for "nobody", "whoever", "who waits", "so many" and the like.
fn has_a_vague_subject(text: &str) -> bool {
    let words: Vec<String> = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase).collect();
    let follows = |first: &str, second: &[&str]| {
        words.windows(2).any(|pair| pair[0] == first && second.contains(&pair[1].as_str()))
    };
    words.iter().any(|word| ["nobody", "somebody", "whoever"].contains(&word.as_str()))
        || text.starts_with("Who ")
        || follows("who", &["has", "is", "does", "takes", "waits", "asks", "stands", "says"])
        || follows("so", &["many", "long", "much", "often"])
}

fn opens_with(text: &str, words: &[&str]) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).next().is_some_and(|first| words.contains(&first))
}

/// Returns the pages of a folder.
fn pages(folder: &str) -> Vec<String> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let paths = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).filter(is_page);
    let mut names: Vec<String> =
        paths.map(|path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Returns the lines of a page with their numbers, without code and targets of links.
fn prose(page: &str) -> Vec<(usize, String)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(page.lines()) {
        is_code ^= line.trim_start().starts_with("```");
        if !is_code {
            let text: String = line.split('`').step_by(2).collect();
            let targets = text.split("](").skip(1).map(|rest| rest.split_once(')').map_or("", |(_, rest)| rest));
            lines.push((number, text.split("](").take(1).chain(targets).collect()));
        }
    }
    lines
}

/// First words of comments that hide the subject.
const OPENINGS: [&str; 6] = ["What", "Whether", "How", "Which", "Where", "When"];
/// First words of questions.
const QUESTIONS: [&str; 15] = [
    "Is", "Are", "Has", "Have", "Does", "Do", "Did", "May", "Can", "Was", "Were", "Could", "Waits", "Sleeps", "Should",
];

/// What stands at the root, hidden names and what git ignores aside: what people look for there, and no more.
const ROOT: [&str; 22] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "RELEASING.md",
    "SECURITY.md",
    "benches",
    "build.rs",
    "clippy.toml",
    "deny.toml",
    "docs",
    "engine",
    "examples",
    "fuzz",
    "packaging",
    "pyproject.toml",
    "rustfmt.toml",
    "src",
    "tests",
];

#[test]
fn the_page_on_architecture_has_a_row_for_each_file_of_the_worker() {
    let page = read("docs/architecture.md");
    let rows: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(name, _)| name).collect();
    let files = sources("src/worker");
    let names = files.iter().map(|file| file.path.trim_start_matches("src/worker/"));
    let missing: Vec<&str> = names.filter(|name| !rows.contains(name)).collect();
    assert!(missing.is_empty(), "docs/architecture.md has no row for {missing:?} of src/worker");
}

#[test]
fn the_root_holds_what_people_look_for_there() {
    let ignored = ["target", "rwsgi.pid", "rwsgi.ctl", "__pycache__"];
    let mut found: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !ignored.contains(&name.as_str()))
        .collect();
    found.sort();
    assert_eq!(found, ROOT);
}

const MOST_LINES: usize = 450;

fn sources(directory: &str) -> Vec<Source> {
    files(directory, "rs")
}

fn files(directory: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(directory), extension, &mut found);
    assert!(!found.is_empty() || directory == "benches", "no sources in {directory}");
    found
}

fn collect(directory: &Path, wanted: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, wanted, found);
        } else if path.extension().is_some_and(|extension| extension == wanted) {
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
