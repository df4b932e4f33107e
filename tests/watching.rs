//! The setting `reload`: code that is saved is served, and code that does not load is not.

use std::fs;
use std::path::Path;

use crate::support::{Server, directory, run, wait_until};
use nix::unistd::Pid;
use tempfile::TempDir;

const APP: &str = r#"
import part
def application(environ, start_response):
    start_response("200 OK", [])
    return [part.WORD.encode()]
"#;

fn start(words: &[&str]) -> (TempDir, Server) {
    let files = directory(&[("app.py", APP), ("part.py", "WORD = 'first'\n"), ("pages/a.html", "a")]);
    let server = Server::start_in(files.path(), &[&["app", "-w", "2", "--reload"], words].concat());
    (files, server)
}

/// As editors do: the new file is there whole, or not at all.
fn save(files: &TempDir, name: &str, text: &str) {
    let new = files.path().join(format!("{name}~"));
    fs::write(&new, text).unwrap();
    fs::rename(new, files.path().join(name)).unwrap();
}

#[test]
fn saved_code_is_served_and_code_that_does_not_load_is_not() {
    for words in
        [&[][..], &["--preload"], &["--reload-engine", "poll"], &["--reload-engine", "inotify", "--threads", "2"]]
    {
        let (files, mut server) = start(words);
        assert_eq!(server.get("/").text(), "first");
        save(&files, "part.py", "WORD = 'second'\n");
        wait_until("the second word is served", || server.get("/").text() == "second");
        server.wait_for("reload done");
        save(&files, "part.py", "WORD = = 'third'\n");
        server.wait_for("reload failed, nothing has changed");
        assert_eq!(server.get("/").text(), "second");
        save(&files, "part.py", "WORD = 'fourth'\n");
        wait_until("the fourth word is served", || server.get("/").text() == "fourth");
        server.wait_for_lines("reload done", 2);
        let log = server.stop();
        assert!(log.contains("Worker reloading: "), "{log}");
        assert!(log.contains("SyntaxError"), "{log}");
    }
}

#[test]
fn one_change_is_one_reload_however_many_workers_see_it() {
    let (files, mut server) = start(&[]);
    save(&files, "part.py", "WORD = 'second'\n");
    server.wait_for_lines(" modified", 2);
    server.wait_for("reload done");
    let log = server.stop();
    assert_eq!(log.matches("Reloading: Master").count(), 1, "{log}");
}

#[test]
fn extra_files_and_patterns_and_the_configuration_file_are_watched() {
    let files = directory(&[
        ("app.py", APP),
        ("part.py", "WORD = 'first'\n"),
        ("pages/a.html", "a"),
        ("extra.txt", ""),
        ("gunicorn.conf.py", "reload = True\nreload_extra_files = ['extra.txt', 'pages/**/*.html']\nworkers = 1\n"),
    ]);
    let mut server = Server::start_in(files.path(), &["app"]);
    for (count, name) in ["extra.txt", "pages/a.html", "gunicorn.conf.py"].into_iter().enumerate() {
        let text = fs::read_to_string(files.path().join(name)).unwrap() + "\n";
        save(&files, name, &text);
        server.wait_for_lines("reload done", count + 1);
    }
    server.stop();
    let words = ["app", "--reload", "--reload-extra-file", "missing.txt"];
    let (code, _, log) = run(files.path(), words);
    assert!(code == 1 && log.contains("--reload-extra-file: missing.txt: no such file or directory"), "{code}\n{log}");
}

#[test]
fn without_the_setting_nobody_watches() {
    let (_files, mut server) = start(&[]);
    let watches = |pid: Pid| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let link = |entry: std::io::Result<fs::DirEntry>| fs::read_link(entry.ok()?.path()).ok();
        entries.filter_map(link).filter(|to| to == Path::new("anon_inode:inotify")).count()
    };
    let watching: usize = server.workers().into_iter().map(watches).sum();
    assert_eq!(watching, 2);
    server.stop();
    let mut plain = Server::start(&["hello"]);
    assert_eq!(plain.tree().into_iter().map(watches).sum::<usize>(), 0);
    plain.stop();
}
