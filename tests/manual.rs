//! Help, manual pages and completions: all come from the table of settings and the table of commands. `UPDATE=1` writes
//! the files in `packaging/`, which `make install` installs.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use rwsgi::cli::args::{self, Call};
use rwsgi::cli::help;
use rwsgi::settings::{Row, Section, Settings, TABLE};

use crate::support::outside::{run_tool, tool};
use crate::support::root;
use crate::support::words::shell_words;

/// Compares a file in `packaging/` with its text.
fn check(name: &str, text: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(found == text, "packaging/{name} is out of date: UPDATE=1 writes it");
}

fn printed(line: &str) -> String {
    match args::parse(shell_words(line).iter().map(OsString::from)) {
        Ok(Call::Print(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn help_fits_a_screen_and_leads_to_the_rest() {
    let short = printed("--help");
    assert!(short.lines().count() <= 24 && short.lines().all(|line| line.chars().count() <= 90), "{short}");
    assert_eq!([printed("-h"), printed("help"), printed("app --help")], [&short, &short, &short].map(String::clone));
    for word in ["rwsgi mysite.wsgi", "rwsgi --help-all", "rwsgi VERB --help", "man rwsgi"] {
        assert!(short.contains(word), "{word}: {short}");
    }
    let verbs = help::verbs();
    assert!(verbs.len() >= 12);
    for verb in verbs.iter().map(clap::Command::get_name) {
        assert!(short.contains(verb), "{verb}: {short}");
        let text = printed(&format!("{verb} --help"));
        assert!(text.starts_with(&format!("Usage: rwsgi {verb}")), "{text}");
        assert_eq!(printed(&format!("help {verb}")), text);
    }
    assert!(printed("reload -h").contains("--wait") && !printed("status -h").contains("--wait"));
    assert!(printed("--help-all").contains("[default: 2048]"));
}

#[test]
fn completions_are_those_of_the_tables() {
    for (shell, name) in [(Shell::Bash, "rwsgi.bash"), (Shell::Zsh, "_rwsgi"), (Shell::Fish, "rwsgi.fish")] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut help::described(), "rwsgi", &mut text);
        check(&format!("completions/{name}"), &text);
    }
}

#[test]
fn bash_completes_options_and_verbs() {
    let complete = |words: &str, last: &str| {
        let script = format!(
            "source packaging/completions/rwsgi.bash; COMP_WORDS=(rwsgi {words}); COMP_CWORD=1; \
             _rwsgi rwsgi {last} rwsgi; echo \"${{COMPREPLY[@]}}\""
        );
        run_tool(tool("bash", ["-c", &script]).current_dir(root())).trim_end().to_owned()
    };
    assert_eq!(complete("--max-requests-j", "--max-requests-j"), "--max-requests-jitter");
    assert!(complete("rel", "rel").split(' ').any(|word| word == "reload"), "{}", complete("rel", "rel"));
}

#[test]
fn the_manual_page_of_the_program_is_that_of_the_tables() {
    let man = Man::new(help::described()).date("").manual("rwsgi");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for usage in ["[OPTIONS] APP", "VERB [OPTIONS]"] {
        roff.text([bold("rwsgi"), roman(format!(" {usage}"))]).control("br", []);
    }
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(DESCRIPTION)]);
    roff.control("SH", ["VERBS"]);
    for verb in help::verbs() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        roff.control("TP", []).text([bold(verb.get_name())]).text([roman(about)]);
    }
    roff.to_writer(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let mut end = Roff::new();
    end.control("SH", ["FILES"]);
    for (file, about) in FILES {
        end.control("TP", []).text([italic(*file)]).text([roman(*about)]);
    }
    end.control("SH", ["SEE ALSO"]).text([bold("rwsgi.toml"), roman("(5)")]);
    end.to_writer(&mut page).unwrap();
    check("man/rwsgi.1", &page);
}

#[test]
fn the_manual_page_of_the_configuration_is_that_of_the_table() {
    let mut roff = Roff::new();
    roff.control("TH", ["rwsgi.toml", "5", "", &format!("rwsgi {}", env!("CARGO_PKG_VERSION")), "rwsgi"]);
    roff.control("SH", ["NAME"]).text([roman("rwsgi.toml - configuration of rwsgi")]);
    roff.control("SH", ["DESCRIPTION"]).text(spans(CONFIGURATION));
    for section in Section::ALL {
        roff.control("SH", [section.title().to_uppercase().as_str()]);
        for row in TABLE.iter().filter(|row| row.section == section) {
            setting(&mut roff, row);
        }
    }
    roff.control("SH", ["SEE ALSO"]).text([bold("rwsgi"), roman("(1)")]);
    check("man/rwsgi.toml.5", roff.to_roff().as_bytes());
}

fn setting(roff: &mut Roff, row: &Row) {
    let default = (row.show)(&Settings::default()).unwrap_or_else(|| "not set".to_owned());
    roff.control("TP", []).text([bold(row.name), roman(format!(" ({default})"))]);
    roff.text([roman(format!("{}{}.", row.help[..1].to_uppercase(), &row.help[1..]))]);
    roff.control("IP", []).text(spans(row.doc));
}

/// Converts the Markdown of the table: code is bold, a link is its text.
fn spans(markdown: &str) -> Vec<Inline> {
    let parts = markdown.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(without_links(part)) }).collect()
}

fn without_links(text: &str) -> String {
    let mut pieces = text.split("](");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        plain.push_str(piece.split_once(')').map_or(piece, |(_, rest)| rest));
    }
    plain.replace('[', "")
}

const DESCRIPTION: &str = "rwsgi serves a WSGI application over HTTP/1.1. A master process without Python supervises \
    workers, each of which embeds CPython. APP is a module such as mysite.wsgi, module:callable, module:factory(), or a \
    path to a file. A verb asks the running server: the one that was started in this directory, or the one that --bind, \
    --config, --pid or --control-socket names.";
const CONFIGURATION: &str = "A file in TOML with the settings of rwsgi at the top level, such as `workers = 4`. It is read \
    from the working directory, or from the path given by `--config`. Every setting can also be given in the environment, \
    as `RWSGI_` and its name in capitals, and on the command line, which counts most. The default follows each name.";
const FILES: &[(&str, &str)] = &[
    ("rwsgi.toml", "settings, read from the working directory"),
    ("gunicorn.conf.py", "settings in Python, read in the same way; both in one directory are an error"),
    ("$XDG_RUNTIME_DIR/rwsgi, /run/rwsgi, /tmp/rwsgi-UID", "control sockets that no setting names"),
];
