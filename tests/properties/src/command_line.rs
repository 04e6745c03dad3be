//! Command lines, and the durations and sizes on them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use edgeloop::values::{duration, number, positive, size};

/// A command line is understood, or refused in a few lines with status 2; `--help` and `--version`
/// are no failures.
pub fn command_line(input: &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let name = ["edgeloop", "edgecall"][usize::from(first % 2)];
    let mut arguments = vec![OsString::from(name)];
    let words = rest.split(|byte| matches!(byte, 0 | b'\n'));
    arguments.extend(words.map(|word| OsString::from_vec(word.to_vec())));
    let checked = match name {
        "edgeloop" => edgeloop::check_command_line(arguments, |_| None),
        _ => edgecall::check_command_line(arguments, |_| None),
    };
    if let Err(refusal) = checked {
        let expected = if refusal.use_stderr() { 2 } else { 0 };
        assert_eq!(refusal.exit_code(), expected);
        let text = refusal.render().to_string();
        assert!(text.ends_with('\n'), "{text:?}");
        if refusal.use_stderr() {
            assert!(text.len() < 4000 + 40 * rest.len(), "{} bytes", text.len());
        }
    }
    // A variable may have any value too, and its refusal has to name it.
    let value = OsString::from_vec(rest.to_vec());
    let variable = move |name: &str| name.ends_with("_TIMEOUT").then(|| value.clone());
    let typed = ["edgeloop", "echo"].map(OsString::from).to_vec();
    if let Err(refusal) = edgeloop::check_command_line(typed, variable) {
        let text = refusal.render().to_string();
        assert!(text.contains("EDGELOOP_"), "which variable? {text:?}");
    }
}

/// Values as they are shown are read as the same values; a refusal is a line with the right form.
pub fn values(input: &[u8]) {
    if let Some((bytes, _)) = input.split_first_chunk() {
        let seconds = u64::from_le_bytes(*bytes);
        // Two weeks: humantime shows months, which are too long a unit on a command line.
        let time = Duration::from_millis(seconds % 1_209_600_000);
        let shown = humantime::format_duration(time).to_string();
        assert_eq!(duration(&shown), Ok(time), "{shown}");
        let bytes = usize::try_from(seconds).unwrap_or(usize::MAX);
        assert_eq!(number(&bytes.to_string()), Ok(bytes));
        assert_eq!(positive::<usize>(&bytes.to_string()).is_ok(), bytes > 0);
        let exact = seconds % (1 << 40);
        assert_eq!(size(&exact.to_string()), Ok(exact as usize));
        assert_eq!(size(&format!("{exact}KiB")), Ok(1024 * exact as usize));
    }
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let refusals = [
        duration(text).err(),
        size(text).err(),
        number::<u32>(text).err(),
        positive::<usize>(text).err(),
    ];
    for refusal in refusals.into_iter().flatten() {
        assert!(!refusal.is_empty() && refusal.len() <= 200 + text.len());
    }
}
