//! The name of an application on the command line. Looks for no module and no file, and evaluates no argument: the
//! engine does.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::problem::ValueError;
use super::Text;

/// `module`, `module:callable`, `module:factory("a", k=1)`, `path/to/file.py[:callable]`,
/// `path/to/file.wsgi[:callable]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppName {
    /// The module or file.
    pub source: AppSource,
    /// The callable in it; without one, `application`, then `app`.
    pub callable: Option<AppCallable>,
}

/// The module or file of an application. Without a slash only `.py` means a file: Django sites name a module
/// `mysite.wsgi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppSource {
    /// A dotted module name.
    Module(String),
    /// A file, relative to the working directory of the application (`chdir`).
    File(PathBuf),
}

/// The callable of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppCallable {
    /// A Python name.
    pub name: String,
    /// The text between the parentheses of a factory. Quotes and brackets in it are balanced; `ast.literal_eval` checks
    /// that it consists of literals.
    pub arguments: Option<String>,
}

impl AppName {
    /// Parses any of the forms above.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::text(<Self as Text>::EXPECTED, text);
        // Arguments may contain colons and slashes; the text before them may not contain a parenthesis.
        let (head, arguments) = match text.split_once('(') {
            Some((head, rest)) => {
                let arguments = rest.strip_suffix(')').filter(|arguments| is_balanced(arguments));
                (
                    head,
                    Some(
                        arguments
                            .ok_or_else(|| ValueError::text("closed quotes and brackets after the callable", text))?,
                    ),
                )
            }
            None => (text, None),
        };
        let (source, name) = match head.rsplit_once(':') {
            Some((source, name)) => (source, Some(name)),
            None => (head, None),
        };
        let callable = match (name, arguments) {
            (Some(name), arguments) if is_identifier(name) => {
                Some(AppCallable { name: name.to_owned(), arguments: arguments.map(str::to_owned) })
            }
            (Some(name), _) if name.contains('.') => {
                return Err(ValueError::text("a callable without dots after the colon", text));
            }
            (None, None) => None,
            _ => return Err(wrong()),
        };
        let source = source_of(source).ok_or_else(wrong)?;
        Ok(Self { source, callable })
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            AppSource::Module(name) => f.write_str(name)?,
            AppSource::File(path) => write!(f, "{}", path.display())?,
        }
        let Some(AppCallable { name, arguments }) = &self.callable else {
            return Ok(());
        };
        write!(f, ":{name}")?;
        arguments.as_ref().map_or(Ok(()), |arguments| write!(f, "({arguments})"))
    }
}

impl Text for AppName {
    const EXPECTED: &'static str = "module, module:callable or path/to/file.py[:callable]";

    fn parse(text: &str) -> Result<Self, ValueError> {
        Self::parse(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

fn source_of(text: &str) -> Option<AppSource> {
    let file = || (!text.ends_with('/') && !text.contains('\0')).then(|| AppSource::File(PathBuf::from(text)));
    if text.contains('/') {
        return file();
    }
    match text.rsplit_once('.') {
        Some((name, "py")) if !name.is_empty() => file(),
        _ => text.split('.').all(is_module).then(|| AppSource::Module(text.to_owned())),
    }
}

/// True if the text is one part of a module's name. `import_module` accepts dashes, the import statement does not.
fn is_module(text: &str) -> bool {
    !text.starts_with('-') && is_identifier(&text.replace('-', "_"))
}

/// True if the text is close to a Python name: letters of any script, digits and underscores, no digit first.
fn is_identifier(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_') && text.chars().next().is_some_and(|c| !c.is_numeric())
}

/// True if quotes and brackets are balanced. Triple quotes and prefixes need no rule: three quotes are an empty string
/// and an open one.
fn is_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if let Some(end) = quote {
            match c {
                '\\' => drop(characters.next()),
                c if c == end => quote = None,
                _ => {}
            }
            continue;
        }
        match c {
            '"' | '\'' => quote = Some(c),
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(c) => return false,
            _ => {}
        }
    }
    quote.is_none() && open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::{AppCallable, AppName, AppSource};

    #[test]
    fn every_form_prints_back_the_same() {
        for text in [
            "mysite.wsgi",
            "mysite.wsgi:application",
            "café:app",
            "module:create()",
            r#"module:create("a", k=1)"#,
            r#"module:create("a:b/c.py", [1, (2, {"x": ")"})])"#,
            "app.py",
            "./app.py",
            "src/app.py:application",
            "/srv/site/app.wsgi",
            "dir/app:make(1)",
            "my-site.wsgi",
        ] {
            assert_eq!(AppName::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_file_is_told_from_a_module() {
        let source = |text| AppName::parse(text).unwrap().source;
        assert_eq!(source("app"), AppSource::Module("app".into()));
        assert_eq!(source("./app.wsgi"), AppSource::File("./app.wsgi".into()));
        assert_eq!(source("app.py:application"), AppSource::File("app.py".into()));
        assert_eq!(source("mysite.wsgi:application"), AppSource::Module("mysite.wsgi".into()));
    }

    #[test]
    fn arguments_are_kept_as_text() {
        let callable = AppName::parse("m:f( 'a', k = 1 )").unwrap().callable;
        assert_eq!(callable, Some(AppCallable { name: "f".into(), arguments: Some(" 'a', k = 1 ".into()) }));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "", ":", ":app", "m:", "m:a.b", "m:1a", "m n", "a..b", "a.", "-m", "m:f(", "m:f)", "m:f(]", "m:f(')",
            "m:f(1))", "m(1)", "dir/", "m:f()x", "a:b:c",
        ] {
            assert!(AppName::parse(text).is_err(), "{text}");
        }
    }
}
