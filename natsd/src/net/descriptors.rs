//! How many sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asks for as many descriptors as the system allows, as Go programs do at their start: shells
/// give 1024, which is not many clients. Refused, it stays as it is.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::debug!("Could not raise the limit of open files ({current:?}): {error}");
    }
}
