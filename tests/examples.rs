//! The examples: the commands of each README, typed as they stand there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::outside::{curl, run_tool, tool};
use crate::support::{Server, program, root, virtualenv};

/// A copy of an example, in which its README's commands are typed. Only the port is another: a free one.
struct Example {
    directory: TempDir,
    commands: Vec<String>,
}

impl Example {
    fn of(name: &str) -> Example {
        let directory = tempfile::tempdir().unwrap();
        run_tool(tool("cp", ["-R"]).arg(root().join("examples").join(name).join(".")).arg(directory.path()));
        // What somebody who tried the example left there.
        for own in [".venv", "db.sqlite3"] {
            run_tool(tool("rm", ["-rf"]).arg(directory.path().join(own)));
        }
        let app_toml = directory.path().join("app.toml");
        let text = fs::read_to_string(&app_toml).unwrap();
        assert!(text.contains(PORT), "{text}");
        fs::write(app_toml, text.replace(PORT, "127.0.0.1:0")).unwrap();
        let readme = fs::read_to_string(directory.path().join("README.md")).unwrap();
        // In Markdown, what is indented by four is code.
        let commands: Vec<String> =
            readme.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect();
        Example { directory, commands }
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = tool("sh", ["-c", line]);
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", program().canonicalize().unwrap().parent().unwrap().display());
        shell.current_dir(self.directory.path()).env("PATH", path).env_remove("VIRTUAL_ENV");
        // pip finds everything there already; it is not to look further, nor to keep anything.
        shell.envs([("PIP_NO_INDEX", "1"), ("PIP_NO_CACHE_DIR", "1"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")]);
        shell
    }

    /// The tests' virtualenv in the place of the one that the README makes.
    fn use_virtualenv(&self) {
        symlink(virtualenv().canonicalize().unwrap(), self.directory.path().join(".venv")).unwrap();
    }

    fn serve(&self, line: &str) -> Server {
        Server::spawn(self.shell(&format!("exec {line}")))
    }
}

/// Where the examples say they are served.
const PORT: &str = "127.0.0.1:8000";

#[test]
fn the_plain_wsgi_example_does_what_its_readme_says() {
    let example = Example::of("wsgi");
    let [serve, ask] = &example.commands[..] else { panic!("{:?}", example.commands) };
    assert_eq!(serve, "rwsgi --config app.toml");
    let mut server = example.serve(serve);
    assert_eq!(server.workers().len(), 2, "{}", server.log());
    assert_eq!(run_tool(&mut example.shell(&ask.replace(PORT, server.address()))), "Hello, you!\n");
    assert_eq!(curl([server.url("/")]), "Hello, World!\n");
    assert_eq!(curl(["-N", &server.url("/countdown")]), "3\n2\n1\nlift-off\n");
    assert_eq!(curl(["-d", "some words", &server.url("/echo")]), "some words");
    assert_eq!(curl([server.url("/nowhere")]), "no such page\n");
    let about = curl([server.url("/about")]);
    for line in ["SERVER_NAME = 127.0.0.1", &format!("SERVER_PORT = {}", server.port()), "wsgi.multiprocess = True"] {
        assert!(about.lines().any(|said| said == line), "expected {line:?} in\n{about}");
    }
    server.stop();
}

#[test]
fn the_flask_example_does_what_its_readme_says() {
    let example = Example::of("flask");
    let [install, serve] = &example.commands[..] else { panic!("{:?}", example.commands) };
    let install = install.strip_prefix("python3 -m venv .venv && ").unwrap();
    example.use_virtualenv();
    run_tool(&mut example.shell(install));
    assert_eq!(serve, "rwsgi --config app.toml --python .venv");
    let mut server = example.serve(serve);
    assert_eq!(curl([server.url("/hello")]), "Hello, World!");
    assert_eq!(curl([server.url("/notes.json")]), "{\"notes\":[\"Welcome to the board.\"]}\n");
    let pinned = curl(["-i", "-d", "note=a \"new\" & <b>bold</b> one", &server.url("/")]);
    assert!(pinned.starts_with("HTTP/1.1 303 SEE OTHER\r\n"), "{pinned}");
    // A browser comes back with GET.
    let board = curl(["-L", "--data-urlencode", "note=füßig & <i>", &server.url("/")]);
    assert!(board.contains("<li>füßig &amp; &lt;i&gt;</li>"), "{board}");
    let streamed = curl(["-i", &server.url("/notes.csv")]);
    let (head, body) = streamed.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(body.lines().count(), 4, "{body}");
    let head = curl(["-I", &server.url("/hello")]);
    assert!(head.contains("Content-Length: 13\r\n"), "{head}");
    let wrong = curl(["-i", "-X", "DELETE", &server.url("/hello")]);
    assert!(wrong.starts_with("HTTP/1.1 405 METHOD NOT ALLOWED\r\n"), "{wrong}");
    server.stop();
}

#[test]
fn the_django_example_does_what_its_readme_says() {
    let example = Example::of("django");
    let [install, serve] = &example.commands[..] else { panic!("{:?}", example.commands) };
    let install = install.strip_prefix("python3 -m venv .venv && ").unwrap();
    example.use_virtualenv();
    run_tool(&mut example.shell(install));
    assert!(example.directory.path().join("db.sqlite3").exists(), "the database is not beside manage.py");
    assert_eq!(serve, "rwsgi --config app.toml --python .venv");
    let mut server = example.serve(serve);
    assert_eq!(server.workers().len(), 2, "{}", server.log());
    let page = curl(["-L", &server.url("/")]);
    assert!(page.contains("Tabs or spaces?"), "{page}");
    server.stop();
}

#[test]
fn every_example_has_a_readme_whose_commands_name_files_that_are_there() {
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let directory = entry.unwrap().path();
        if directory.is_dir() {
            check_names(&directory);
        }
    }
}

fn check_names(directory: &Path) {
    let readme = fs::read_to_string(directory.join("README.md")).unwrap();
    for name in ["app.toml", "requirements.txt", "manage.py", "nginx.conf"] {
        let there = directory.join(name).exists();
        assert_eq!(readme.contains(name), there, "{}: {name}", directory.display());
    }
}
