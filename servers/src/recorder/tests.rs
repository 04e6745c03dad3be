//! Recorders with real files and FIFOs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, read};

use super::lines::LINE_MAX;
use super::*;

static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

const TEST: Record = Record {
    name: "test",
    gap: |lines| format!("missing: {lines}\n"),
    complain: |why| complaints().push(why.into()),
    resumed: |_| {},
};

fn complaints() -> MutexGuard<'static, Vec<String>> {
    COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(path: &Path) -> Recorder {
    end_late();
    Recorder::open(path, &TEST).unwrap()
}

/// Records lines with these numbers.
fn record(recorder: &Recorder, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        recorder.line(format!("{number}\n").as_bytes());
    }
}

/// A FIFO of a page, with both its ends open so that it stays.
fn fifo(path: &Path) -> File {
    mkfifo(path, Mode::S_IRWXU).unwrap();
    let both_ends = File::options().read(true).write(true).open(path).unwrap();
    fcntl(&both_ends, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    both_ends
}

#[test]
fn a_line_that_is_too_long_is_cut_and_one_that_has_no_room_is_lost() {
    let (recorder, reader, lost) = Recorder::for_test(4096);
    recorder.line("x".repeat(5000).as_bytes());
    recorder.line(b"no room\n");
    assert_eq!(lost.read(), Ok(1));
    let mut text = vec![0; 5000];
    let count = read(&reader, &mut text).unwrap();
    assert_eq!(count, LINE_MAX);
    assert!(text[..count].ends_with(b"xx [...]\n"));
}

#[test]
fn lines_before_a_reopening_go_to_the_old_file_and_lines_after_it_to_the_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let old = |number: usize| directory.path().join(number.to_string());
    let recorder = open(&path);
    for round in 0..100 {
        record(&recorder, [2 * round]);
        fs::rename(&path, old(round)).unwrap();
        recorder.reopen();
        record(&recorder, [2 * round + 1]);
        assert!(recorder.finish(&[]));
    }
    let content = |path| fs::read_to_string(path).unwrap();
    assert_eq!(content(old(0)), "0\n");
    for round in 1..100 {
        let expected = format!("{}\n{}\n", 2 * round - 1, 2 * round);
        assert_eq!(content(old(round)), expected);
    }
    assert_eq!(content(path), "199\n");
}

#[test]
fn a_reader_that_pauses_costs_lines_that_are_counted_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("paused");
    let reader = fifo(&path);
    let recorder = open(&path);
    fcntl(&recorder.pipe, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    record(&recorder, 0..10_000);
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    let (mut kept, mut missing) = (0, None);
    while missing.is_none() {
        let line = lines.next().unwrap();
        missing = line.strip_prefix("missing: ").map(str::to_owned);
        if missing.is_none() {
            let number: usize = line.parse().unwrap();
            assert!(number >= kept, "in order, and whole");
            kept += 1;
        }
    }
    assert_eq!(missing.unwrap().parse(), Ok(10_000 - kept));
    record(&recorder, [10_000]);
    assert_eq!(lines.next().unwrap(), "10000");
}

#[test]
fn a_reopening_helps_where_the_reader_has_stopped_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stopped");
    let mut reader = fifo(&path);
    let recorder = open(&path);
    record(&recorder, 0..2000);
    fs::rename(&path, directory.path().join("old")).unwrap();
    recorder.reopen();
    record(&recorder, [2000]);
    assert!(recorder.finish(&[]));
    drop(recorder);
    let mut first = vec![0; 4096];
    let count = reader.read(&mut first).unwrap();
    first.truncate(count);
    let all = String::from_utf8(first).unwrap() + &fs::read_to_string(path).unwrap();
    let numbers: Vec<usize> = all.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..=2000).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_opened_is_told_and_does_not_wait() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let complaint = |path: &Path| Recorder::open(path, &TEST).unwrap_err();
    assert!(complaint(&path).ends_with("/fifo: no process reads this FIFO"));
    assert!(complaint(directory.path()).ends_with(": Is a directory"));
}

#[test]
fn a_failure_is_complained_of_once_and_the_file_stays_if_there_is_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vanished");
    let reader = fifo(&path);
    let recorder = open(&path);
    drop(reader);
    for number in 0..10 {
        record(&recorder, [number]);
        assert!(recorder.finish(&[]));
    }
    recorder.reopen();
    assert!(recorder.finish(&[]));
    let about_it = |why: &&String| why.contains("Broken pipe") || why.contains("vanished");
    let complaints = complaints();
    let complaints: Vec<&String> = complaints.iter().filter(about_it).collect();
    assert_eq!(complaints[0], "cannot write the test: Broken pipe");
    assert!(complaints[1].starts_with("cannot open the test anew: "));
    assert_eq!(complaints.len(), 2, "{complaints:?}");
}
