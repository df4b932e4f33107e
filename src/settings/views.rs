//! Narrow views of the settings, for rooms that must not know the origin of a value.

use std::path::PathBuf;
use std::time::Duration;

use super::table::LOGGER_CLASS;
use super::types::{Bind, Ciphers, ClientCertificates, ControlSocket, LogTarget, TimeoutMode, TlsVersion};
use super::{Settings, WorkerClass};
use crate::http::{Leniency, Limits, ProxyRules, Trust};

/// The settings of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTerms {
    /// `certfile`; `None` if only a key was given.
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
    /// Returns the TLS settings if there is a certificate or a key, as in gunicorn. Paths are relative to `chdir`.
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

    /// Returns the limits of requests. In the settings, 0 means the largest possible value.
    pub fn limits(&self) -> Limits {
        let most = |value: u32, most: u32| if value == 0 { most } else { value } as usize;
        let request_line = most(self.limit_request_line, MOST_LINE);
        let field_size = most(self.limit_request_field_size, MOST_LINE);
        Limits {
            request_line,
            fields: most(self.limit_request_fields, MOST_FIELDS),
            field_size,
            // At least large enough for the lines that the other limits allow.
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

    /// Returns the size of the largest buffered body, if bodies are buffered and limited.
    fn largest_buffered(&self) -> Option<u64> {
        let memory = self.post_buffering.limit()?;
        self.spill_limit.limit().map(|file| file.max(memory))
    }

    /// Returns the most bytes of all buffered bodies in files of one worker. One of the largest has room.
    pub fn spill_space(&self) -> Option<u64> {
        let largest = self.spill_limit.limit().unwrap_or(0).saturating_add(READ_AHEAD);
        self.spill_space.limit().map(|space| space.max(largest))
    }

    /// Returns the mode of PROXY headers and their trusted peers.
    pub fn proxy(&self) -> ProxyRules {
        let peers = self.proxy_allow_ips.iter().flat_map(|peers| peers.networks()).collect();
        ProxyRules { mode: self.proxy_protocol, peers }
    }

    /// Returns the rules that trust proxies about a request.
    pub fn trust(&self) -> Trust {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Trust {
            peers: self.forwarded_allow_ips.iter().flat_map(|peers| peers.networks()).collect(),
            scheme_fields: self.secure_scheme_headers.iter().map(|(name, https)| (bytes(name), bytes(https))).collect(),
            forwarder_fields: self.forwarder_headers.iter().map(|name| bytes(name.as_str())).collect(),
            underscored: self.header_map.policy(),
        }
    }

    /// Returns the number of threads per worker that call the application.
    pub fn threads(&self) -> usize {
        self.threads as usize
    }

    /// Returns the worker class. With several threads it is always `gthread`, as in gunicorn.
    pub fn class(&self) -> WorkerClass {
        if self.threads > 1 { WorkerClass::Gthread } else { self.worker_class }
    }

    /// Returns the bounds between which the load sets the number of workers, if it does.
    pub fn worker_bounds(&self, usable: usize) -> Option<(usize, usize)> {
        let (least, most) = self.bounds(usable);
        (least < most).then_some((least, most))
    }

    /// Returns the time after which a retiring worker is sent no more requests.
    pub fn time_to_fade(&self) -> Duration {
        self.lame_duck.duration().min(self.graceful_timeout.duration() / 2)
    }

    /// Returns the number of workers at the start.
    pub fn first_workers(&self, usable: usize) -> usize {
        let (least, most) = self.bounds(usable);
        self.workers.number(usable).clamp(least, most)
    }

    /// Returns the largest number of workers that the load may ask for.
    pub fn most_workers(&self, usable: usize) -> usize {
        self.bounds(usable).1
    }

    fn bounds(&self, usable: usize) -> (usize, usize) {
        let workers = self.workers.number(usable);
        let or_workers = |count: u32| if count == 0 { workers } else { count as usize };
        let (least, most) = (or_workers(self.workers_min), or_workers(self.workers_max));
        // Only one bound is given, and `workers` is beyond it.
        if self.workers_max == 0 { (least, most.max(least)) } else { (least.min(most), most) }
    }

    /// True if the share of busy time is measured.
    pub fn is_measured(&self) -> bool {
        self.worker_bounds(1).is_some() || self.idle.limit().is_some()
    }

    /// True if `die_on_idle` applies: it is set, and another program holds a socket by which it starts the server
    /// again.
    pub fn dies_on_idle(&self) -> bool {
        let is_passed = |bind: &Bind| matches!(bind, Bind::Fd(_) | Bind::Named(_));
        self.die_on_idle && self.bind.iter().any(is_passed)
    }

    /// Returns the age of a request at which its worker is killed. The worker itself has ended the request well before.
    pub fn kill_after(&self) -> Option<Duration> {
        let grace = match self.timeout_mode {
            TimeoutMode::Warn => return None,
            TimeoutMode::Soft => self.timeout_grace.duration(),
            TimeoutMode::Hard => Duration::ZERO,
        };
        self.timeout.limit().map(|timeout| timeout + grace + SECOND_LINE)
    }

    /// Returns the path of the control socket: the setting, or beside the pid file.
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

    /// True if no setting names the control socket, and none turns it off: it is in a private directory of the user.
    pub fn has_default_control(&self) -> bool {
        self.control_socket.is_none() && self.control_path().is_none()
    }

    /// Returns the settings with the paths of files that the server opens made relative to the start directory. They
    /// are given relative to `chdir`, as in gunicorn.
    #[must_use]
    pub fn seen_from_start(mut self) -> Settings {
        let Some(directory) = self.chdir.clone() else { return self };
        let place = |path: &mut PathBuf| *path = directory.join(&*path);
        self.pidfile.iter_mut().chain(&mut self.env_file).for_each(place);
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

    /// True if the settings name a Python logger. `logconfig_dict`, which is no setting, can do so too.
    pub fn is_logged_by_python(&self) -> bool {
        let is_usual = [LOGGER_CLASS].iter().chain(OTHER_NAMES).any(|name| *name == self.logger_class);
        !is_usual || self.logconfig.is_some() || self.logconfig_json.is_some()
    }

    /// Returns the title of the processes: `proc_name`, else the application's name.
    pub fn title(&self) -> String {
        let app = || self.wsgi_app.as_ref().map(ToString::to_string);
        self.proc_name.clone().or_else(app).unwrap_or_default()
    }
}

/// Other classes of gunicorn that do no more than rwsgi does itself.
const OTHER_NAMES: &[&str] = &["simple", "gunicorn.instrument.statsd.Statsd"];
/// Room for a body is asked for ahead of reading this much of it.
const READ_AHEAD: u64 = 64 * 1024;
/// The time in which a live worker has ended the request itself, on a busy machine too.
const SECOND_LINE: Duration = Duration::from_millis(500);
/// The largest value that the settings accept, in bytes.
const MOST_LINE: u32 = 1 << 20;
/// The largest head, in bytes: a few of the largest lines.
const MOST_HEAD: u32 = 1 << 26;
/// A CRLF for each of two lines and the empty one.
const LINE_ENDS: usize = 6;
/// gunicorn's cap.
const MOST_FIELDS: u32 = 32_768;
