//! Certificates and keys of a generation: read with the master's rights, and handed to the zygote, which has fewer.

use std::os::fd::OwnedFd;
use std::time::SystemTime;

use super::{AnyError, Origins};
use crate::os::memfd;
use crate::settings::Settings;
use crate::tls::Material;

/// Returns certificates and keys, checked, in a sealed file; `None` without TLS.
pub(super) fn read(settings: &Settings, origins: &Origins) -> Result<Option<OwnedFd>, AnyError> {
    let Some(terms) = settings.tls() else { return Ok(None) };
    let material = Material::read(&terms).map_err(|problem| origins.blame(problem.setting, &problem))?;
    if let Some(remark) = material.remark(SystemTime::now()) {
        let path = terms.certificate.unwrap_or_default();
        tracing::warn!(certfile = %path.display(), "{remark}");
    }
    Ok(Some(memfd::file(&serde_json::to_vec(&material)?)?))
}
