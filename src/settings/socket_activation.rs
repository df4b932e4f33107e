//! Socket activation by sd_listen_fds(3): three variables in, descriptors with names out, and their relation to `bind`.
//! Opens nothing; another process is only a number here.

use std::ops::Range;

use super::problem::{Problem, ProblemCause};
use super::source_value::{Origin, shown, variable};
use super::types::Bind;

/// The variables of the protocol, and systemd's newer one. They are removed from the environment of child processes.
pub const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];

/// Returns the process that the sockets were passed to, if it is not `me`: a shell between systemd and the server.
pub fn meant_for_another(environment: &[(String, String)], me: u32) -> Option<&str> {
    variable(environment, "LISTEN_FDS")?;
    variable(environment, "LISTEN_PID").filter(|pid| pid.trim().parse() != Ok(me))
}

/// PassedSockets sockets: consecutive descriptors, each with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedSockets {
    names: Vec<String>,
}

impl PassedSockets {
    /// Reads `LISTEN_FDS` and `LISTEN_FDNAMES`. Without the first one there are no sockets. The caller checks the
    /// addressee by [`meant_for_another`].
    pub fn read(environment: &[(String, String)]) -> Result<PassedSockets, Problem> {
        let wrong = |name: &str, expected: String, found: String| Problem {
            origin: Origin::Env(name.to_owned()),
            cause: ProblemCause::Value { name: "bind", expected, found },
            hint: None,
        };
        let Some(text) = variable(environment, "LISTEN_FDS") else { return Ok(PassedSockets::default()) };
        let count = text.trim().parse().ok().filter(|count| *count <= MOST);
        let count =
            count.ok_or_else(|| wrong("LISTEN_FDS", format!("a number of sockets, at most {MOST}"), shown(text)))?;
        let names = match variable(environment, "LISTEN_FDNAMES") {
            None => vec![UNNAMED.to_owned(); count],
            Some(names) => names.split(':').map(str::to_owned).collect(),
        };
        if names.len() != count {
            let expected = format!("as many names as LISTEN_FDS={count}, separated by colons");
            return Err(wrong("LISTEN_FDNAMES", expected, names.len().to_string()));
        }
        Ok(PassedSockets { names })
    }

    /// Returns the descriptors, which are open in the addressee.
    pub fn descriptors(&self) -> Range<i32> {
        FIRST..FIRST + i32::try_from(self.names.len()).unwrap_or(0)
    }

    /// Returns the addresses to bind. As in gunicorn, passed sockets replace `bind`. If `bind` contains a descriptor,
    /// it is used as written, with names resolved to descriptors.
    pub(super) fn settle(&self, bind: &[Bind]) -> Vec<Bind> {
        if self.names.is_empty() {
            return bind.to_vec();
        }
        if !names_a_descriptor(bind) {
            return self.descriptors().map(Bind::Fd).collect();
        }
        let settle = |bind: &Bind| match bind {
            Bind::Named(name) if self.names.contains(name) => self.named(name).map(Bind::Fd).collect(),
            other => vec![other.clone()],
        };
        bind.iter().flat_map(settle).collect()
    }

    /// Returns warnings for an administrator about the sockets and `bind`, one per line.
    pub(super) fn warnings(&self, bind: &[Bind], origin: &str, settled: &[Bind]) -> Vec<String> {
        if !names_a_descriptor(bind) {
            let count = self.names.len();
            let what = if count == 1 { "the passed socket is" } else { "the passed sockets are" };
            return vec![format!("{origin}: not used, {what} served instead (LISTEN_FDS={count})")];
        }
        let left = self.descriptors().zip(&self.names).filter(|(fd, _)| !settled.contains(&Bind::Fd(*fd)));
        left.map(|(fd, name)| format!("fd://{fd} ({name}): passed and not served, bind names other sockets")).collect()
    }

    fn named(&self, name: &str) -> impl Iterator<Item = i32> {
        self.descriptors().zip(&self.names).filter(move |(_, known)| *known == name).map(|(fd, _)| fd)
    }
}

fn names_a_descriptor(bind: &[Bind]) -> bool {
    bind.iter().any(|bind| matches!(bind, Bind::Fd(_) | Bind::Named(_)))
}

/// `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;
/// The most descriptors that one message to the zygote can carry beside others.
const MOST: usize = 240;
/// The name that sd_listen_fds_with_names(3) gives to a socket without one.
const UNNAMED: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn binds(text: &str) -> Vec<Bind> {
        text.split(' ').map(|text| Bind::parse(text).unwrap()).collect()
    }

    #[test]
    fn passed_sockets_take_the_place_of_bind_unless_it_names_a_descriptor() {
        let passed = variables(&[("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:admin:web")]);
        let passed = PassedSockets::read(&passed).unwrap();
        assert_eq!(passed.descriptors(), 3..6);
        for (bind, settled, warnings) in [
            (
                "127.0.0.1:8000",
                "fd://3 fd://4 fd://5",
                "--bind: not used, the passed sockets are served instead (LISTEN_FDS=3)",
            ),
            ("fd://web", "fd://3 fd://5", "fd://4 (admin): passed and not served, bind names other sockets"),
            (
                "fd://4 127.0.0.1:1",
                "fd://4 127.0.0.1:1",
                "fd://3 (web): passed and not served, bind names other sockets
fd://5 (web): passed and not served, bind names other sockets",
            ),
            ("fd://web fd://admin fd://other", "fd://3 fd://5 fd://4 fd://other", ""),
        ] {
            let found = passed.settle(&binds(bind));
            assert_eq!(found, binds(settled), "{bind}");
            assert_eq!(passed.warnings(&binds(bind), "--bind", &found).join("\n"), warnings, "{bind}");
        }
    }

    #[test]
    fn without_passed_sockets_bind_is_as_it_is_written() {
        for environment in [variables(&[]), variables(&[("LISTEN_FDS", "0")]), variables(&[("LISTEN_FDS", " ")])] {
            let passed = PassedSockets::read(&environment).unwrap_or_default();
            assert_eq!(passed.settle(&binds("fd://web :80")), binds("fd://web :80"));
        }
    }

    #[test]
    fn a_socket_without_a_name_is_called_unknown() {
        let passed = PassedSockets::read(&variables(&[("LISTEN_FDS", "2")])).unwrap();
        assert_eq!(passed.settle(&binds("fd://unknown")), binds("fd://3 fd://4"));
    }

    #[test]
    fn what_is_no_number_of_sockets_is_refused() {
        for (pairs, words) in [
            (&[("LISTEN_FDS", "three")][..], "LISTEN_FDS: expected a number of sockets, at most 240, found \"three\""),
            (&[("LISTEN_FDS", "-1")][..], "LISTEN_FDS: expected a number of sockets, at most 240, found -1"),
            (&[("LISTEN_FDS", "241")][..], "LISTEN_FDS: expected a number of sockets, at most 240, found 241"),
            (
                &[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "web")][..],
                "LISTEN_FDNAMES: expected as many names as LISTEN_FDS=2, separated by colons, found 1",
            ),
        ] {
            assert_eq!(PassedSockets::read(&variables(pairs)).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn sockets_of_another_process_are_told_apart() {
        let of = |pid| variables(&[("LISTEN_PID", pid), ("LISTEN_FDS", "1")]);
        assert_eq!(meant_for_another(&of("77"), 77), None);
        assert_eq!(meant_for_another(&of("78"), 77), Some("78"));
        assert_eq!(meant_for_another(&of("other"), 77), Some("other"));
        assert_eq!(meant_for_another(&variables(&[("LISTEN_PID", "78")]), 77), None);
    }
}
