//! Narrow views of the settings, for rooms that must not know where a value came from.

use std::path::PathBuf;
use std::time::Duration;

use super::table::LOGGER_CLASS;
use super::types::{Bind, Ciphers, ClientCertificates, ControlSocket, LogTarget, TimeoutMode, TlsVersion};
use super::{Settings, WorkerClass};
use crate::http::{Leniency, Limits, ProxyRules, Trust};

/// How TLS is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTerms {
    /// `certfile`, which is missing where only a key was given.
    pub certificate: Option<PathBuf>,
    /// `keyfile`.
    pub key: Option<PathBuf>,
    /// `ca_certs`.
    pub authorities: Option<PathBuf>,
    /// `cert_reqs`.
    pub clients: ClientCertificates,
    /// `ssl_version`.
    pub lowest: TlsVersion,
    /// `ciphers`.
    pub ciphers: Option<Ciphers>,
}

impl Settings {
    /// How TLS is served, if it is: with a certificate or a key, as in gunicorn. Paths count from `chdir`.
    pub fn tls(&self) -> Option<TlsTerms> {
        if self.certfile.is_none() && self.keyfile.is_none() {
            return None;
        }
        let placed = |path: &Option<PathBuf>| {
            let path = path.as_ref()?;
            Some(self.chdir.as_ref().map_or_else(|| path.clone(), |directory| directory.join(path)))
        };
        Some(TlsTerms {
            certificate: placed(&self.certfile),
            key: placed(&self.keyfile),
            authorities: placed(&self.ca_certs),
            clients: self.cert_reqs,
            lowest: self.ssl_version,
            ciphers: self.ciphers.clone(),
        })
    }

    /// How much of a request is taken. In the settings, 0 is the most there can be.
    pub fn limits(&self) -> Limits {
        let most = |value: u32, most: u32| if value == 0 { most } else { value } as usize;
        let request_line = most(self.limit_request_line, MOST_LINE);
        let field_size = most(self.limit_request_field_size, MOST_LINE);
        Limits {
            request_line,
            fields: most(self.limit_request_fields, MOST_FIELDS),
            field_size,
            // Never so small that a line within its own limit is refused.
            head: most(self.limit_request_head, MOST_HEAD).max(request_line + field_size + LINE_ENDS),
            body: self.limit_request_body.limit().into_iter().chain(self.largest_buffered()).min(),
            leniency: Leniency {
                folding: self.permit_obsolete_folding,
                blanks_before_colon: self.strip_header_spaces,
                any_method: self.permit_unconventional_http_method,
                any_version: self.permit_unconventional_http_version,
                casefold_method: self.casefold_http_method,
            },
            ..Limits::default()
        }
    }

    /// The largest body that memory or a file takes, if bodies are buffered and there is a limit.
    fn largest_buffered(&self) -> Option<u64> {
        let memory = self.post_buffering.limit()?;
        self.spill_limit.limit().map(|file| file.max(memory))
    }

    /// Which PROXY headers are taken, and from whom.
    pub fn proxy(&self) -> ProxyRules {
        let peers = self.proxy_allow_ips.iter().flat_map(|peers| peers.networks()).collect();
        ProxyRules { mode: self.proxy_protocol, peers }
    }

    /// Whom to believe about a request.
    pub fn trust(&self) -> Trust {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Trust {
            peers: self.forwarded_allow_ips.iter().flat_map(|peers| peers.networks()).collect(),
            scheme_fields: self.secure_scheme_headers.iter().map(|(name, https)| (bytes(name), bytes(https))).collect(),
            forwarder_fields: self.forwarder_headers.iter().map(|name| bytes(name.as_str())).collect(),
            underscored: self.header_map.policy(),
        }
    }

    /// How many threads of each worker call the application.
    pub fn threads(&self) -> usize {
        self.threads as usize
    }

    /// How workers run the application: with several threads it is `gthread` whatever is said, as in gunicorn.
    pub fn class(&self) -> WorkerClass {
        if self.threads > 1 { WorkerClass::Gthread } else { self.worker_class }
    }

    /// Between how many and how many workers the load decides, if it does, where `usable` CPUs are to be had.
    pub fn worker_bounds(&self, usable: usize) -> Option<(usize, usize)> {
        let (least, most) = self.bounds(usable);
        (least < most).then_some((least, most))
    }

    /// After so long, no request comes to a worker that retires any more.
    pub fn time_to_fade(&self) -> Duration {
        self.lame_duck.duration().min(self.graceful_timeout.duration() / 2)
    }

    /// How many workers there are at the start.
    pub fn first_workers(&self, usable: usize) -> usize {
        let (least, most) = self.bounds(usable);
        self.workers.number(usable).clamp(least, most)
    }

    /// The most workers that the load may ask for.
    pub fn most_workers(&self, usable: usize) -> usize {
        self.bounds(usable).1
    }

    fn bounds(&self, usable: usize) -> (usize, usize) {
        let workers = self.workers.number(usable);
        let or_workers = |count: u32| if count == 0 { workers } else { count as usize };
        let (least, most) = (or_workers(self.workers_min), or_workers(self.workers_max));
        // Where only one of them is given and `workers` lies beyond it.
        if self.workers_max == 0 { (least, most.max(least)) } else { (least.min(most), most) }
    }

    /// Does somebody want to know how busy the workers are?
    pub fn is_measured(&self) -> bool {
        self.worker_bounds(1).is_some() || self.idle.limit().is_some()
    }

    /// Is there a socket that somebody else holds, who starts the server again, and is it to end when nobody comes?
    pub fn dies_on_idle(&self) -> bool {
        let is_passed = |bind: &Bind| matches!(bind, Bind::Fd(_) | Bind::Named(_));
        self.die_on_idle && self.bind.iter().any(is_passed)
    }

    /// When a worker with a request that has begun so long ago is killed, if ever: well after it should have ended that itself.
    pub fn kill_after(&self) -> Option<Duration> {
        let grace = match self.timeout_mode {
            TimeoutMode::Warn => return None,
            TimeoutMode::Soft => self.timeout_grace.duration(),
            TimeoutMode::Hard => Duration::ZERO,
        };
        self.timeout.limit().map(|timeout| timeout + grace + SECOND_LINE)
    }

    /// Where the control socket is, if there is one: as said, or beside the pid file.
    pub fn control_path(&self) -> Option<PathBuf> {
        match &self.control_socket {
            Some(ControlSocket::Off) => None,
            Some(ControlSocket::At(path)) => Some(path.clone()),
            None => self
                .pidfile
                .as_ref()
                .map(|path| path.with_extension("ctl"))
                .filter(|path| Some(path) != self.pidfile.as_ref()),
        }
    }

    /// The same, with the relative paths of what the server opens itself as they are seen from where it is started: they
    /// count from `chdir`, as in gunicorn.
    #[must_use]
    pub fn seen_from_start(mut self) -> Settings {
        let Some(directory) = self.chdir.clone() else { return self };
        let place = |path: &mut PathBuf| *path = directory.join(&*path);
        self.pidfile.iter_mut().for_each(place);
        for target in [Some(&mut self.errorlog), self.accesslog.as_mut()].into_iter().flatten() {
            if let LogTarget::File(path) = target {
                place(path);
            }
        }
        if let Some(ControlSocket::At(path)) = &mut self.control_socket {
            place(path);
        }
        for bind in &mut self.bind {
            if let Bind::Unix(path) = bind {
                place(path);
            }
        }
        self
    }

    /// Do the settings name a logger of Python's? A `logconfig_dict`, which is no setting, may do so, too.
    pub fn is_logged_by_python(&self) -> bool {
        let is_usual = [LOGGER_CLASS].iter().chain(OTHER_NAMES).any(|name| *name == self.logger_class);
        !is_usual || self.logconfig.is_some() || self.logconfig_json.is_some()
    }

    /// What the processes are called: `proc_name`, else the application's name.
    pub fn title(&self) -> String {
        let app = || self.wsgi_app.as_ref().map(ToString::to_string);
        self.proc_name.clone().or_else(app).unwrap_or_default()
    }
}

/// What else gunicorn calls classes that do no more than rwsgi does by itself.
const OTHER_NAMES: &[&str] = &["simple", "gunicorn.instrument.statsd.Statsd"];
/// A worker that is at work has done its part by then, on a busy machine too.
const SECOND_LINE: Duration = Duration::from_millis(500);
/// The largest value that the settings take, in bytes.
const MOST_LINE: u32 = 1 << 20;
/// The largest head, in bytes: a few of the largest lines.
const MOST_HEAD: u32 = 1 << 26;
/// A CRLF for each of two lines and the empty one.
const LINE_ENDS: usize = 6;
/// gunicorn's cap.
const MOST_FIELDS: u32 = 32_768;
