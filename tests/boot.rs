//! From the application's name to the application: where it is looked for, what it finds around it, and with which words
//! and exit code a start ends that cannot find it or that it spoils.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Server, apps, directory, expect_in_log, patient_seconds, run_command, rwsgi, virtualenv};

/// The applications that cannot be served: words of the command line, exit code, what the log says.
const WRONG: &[(&[&str], i32, &[&str])] = &[
    (&["nowhere"], 4, &["nowhere: expected a module, found no module named nowhere", "hint: looked in "]),
    (&["package.nowhere"], 4, &["expected a module, found no module named package.nowhere"]),
    (&["nowhere.wsgi:app"], 4, &["found no module named nowhere\n"]),
    (&["./nowhere.py"], 4, &["nowhere.py: expected a file, found no such file or directory", "hint: looked in "]),
    (&["./package.py"], 4, &["package.py: expected a file, found something else"]),
    (
        &["things:nothing"],
        4,
        &["things:nothing: expected nothing, found no such name", "the module offers make, zero, later and others"],
    ),
    (
        &["things"],
        4,
        &[
            "expected a callable named application or app, found neither",
            "the module offers make, zero, later and others",
        ],
    ),
    (&["things:number"], 4, &["things:number: expected a callable, found a value of type int"]),
    (&["things:number(1)"], 4, &["expected a factory number, found a value that cannot be called"]),
    (
        &["things:make(1, 2, 3, 4)"],
        4,
        &["things:make(1, 2, 3, 4): expected arguments that the factory takes, found (1, 2, 3, 4): "],
    ),
    (&["things:make(wrong=1)"], 4, &["unexpected keyword argument 'wrong'"]),
    (&["things:make(name)"], 4, &["expected literal arguments, found (name)"]),
    (&["things:make('a', result=5)"], 4, &["expected a callable, found a value of type int"]),
    (&["things:make('a', fail=True)"], 3, &["the application raised TypeError while it was loaded", "from within"]),
    (&["things:later"], 4, &["found a coroutine function, which is an ASGI application"]),
    (
        &["things:zero"],
        4,
        &[
            "expected a callable that takes environ and start_response, found one that takes ()",
            "hint: if it makes the application: rwsgi 'things:zero()'",
        ],
    ),
    (&["things.make"], 4, &["found no module named things.make", "hint: did you mean things:make?"]),
    (&["things:mak"], 4, &["hint: did you mean things:make?"]),
    (&["thigns:make"], 4, &["found no module named thigns\nhint: did you mean things?"]),
    (&["shop"], 4, &["expected a callable named application or app, found neither\nhint: did you mean shop.wsgi?"]),
    (&["shop.asgi"], 4, &["found no module named shop.asgi\nhint: did you mean shop.wsgi?"]),
    (
        &["site_of_both.asgi"],
        4,
        &["found a coroutine function, which is an ASGI application", "hint: did you mean site_of_both.wsgi?"],
    ),
    (
        &["manage.py"],
        4,
        &["hint: manage.py is Django's command line; the application is in shop.wsgi: rwsgi shop.wsgi"],
    ),
    (&["manage"], 4, &["hint: manage.py is Django's command line; the application is in shop.wsgi: rwsgi shop.wsgi"]),
    (&["fac"], 4, &["found neither\nhint: if create_app makes the application: rwsgi 'fac:create_app()'"]),
    (&["needy"], 3, &["the application raised ModuleNotFoundError", "No module named 'missing_dependency'"]),
    (&["broken"], 3, &["the application raised SyntaxError", "broken.py\", line 1"]),
    (&["raising"], 3, &["raising: the application raised RuntimeError while it was loaded", "RuntimeError: at import"]),
    (&["./raising.py"], 3, &["raising.py: the application raised RuntimeError", "RuntimeError: at import"]),
    (&["leaving"], 3, &["leaving: expected an application, found a call of sys.exit while it was loaded"]),
    (&["interrupted"], 3, &["the application raised KeyboardInterrupt"]),
];

const FILES: &[(&str, &str)] = &[
    ("package.py/keep", ""),
    ("package/__init__.py", ""),
    (
        "things.py",
        r#"
from os.path import join
number = 5
def make(first, result=None, fail=False):
    if fail:
        raise TypeError("from within")
    return result if result is not None else Kind()
def zero():
    return Kind()
async def later(scope, receive, send):
    pass
class Kind:
    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return [b"made"]
"#,
    ),
    ("shop/__init__.py", ""),
    ("shop/wsgi.py", "def application(environ, start_response): pass"),
    ("site_of_both/__init__.py", ""),
    ("site_of_both/wsgi.py", "def application(environ, start_response): pass"),
    ("site_of_both/asgi.py", "async def application(scope, receive, send): pass"),
    ("manage.py", "def main(): pass"),
    ("fac.py", "def helper(environ): pass\ndef create_app(): pass"),
    ("shapes.py", SHAPES),
    ("needy.py", "import missing_dependency"),
    ("broken.py", "def ("),
    ("raising.py", "raise RuntimeError('at import')"),
    ("leaving.py", "import sys\nsys.exit(7)"),
    ("interrupted.py", "raise KeyboardInterrupt"),
    ("gone.py", "import os\nos._exit(7)"),
    ("gone_well.py", "import os\nos._exit(0)"),
    ("killed.py", "import os\nos.kill(os.getpid(), 9)"),
    ("crashed.py", "import ctypes\nctypes.string_at(0)"),
];

#[test]
fn an_application_that_cannot_be_loaded_ends_the_start_with_its_code_and_one_explanation() {
    let files = directory(FILES);
    for (number, (words, code, texts)) in WRONG.iter().enumerate() {
        // Every case in one of the ways to start, all ways over the table.
        let more: &[&str] = [&["-w", "4"][..], &["--preload", "-w", "2"], &["-w", "1"]][number % 3];
        let command = on_a_free_port(files.path(), words, more);
        expect_failure(command, *code, texts, words);
    }
}

/// `fits_...` can be called with two arguments, `fails_...` cannot.
const SHAPES: &str = r"
import functools
def fits_plain(environ, start_response): pass
def fits_default(environ, start_response, more=None): pass
def fits_defaults(environ=None, start_response=None): pass
def fits_any(*arguments): pass
def fits_one_and_any(environ, *arguments): pass
def fits_keyword(environ, start_response, *, more=None): pass
def fits_positional(environ, start_response, /): pass
def fails_one(environ): pass
def fails_three(environ, start_response, more): pass
def fails_three_and_any(environ, start_response, more, *arguments): pass
def fails_keyword(environ, start_response, *, more, other=1): pass
@functools.wraps(fits_plain)
def fits_wrapping(*arguments): pass
@functools.wraps(fails_one)
def fails_wrapping(*arguments): pass
fits_partial = functools.partial(fails_three, None)
fails_partial = functools.partial(fits_plain, None)
class fits_class:
    def __init__(self, environ, start_response): pass
class fails_class:
    def __init__(self): pass
class Plain:
    def __call__(self, environ, start_response): pass
    def method(self, environ, start_response): pass
class Asynchronous:
    async def __call__(self, scope, receive): pass
class Three:
    def __call__(self, environ, start_response, more): pass
fits_object = Plain()
fits_method = Plain().method
fails_object = Three()
fails_asynchronous = Asynchronous()
async def fails_coroutine(environ, start_response): pass
";

#[test]
fn what_takes_two_arguments_is_an_application() {
    let files = directory(FILES);
    let names = SHAPES.lines().filter_map(|line| {
        let rest = ["def ", "async def ", "class "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        Some(&rest[..end]).filter(|name| name.starts_with("fits_") || name.starts_with("fails_"))
    });
    let names: Vec<&str> = names.collect();
    assert_eq!(names.len(), 22);
    for name in names {
        let word = format!("shapes:{name}");
        let output = rwsgi(files.path(), ["check", word.as_str()]).output().unwrap();
        let expected = if name.starts_with("fits") { 0 } else { 4 };
        assert_eq!(output.status.code(), Some(expected), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn check_gives_the_code_and_the_words_of_a_start() {
    let files = directory(FILES);
    for (words, code, texts) in WRONG {
        expect_failure(rwsgi(files.path(), ["check"].iter().chain(*words)), *code, texts, words);
    }
    for word in ["gone", "killed", "crashed"] {
        expect_failure(rwsgi(files.path(), ["check", word]), 3, &[], &[word]);
    }
}

#[test]
fn a_process_that_ends_while_the_application_is_imported_ends_the_start() {
    let files = directory(FILES);
    for word in ["gone", "gone_well", "killed", "crashed"] {
        for more in [&["-w", "3"][..], &["--preload"]] {
            let (code, _, log) = run_command(on_a_free_port(files.path(), &[word], more));
            assert_eq!(code, 3, "{word} {more:?}\n{log}");
        }
    }
}

#[test]
fn an_import_that_hangs_is_ended_with_its_stack_in_the_log() {
    let files =
        directory(&[("stuck.py", "import threading\ndef wait_here():\n    threading.Event().wait()\nwait_here()")]);
    for more in [&[][..], &["--preload"]] {
        expect_in_log(&["stuck.py\", line 3 in wait_here"], || {
            // Long enough to get there.
            let words = ["stuck", "--boot-timeout", &patient_seconds(0.5)];
            let (code, _, log) = run_command(on_a_free_port(files.path(), &words, more));
            assert_eq!(code, 3, "{more:?}\n{log}");
            assert!(log.contains("not ready in time, it is killed"), "{more:?}\n{log}");
            log
        });
    }
}

#[test]
fn a_zygote_whose_time_is_over_before_it_has_begun_ends_the_start() {
    let files = directory(&[("app.py", "app = print")]);
    // It has no handler yet for the signal that asks for its stack, a real-time one, and is killed by it.
    let (code, _, log) = run_command(on_a_free_port(files.path(), &["app", "--boot-timeout", "0.001"], &[]));
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("zygote not ready in time, it is killed"), "{log}");
}

#[test]
fn a_directory_that_the_user_may_not_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    assert!(nix::unistd::geteuid().is_root(), "this test needs root, to run the application as nobody");
    let files = directory(&[("app.py", "app = print")]);
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (code, _, log) = run_command(on_a_free_port(files.path(), &["app", "-u", "nobody"], &[]));
    assert_eq!(code, 4, "{log}");
    assert!(log.contains(&format!("hint: user nobody may not read {}", files.path().display())), "{log}");
}

fn on_a_free_port(directory: &Path, words: &[&str], more: &[&str]) -> Command {
    let mut command = rwsgi(directory, words);
    command.args(["-b", "127.0.0.1:0"]).args(more);
    command
}

/// Ends with this code and says all of `texts`; if the application raised, that is said once, with one traceback.
fn expect_failure(command: Command, code: i32, texts: &[&str], words: &[&str]) {
    let (found, _, log) = run_command(command);
    assert_eq!(found, code, "{words:?}\n{log}");
    for text in texts {
        assert!(log.contains(text), "{words:?}: expected {text:?} in\n{log}");
    }
    let raised = usize::from(log.contains("while it was loaded"));
    // A syntax error has no frames: its place stands in its message.
    let frames = if log.contains("SyntaxError: ") { 0 } else { raised };
    assert_eq!(log.matches("Traceback (most recent call last)").count(), frames, "{words:?}\n{log}");
    assert_eq!(log.matches("while it was loaded").count(), raised, "{words:?}\n{log}");
}

#[test]
fn a_virtualenv_that_is_beside_and_not_in_use_is_named() {
    let files = directory(&[("app.py", "import missing_dependency"), ("venv/pyvenv.cfg", "home = /usr/bin\n")]);
    let outside = fs::canonicalize(virtualenv().join("bin/python")).unwrap();
    for app in ["app", "django.core"] {
        let mut command = on_a_free_port(files.path(), &[app], &[]);
        command.arg("--python").arg(&outside);
        let (_, _, log) = run_command(command);
        let hint = format!("; --python {} uses the one that is there", files.path().join("venv").display());
        assert!(log.contains("hint: no virtualenv is in use, Python is ") && log.contains(&hint), "{log}");
    }
}

#[test]
fn check_binds_nothing_and_writes_no_pidfile() {
    let files = directory(&[("app.py", "from pathlib import Path\napp = print")]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let words = [
        "check".to_owned(),
        "app".to_owned(),
        "--pid".to_owned(),
        path("pid"),
        "-b".to_owned(),
        taken.local_addr().unwrap().to_string(),
        "-b".to_owned(),
        format!("unix:{}", path("socket")),
        "--access-logfile".to_owned(),
        path("access.log"),
    ];
    let (code, out, log) = run_command(rwsgi(files.path(), words));
    assert_eq!((code, out.as_str()), (0, "configuration and application are sound\n"), "{log}");
    let left: Vec<_> = fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "app.py" || name == "__pycache__"), "{left:?}");
}

/// Tells what it finds around it, as JSON. Counts imports in the file `imports`.
const WHERE: &str = r#"
import json, os, sys
with open(os.environ.get("IMPORTS", "/dev/null"), "a") as imports:
    imports.write(f"{os.getpid()}\n")
told = {
    "argv": sys.argv, "path": sys.path, "executable": sys.executable, "prefix": sys.prefix,
    "directory": os.getcwd(), "name": __name__, "file": os.path.basename(__file__),
    "inspect": os.environ.get("PYTHONINSPECT"), "is_main": "__main__" == __name__,
}
def application(environ, start_response):
    start_response("200 OK", [])
    path = environ["PATH_INFO"].strip("/")
    if path == "pid":
        return [str(os.getpid()).encode()]
    return [json.dumps(told | {"variable": os.environ.get(path), "known": __name__ in sys.modules}).encode()]
def make(*positional, **named):
    told["arguments"] = [positional, named]
    return application
other = application
"#;

fn tell(server: &Server, path: &str) -> serde_json::Value {
    serde_json::from_slice(&server.get(path).body).unwrap()
}

#[test]
fn the_application_finds_sys_as_its_virtualenv_and_the_command_line_make_it() {
    let files = directory(&[("where.py", WHERE)]);
    let mut command = on_a_free_port(files.path(), &["where"], &["-e", "GREETING=a=b c"]);
    command.env("PYTHONINSPECT", "1");
    let mut server = Server::spawn(command);
    let told = tell(&server, "/GREETING");
    let home = files.path().canonicalize().unwrap();
    let venv = virtualenv();
    assert_eq!(told["executable"], venv.join("bin/python").to_str().unwrap());
    assert_eq!(told["prefix"], venv.to_str().unwrap());
    assert_eq!(told["path"][0], home.to_str().unwrap());
    assert_eq!(told["directory"], home.to_str().unwrap());
    assert!(!told["path"].as_array().unwrap().iter().any(|entry| entry == ""), "{told}");
    let arguments: Vec<&str> = told["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(arguments[1..], ["where", "-b", "127.0.0.1:0", "-e", "GREETING=a=b c"]);
    assert_eq!((told["variable"].as_str(), told["inspect"].as_str()), (Some("a=b c"), None));
    assert_eq!((told["name"].as_str(), told["known"].as_bool()), (Some("where"), Some(true)));
    server.stop();
}

/// Ways to name one application: words, the module's name, the first of sys.path relative to the files' directory.
const NAMES: &[(&[&str], &str, &str)] = &[
    (&["place.where"], "place.where", "."),
    (&["place.where:other"], "place.where", "."),
    (&["place/where.py"], "where", "place"),
    (&["./place/where.py:other"], "where", "place"),
    (&["place/where.wsgi"], "where", "place"),
    (&["./place/where.wsgi:other"], "where", "place"),
    (&["where.py", "--chdir", "place"], "where", "place"),
    (&["where", "--chdir", "place"], "where", "place"),
    (&["where", "--pythonpath", "place"], "where", "place"),
    // gunicorn's order: the last one comes first.
    (&["where", "--pythonpath", "place,empty"], "where", "empty"),
    // A name that a module has already.
    (&["place/site.py"], "_rwsgi_site", "place"),
];

#[test]
fn an_application_is_named_by_module_or_file_below_chdir_and_pythonpath() {
    let files = directory(&[
        ("place/where.py", WHERE),
        ("place/where.wsgi", WHERE),
        ("place/site.py", "from where import application\nimport where\nwhere.told['name'] = __name__"),
        ("empty/keep", ""),
    ]);
    let home = files.path().canonicalize().unwrap();
    for (words, name, first) in NAMES {
        let server = Server::spawn(on_a_free_port(files.path(), words, &[]));
        let told = tell(&server, "/");
        assert_eq!(told["name"], *name, "{words:?}");
        let found = Path::new(told["path"][0].as_str().unwrap()).canonicalize().unwrap();
        assert_eq!(found, home.join(first).canonicalize().unwrap(), "{words:?}");
        assert_eq!(told["known"], true, "{words:?}");
    }
}

#[test]
fn a_factory_gets_its_literal_arguments() {
    let files = directory(&[("where.py", WHERE)]);
    let cases = [
        ("where:make()", serde_json::json!([[], {}])),
        (
            "where:make('a', 1, k=[2.5, None], flag=True)",
            serde_json::json!([["a", 1], {"k": [2.5, null], "flag": true}]),
        ),
    ];
    for (name, expected) in cases {
        let server = Server::start_in(files.path(), &[name]);
        assert_eq!(tell(&server, "/")["arguments"], expected, "{name}");
    }
}

#[test]
fn preload_imports_the_application_once_for_all_workers() {
    for (preload, expected) in [(true, 1), (false, 3)] {
        let files = directory(&[("where.py", WHERE), ("imports", "")]);
        let imports = files.path().join("imports");
        let mut command = on_a_free_port(files.path(), &["where"], &["-w", "3"]);
        command.env("IMPORTS", &imports).args(preload.then_some("--preload"));
        let mut server = Server::spawn(command);
        let lines: HashSet<String> = fs::read_to_string(&imports).unwrap().lines().map(str::to_owned).collect();
        let workers: HashSet<String> = server.workers().iter().map(ToString::to_string).collect();
        assert_eq!((lines.len(), workers.len()), (expected, 3), "{}", server.log());
        if preload {
            assert!(lines.contains(&server.zygote().unwrap().to_string()));
        } else {
            assert_eq!(lines, workers);
        }
        assert!(workers.contains(&server.get("/pid").text()));
        server.stop();
    }
}

#[test]
fn threads_that_a_preloaded_application_started_are_named_in_one_warning() {
    let mut command = on_a_free_port(&apps(), &["ticker"], &["--preload", "-w", "3"]);
    command.env("TICK", "import");
    let mut server = Server::spawn(command);
    let log = server.stop();
    assert_eq!(log.matches("threads found before the fork").count(), 1, "{log}");
    assert!(log.contains("names=ticker"), "{log}");
}

#[test]
fn exit_handlers_and_non_daemon_threads_of_a_worker_get_their_turn_at_a_stop() {
    let files = directory(&[(
        "handlers.py",
        r#"
import atexit, threading
ended = threading.Event()
atexit.register(print, "atexit handler ran", flush=True)
def work():
    threading.main_thread().join()
    print("thread ended", flush=True)
threading.Thread(target=work).start()
def app(environ, start_response):
    start_response("200 OK", [])
    print("printed without a flush", end="")
    return [b""]
"#,
    )]);
    let mut server = Server::start_in(files.path(), &["handlers", "--graceful-timeout", "10"]);
    assert_eq!(server.get("/").status, 200);
    server.stop();
    let out = server.output.stdout();
    for text in ["atexit handler ran", "thread ended", "printed without a flush"] {
        assert!(out.contains(text), "expected {text:?} in {out:?}\n{}", server.log());
    }
}

#[test]
fn a_wrapper_of_the_interpreter_keeps_the_environment_that_it_sets() {
    let app = "import os\nimport brought\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    \
               return [f\"{os.environ['GREETING']} {brought.word} {'REMOVED' in os.environ}\".encode()]\n";
    let files = directory(&[("app.py", app), ("modules/brought.py", "word = 'brought'\n")]);
    let wrapper = files.path().join("wrapped-python");
    let script = format!(
        "#!/bin/sh\nunset REMOVED\nexport GREETING='hello, world' PYTHONPATH='{}'\nexec '{}' \"$@\"\n",
        files.path().join("modules").display(),
        virtualenv().join("bin/python").display(),
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = rwsgi(files.path(), ["app", "-b", "127.0.0.1:0", "--python", wrapper.to_str().unwrap()]);
    command.env("REMOVED", "yes");
    let mut server = Server::spawn(command);
    assert_eq!(server.get("/").text(), "hello, world brought False");
    server.stop();
}

#[test]
fn a_pythonhome_of_another_python_is_named() {
    let mut command = rwsgi(&apps(), ["hello", "-b", "127.0.0.1:0"]);
    command.env("PYTHONHOME", "/nowhere");
    let (code, _, log) = run_command(command);
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("PYTHONHOME: /nowhere: expected the standard library of Python 3."), "{log}");
    assert!(log.contains(", found none\nhint: unset PYTHONHOME"), "{log}");
}
