//! The message of the day, read from its file while the server runs.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use edgeloop_reactor::reason;
use nix::libc::O_NONBLOCK;

/// What a file says now. Only a regular file is read: anything else could make the loop wait.
/// Errors: in one line, why it cannot be.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let failed = |error| format!("{}: {}", path.display(), reason(&error));
    let options = File::options().read(true).custom_flags(O_NONBLOCK).clone();
    let mut file = options.open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("{} is no regular file", path.display()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
