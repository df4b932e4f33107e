//! The pages at the root and in `docs/`, as far as a program can judge them: links lead somewhere, commands are understood,
//! names exist, generated tables are those of the code. Whether the words are true, people judge.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rwsgi::cli::args::{self, Call};
use rwsgi::command;
use rwsgi::settings::{Row, Sources, TABLE, resolve};

use crate::support::words::shell_words;

/// A page of Markdown.
struct Page {
    /// Relative to the checkout.
    name: String,
    text: String,
}

/// A piece of a page's text that is not prose.
struct Code {
    /// The language of a block; nothing for a block without one and for a span in a line.
    language: String,
    text: String,
}

impl Page {
    fn read(name: &str) -> Self {
        Self { name: name.to_owned(), text: fs::read_to_string(root().join(name)).unwrap_or_default() }
    }

    /// Lines outside of blocks of code.
    fn prose(&self) -> String {
        let mut is_code = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            if !is_code && !is_fence {
                prose.push_str(line);
                prose.push('\n');
            }
        }
        prose
    }

    fn blocks(&self) -> Vec<Code> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                let inside: Vec<&str> =
                    lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
                blocks.push(Code { language: language.to_owned(), text: inside.join("\n") });
            }
        }
        blocks
    }

    /// What stands between two ticks. A span may go over the end of a line.
    fn spans(&self) -> Vec<Code> {
        let prose = self.prose();
        let between = prose.split('`').skip(1).step_by(2);
        between.map(|text| Code { language: String::new(), text: text.replace('\n', " ") }).collect()
    }

    fn code(&self) -> Vec<Code> {
        self.blocks().into_iter().chain(self.spans()).collect()
    }

    /// Where links lead, those to other sites aside.
    fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).map(str::to_owned).collect()
    }

    /// The names by which links can lead to the headings, as GitHub makes them.
    fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings =
            prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        let kept = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c.to_ascii_lowercase()),
            _ => None,
        };
        headings.map(|heading| heading.chars().filter_map(kept).collect()).collect()
    }
}

#[test]
fn every_link_leads_somewhere() {
    let wrong = in_every_page(|page| {
        let is_dead = |link: &String| {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here = root().join(&page.name);
            let there = if file.is_empty() { here } else { here.parent().unwrap().join(file) };
            let anchors =
                || Page { name: String::new(), text: fs::read_to_string(&there).unwrap_or_default() }.anchors();
            !there.exists() || !(anchor.is_empty() || anchors().iter().any(|known| known == anchor))
        };
        page.links().into_iter().filter(is_dead).map(|link| format!("a link to {link}, which is not there")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_is_understood() {
    let mut count = 0;
    let wrong = in_every_page(|page| {
        let commands: Vec<Vec<String>> = page
            .code()
            .iter()
            .flat_map(|code| code.text.lines().filter_map(words_for_rwsgi).collect::<Vec<_>>())
            .collect();
        count += commands.len();
        commands
            .iter()
            .filter_map(|words| refusal(words).map(|says| format!("rwsgi {}: {says}", words.join(" "))))
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 20, "found {count} commands");
}

#[test]
fn every_option_exists() {
    let Ok(Call::Print(help)) = args::parse(["--help-all".into()]) else { panic!("no help") };
    let known: Vec<&str> = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).collect();
    let wrong = in_every_page(|page| {
        let options = page.spans().into_iter().filter(|span| span.text.len() > 1 && span.text.starts_with('-'));
        let options = options.map(|span| span.text.split([' ', '=']).next().unwrap_or_default().to_owned());
        options.filter(|option| !known.contains(&option.as_str())).map(|option| format!("no option {option}")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_configuration_is_sound() {
    let mut count = 0;
    let wrong = in_every_page(|page| {
        let mut problems = Vec::new();
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            count += 1;
            let sources = Sources { file: Some((&page.name, &block.text)), ..Sources::default() };
            problems.extend(resolve(&sources).err().map(|problem| problem.to_string()));
        }
        problems
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 1, "found no configuration");
}

#[test]
fn every_setting_that_the_readme_names_exists() {
    let page = Page::read("README.md");
    let is_name = |text: &str| text.contains('_') && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for span in page.spans().iter().filter(|span| is_name(&span.text)) {
        assert!(Row::named(&span.text).is_some(), "README.md: no setting {}", span.text);
    }
    let named = page.links().iter().filter(|link| link.starts_with("docs/reference/settings.md#")).count();
    assert!(named >= 5, "found {named} links to settings");
}

#[test]
fn every_variable_of_the_environment_exists() {
    let wrong = in_every_page(|page| {
        let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let words = page.text.split(|c| !is_of_name(c)).filter(|word| word.starts_with("RWSGI_") && *word != "RWSGI_");
        let exists = |word: &&str| TABLE.iter().any(|row| row.env_name() == **word) || VARIABLES.contains(word);
        words.filter(|word| !exists(word)).map(|word| format!("no variable {word}")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_named_is_there() {
    let wrong = in_every_page(|page| {
        let is_ours = |text: &str| ROOMS.iter().any(|room| text.starts_with(room)) && !text.contains([' ', '*', '<']);
        let names = page.spans().into_iter().map(|span| span.text).filter(|text| is_ours(text));
        names.filter(|name| !root().join(name).exists()).map(|name| format!("no file {name}")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_architecture_has_a_line_for_each_folder() {
    let page = Page::read("docs/architecture.md");
    let cells = page.text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("/` |"));
    let named: Vec<&str> =
        cells.map(|(folder, _)| folder).filter(|folder| *folder != "src" && *folder != "engine").collect();
    let mut there = Vec::new();
    folders(Path::new("src"), &mut there);
    folders(Path::new("engine/src"), &mut there);
    there.extend(["engine/src", "engine/python"].map(str::to_owned));
    for folder in &there {
        assert!(named.contains(&folder.as_str()), "docs/architecture.md: no line for {folder}/");
    }
    for folder in named {
        assert!(there.iter().any(|one| one == folder), "docs/architecture.md: {folder}/ has a line and does not exist");
    }
}

/// Adds the folders below `folder` that hold a part of the program and not only tests.
fn folders(folder: &Path, found: &mut Vec<String>) {
    for entry in
        fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        let own = folder.join(entry.file_name().unwrap());
        let mut files = fs::read_dir(&entry).unwrap().map(|file| file.unwrap().file_name());
        if files
            .any(|name| Path::new(&name).extension().is_some_and(|extension| extension == "rs") && name != "tests.rs")
        {
            found.push(own.to_string_lossy().into_owned());
        }
        folders(&own, found);
    }
}

#[test]
fn every_decision_has_a_number_and_says_what_it_costs() {
    let index = Page::read("docs/decisions/README.md");
    let decisions: Vec<Page> = pages().into_iter().filter(|page| page.name.starts_with("docs/decisions/0")).collect();
    assert!(decisions.len() >= 10, "found {} decisions", decisions.len());
    let mut last = String::new();
    for page in &decisions {
        let file = page.name.rsplit('/').next().unwrap_or_default();
        let number = file.split('-').next().unwrap_or_default().to_owned();
        assert!(number.len() == 4 && number > last, "{}: expected a number of its own", page.name);
        last = number;
        assert!(index.links().iter().any(|link| link == file), "{} does not list {file}", index.name);
        for heading in ["context", "choice", "what-it-costs"] {
            assert!(page.anchors().iter().any(|anchor| anchor == heading), "{}: no heading {heading}", page.name);
        }
    }
}

#[test]
fn the_tables_of_signals_and_verbs_are_those_of_the_commands() {
    let tables = [
        ("docs/reference/signals.md", "| Signal |", command::reference()),
        ("docs/reference/commands.md", "| Verb |", command::verbs()),
    ];
    for (name, start, expected) in tables {
        let mut page = Page::read(name);
        if std::env::var_os("UPDATE").is_some() {
            let updated = page.text.replace(&table(&page, start), &expected);
            fs::write(root().join(name), updated).unwrap();
            page = Page::read(name);
        }
        assert!(table(&page, start) == expected, "{name} is stale\nhint: UPDATE=1 cargo test --test all docs::");
    }
}

/// From its first line, which begins so, to the empty line after it.
fn table(page: &Page, start: &str) -> String {
    let lines = page.text.lines().skip_while(|line| !line.starts_with(start)).take_while(|line| !line.is_empty());
    lines.map(|line| line.to_owned() + "\n").collect()
}

/// What is wrong in the pages, each with its page.
fn in_every_page(mut wrong: impl FnMut(&Page) -> Vec<String>) -> Vec<String> {
    let pages = pages();
    pages.iter().flat_map(|page| wrong(page).into_iter().map(|words| format!("{}: {words}", page.name))).collect()
}

/// README and its like at the root, and all of `docs/`.
fn pages() -> Vec<Page> {
    let mut names: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .filter(|name| name.extension().is_some_and(|extension| extension == "md"))
        .collect();
    collect(Path::new("docs"), &mut names);
    names.sort();
    names.iter().map(|name| Page::read(&name.to_string_lossy())).collect()
}

fn collect(directory: &Path, names: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root().join(directory)).unwrap() {
        let name = directory.join(entry.unwrap().file_name());
        if root().join(&name).is_dir() {
            collect(&name, names);
        } else if name.extension().is_some_and(|extension| extension == "md") {
            names.push(name);
        }
    }
}

/// The words after `rwsgi`, if that is what a line of a shell starts: `NAME=VALUE sudo path/to/rwsgi WORDS # comment`; or
/// one of a Dockerfile: `CMD ["rwsgi", "WORD"]`.
fn words_for_rwsgi(line: &str) -> Option<Vec<String>> {
    if let Some(list) = line.strip_prefix("CMD [") {
        let mut words = list.split('"').skip(1).step_by(2).map(str::to_owned);
        return (words.next()? == "rwsgi").then(|| words.collect());
    }
    let mut words = shell_words(line).into_iter().skip_while(|word| word == "sudo" || word == "$" || is_variable(word));
    let program = words.next()?;
    let ends = ["|", "&", "&&", ";", "#", ">", "2>"];
    (program == "rwsgi" || program.ends_with("/rwsgi"))
        .then(|| words.take_while(|word| !ends.contains(&word.as_str())).collect())
}

fn is_variable(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
}

/// Why the program would not take these words; the configuration file is not looked at.
fn refusal(words: &[String]) -> Option<String> {
    match args::parse(words.iter().map(OsString::from)) {
        Err(error) => Some(error.to_string()),
        Ok(Call::Print(_) | Call::List { .. }) => None,
        Ok(
            Call::Start(invocation) | Call::Check(invocation) | Call::Settings(invocation) | Call::Tell(_, invocation),
        ) => resolve(&Sources { flags: &invocation.flags, ..Sources::default() }).err().map(|error| error.to_string()),
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Variables that are no settings: for those who build and test.
const VARIABLES: [&str; 7] = [
    "RWSGI_LAUNCH",
    "RWSGI_ENGINE_FILE",
    "RWSGI_PROGRAM_FILE",
    "RWSGI_BUILD_PROFILE",
    "RWSGI_TEST_PROGRAM",
    "RWSGI_TEST_VENV",
    "RWSGI_BUILD_ID",
];
/// What a name of a file of this repository starts with.
const ROOMS: [&str; 11] = [
    "src/",
    "engine/",
    "tests/",
    "benches/",
    "examples/",
    "docs/",
    "fuzz/",
    "packaging/",
    ".cargo/",
    ".ci/",
    ".github/",
];
