//! README: short, its commands near the top, and its samples are what the program prints.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::outside::tool;
use crate::support::{Server, directory, program, root, run_command, virtualenv};

#[test]
fn the_readme_is_short_and_begins_with_installing() {
    let readme = readme();
    let words: Vec<&str> = readme.split_whitespace().collect();
    assert!(words.len() < 700, "{} words", words.len());
    let first = words[..100].join(" ");
    for line in ["pip install .", "rwsgi mysite.wsgi"] {
        assert!(first.contains(line), "{line} is not among the first 100 words");
    }
}

#[test]
fn the_samples_of_the_readme_are_what_the_program_prints() {
    let samples = samples();
    let [start, status, deploy, hang] = &samples[..] else { panic!("expected four samples: {samples:?}") };
    let site = directory(&[("mysite/__init__.py", ""), ("mysite/wsgi.py", APP)]);
    symlink(virtualenv(), site.path().join(".venv")).unwrap();
    let run = |words: &[&str]| {
        let mut command = tool(program(), words.iter().copied());
        command.current_dir(site.path()).env_remove("VIRTUAL_ENV").env("XDG_RUNTIME_DIR", site.path());
        for name in ["RWSGI_TEST_PROGRAM", "RWSGI_TEST_VENV", "RWSGI_BUILD_ID", "RWSGI_ENGINE_FILE", "RWSGI_LAUNCH"] {
            command.env_remove(name);
        }
        command
    };
    let here = fs::canonicalize(site.path()).unwrap();
    let check = |sample: &str, found: &str| {
        let found = found.replace(here.to_str().unwrap(), "/srv/mysite");
        let found: Vec<String> = found.lines().map(masked).collect();
        let mut rest = found.iter();
        for line in sample.lines().map(masked) {
            assert!(rest.any(|one| *one == line), "expected {line}\nfound {}", found.join("\n"));
        }
    };
    let words = ["-w", "2", "-t", "1", "-b", "127.0.0.1:0", "mysite.wsgi"];
    let mut server = Server::spawn(run(&words));
    check(start, &server.log());
    check(status, &run_command(run(&["status"])).1);
    assert_eq!(server.get("/slow").status, 504);
    fs::write(site.path().join("mysite/wsgi.py"), APP.replace("import time", "import tim")).unwrap();
    let (code, _, refused) = run_command(run(&["reload", "--wait"]));
    assert_eq!(code, 3);
    check(deploy, &refused);
    check(hang, &server.stop());
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The blocks of output.
fn samples() -> Vec<String> {
    let readme = readme();
    let blocks = readme.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

/// A line without its time and process id, its numbers as `#`, and without the spaces that align columns.
fn masked(line: &str) -> String {
    let line =
        line.find("] [").and_then(|_| line.splitn(3, "] [").nth(2)).map_or(line.to_owned(), |rest| format!("[{rest}"));
    let mut masked = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            _ => masked.push(c),
        }
    }
    masked.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

const APP: &str = "\
import time


def application(environ, start_response):
    if environ['PATH_INFO'] == '/slow':
        time.sleep(60)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'hello']
";
