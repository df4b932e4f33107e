//! The setup of a worker: the part of settings and inheritance that the worker's loop needs, in its own types.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use rwsgi::http::access_log::AccessFormat;
use rwsgi::log::{AccessLog, Destination};
use rwsgi::message::{BootFailure, Fork};
use rwsgi::os::scoreboard::Slot;
use rwsgi::os::signal::Signals;
use rwsgi::os::{heap, limits};
use rwsgi::settings::Settings;
use rwsgi::worker::{
    AccessRules, BodyBudget, ErrorPages, Handoff, Orders, ReceiveLimits, ResponseRoom, SendLimits, ServeRules, Setup,
    Timeouts,
};

use crate::hooks::loggers::Loggers;
use crate::processes::inheritance::Inheritance;

/// Returns the setup of the worker in a slot. Its timeout is left out.
pub(crate) fn setup(
    inheritance: &'static Inheritance,
    fork: Fork,
    signals: Signals,
    orders: Orders<'static>,
) -> Result<Setup<'static>, BootFailure> {
    let settings = &inheritance.start.settings;
    let threads = settings.threads();
    let slots = (fork.slot * threads..(fork.slot + 1) * threads).map(|number| inheritance.scoreboard.slot(number));
    let slots: Vec<Slot> = slots.collect::<Option<_>>().ok_or_else(|| BootFailure::setup(&"no such slot"))?;
    slots.iter().for_each(Slot::clear);
    if heap::KEPT_BY.iter().all(|name| std::env::var_os(name).is_none()) {
        heap::keep_freed();
    }
    Ok(Setup {
        listeners: &inheritance.listeners,
        tls: inheritance.tls.clone(),
        signals,
        orders,
        slots,
        is_measured: settings.is_measured(),
        handoff: handoff(inheritance, fork, threads),
        has_others: has_others(settings),
        worker_connections: usize::try_from(settings.worker_connections).unwrap_or(usize::MAX),
        max_requests: fork.max_requests,
        serve: rules(inheritance)?,
        timeout: None,
        on_quit: None,
        access: access(inheritance)?,
    })
}

/// Returns the rules by which the worker serves connections.
fn rules(inheritance: &Inheritance) -> Result<ServeRules, BootFailure> {
    let settings = &inheritance.start.settings;
    Ok(ServeRules {
        limits: settings.limits(),
        proxy: settings.proxy(),
        trust: settings.trust(),
        error_pages: error_pages(settings)?,
        timeouts: Timeouts {
            keep_alive: settings.keepalive.duration(),
            head: settings.client_header_timeout.limit(),
            receive: ReceiveLimits {
                stall: settings.client_body_timeout.limit(),
                rate: settings.minimum_receive_rate.limit(),
            },
            queue: settings.queue_timeout.limit(),
            send: SendLimits { stall: settings.send_timeout.limit(), rate: settings.minimum_send_rate.limit() },
            lingering: settings.lingering_timeout.duration(),
            // A request that comes during the drain has to end in time, too.
            drain: settings.time_to_fade(),
        },
        post_buffering: usize::try_from(settings.post_buffering.0).unwrap_or(usize::MAX),
        spill_directory: inheritance.spill_directory.clone(),
        budget: budget(settings),
        responses: ResponseRoom {
            memory: usize::try_from(settings.response_memory.limit().unwrap_or(u64::MAX)).unwrap_or(usize::MAX),
            files: settings.spill_space.limit().unwrap_or(u64::MAX),
        },
    })
}

/// Returns the bounds of all request bodies. Those in memory leave half of the address space to everything else.
fn budget(settings: &Settings) -> Arc<BodyBudget> {
    let left = limits::address_space_left().map(|left| left / 2);
    if left.is_some() && !heap::hold_reserve() {
        tracing::warn!("no memory for a reserve\nhint: limit_as allows for more of it");
    }
    BodyBudget::new(settings.request_memory.limit().into_iter().chain(left).min(), settings.spill_space())
}

/// True if other workers may take over connections. A TLS session cannot leave its process.
fn has_others(settings: &Settings) -> bool {
    settings.most_workers(1) > 1 && settings.tls().is_none()
}

fn handoff(inheritance: &'static Inheritance, fork: Fork, threads: usize) -> Handoff<'static> {
    // The first free slot is used first; replacements run beside the workers that end.
    let workers = 2 * inheritance.start.settings.most_workers(1) + SCALED_UP;
    Handoff::new(&inheritance.handoff, inheritance.scoreboard.clone(), workers, threads, fork.slot)
}

fn error_pages(settings: &Settings) -> Result<ErrorPages, BootFailure> {
    let Some(directory) = &settings.error_pages else { return Ok(ErrorPages::default()) };
    ErrorPages::read(directory)
        .map_err(|error| BootFailure::setup(&format!("error_pages: {}: {error}", directory.display())))
}

fn access(inheritance: &Inheritance) -> Result<Option<AccessRules>, BootFailure> {
    let file = inheritance.access_log.lock().unwrap_or_else(PoisonError::into_inner);
    let file = file.as_ref().map(OwnedFd::try_clone).transpose().map_err(|error| BootFailure::setup(&error))?;
    let is_elsewhere = inheritance.loggers.as_ref().is_some_and(Loggers::write_access);
    let log = AccessLog::open(file.map(Destination::Fd), is_elsewhere).map_err(|error| BootFailure::setup(&error))?;
    let Some(log) = log else { return Ok(None) };
    if is_elsewhere {
        // It only counts lines.
        return Ok(Some(AccessRules { log, format: AccessFormat::default(), skipped: Vec::new() }));
    }
    let format = AccessFormat::parse(&inheritance.start.settings.access_log_format)
        .map_err(|error| BootFailure::setup(&error))?;
    let skipped = inheritance.start.settings.access_log_skip.iter().map(|path| path.as_str().to_owned()).collect();
    Ok(Some(AccessRules { log, format, skipped }))
}

/// Most workers started by TTIN to which connections are handed.
const SCALED_UP: usize = 32;
