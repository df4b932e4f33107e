//! The manual page and the completions of shells in `packaging/`, made of the definition of the command line. UPDATE=1
//! rewrites them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::builder::PossibleValuesParser;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use rwsgi::cli::args;
use rwsgi::command::TABLE;

use crate::support::outside::{run_tool, tool};
use crate::support::root;

#[test]
fn the_manual_page_is_that_of_the_command_line() {
    is_current("packaging/man/rwsgi.1", &manual());
}

#[test]
fn completions_are_those_of_the_command_line() {
    for (shell, file) in [(Shell::Bash, "rwsgi.bash"), (Shell::Zsh, "_rwsgi"), (Shell::Fish, "rwsgi.fish")] {
        is_current(&format!("packaging/completions/{file}"), &completion(shell));
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

fn manual() -> String {
    let about = "serves Python web applications that use WSGI";
    let man = Man::new(args::command().about(about)).date("");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    let mut page = String::from_utf8(page).unwrap();
    page.push_str(SYNOPSIS);
    page.push_str(".SH VERBS\nThey ask the running server of \\-\\-pid or \\-\\-config.\n");
    for (usage, help) in TABLE.iter().filter_map(|row| Some((row.usage?, row.help))) {
        writeln!(page, ".TP\n\\fBrwsgi {}\\fR\n{}", usage.replace('-', "\\-"), help.replace('-', "\\-")).unwrap();
    }
    let mut options = Vec::new();
    man.render_options_section(&mut options).unwrap();
    man.render_extra_section(&mut options).unwrap();
    page + &String::from_utf8(options).unwrap()
}

fn completion(shell: Shell) -> String {
    let verbs = TABLE.iter().filter(|row| row.usage.is_some()).map(|row| row.name).chain(["check", "settings"]);
    let verbs: Vec<&str> = verbs.collect();
    let mut command = args::command().mut_arg("words", |arg| arg.value_parser(PossibleValuesParser::new(verbs)));
    let mut script = Vec::new();
    generate(shell, &mut command, "rwsgi", &mut script);
    String::from_utf8(script).unwrap()
}

fn is_current(name: &str, expected: &str) {
    let file = root().join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{name} is stale\nhint: UPDATE=1 cargo test --test all manual::");
}

const SYNOPSIS: &str = "\
.SH SYNOPSIS
.nf
\\fBrwsgi\\fR [OPTIONS] [APP]
\\fBrwsgi check\\fR [OPTIONS] [APP]
\\fBrwsgi settings\\fR [OPTIONS] [APP]
\\fBrwsgi\\fR VERB [OPTIONS]
.fi
.SH DESCRIPTION
The first form serves APP, \\fImodule\\fR[:\\fIcallable\\fR] or the path of a file. The second one loads settings and
application, and reports errors; the third one prints every setting and its origin; the last one asks a running server.
";
