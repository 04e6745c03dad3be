//! The frames that children pass to their parent, all by one pipe.
//!
//! A write of up to `PIPE_BUF` bytes is never mixed with another (pipe(7)), so a frame is no longer
//! than that. A longer text takes several frames, with frames of other members between them.

use std::io::{self, ErrorKind, Read, Write};

use nix::libc::PIPE_BUF;

/// The number of the member in 32 bits, the kind and how many bytes follow in 16 each.
const HEADER: usize = size_of::<u64>();
/// The most that a frame carries.
pub(super) const BYTES_MAX: usize = PIPE_BUF - HEADER;
/// The capacity of a pipe, so that one read can find all of it (pipe(7)), and one frame.
const ROOM: usize = 64 * 1024 + PIPE_BUF;

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A member's name.
    Name,
    /// A part of the text for the others.
    Said,
    /// Nothing more will come from this member.
    End,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Name, Kind::Said, Kind::End];
}

/// A child's message to its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The number of the member.
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// No more than [`BYTES_MAX`].
    pub(super) bytes: &'a [u8],
}

impl Frame<'_> {
    /// Puts it into the pipe.
    pub(super) fn write(self, mut pipe: impl Write) -> io::Result<()> {
        let Frame {
            number,
            kind,
            bytes,
        } = self;
        let header = u64::from(number) << 32 | (kind as u64) << 16 | bytes.len() as u64;
        let mut frame = [0; PIPE_BUF];
        let end = HEADER + bytes.len();
        frame[..HEADER].copy_from_slice(&header.to_ne_bytes());
        frame[HEADER..end].copy_from_slice(bytes);
        pipe.write_all(&frame[..end])
    }
}

/// Takes frames out of the pipe.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: Box<[u8]>,
    /// So much of the buffer is the beginning of a frame.
    begun: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            buffer: vec![0; ROOM].into(),
            begun: 0,
        }
    }
}

impl Frames {
    /// Reads once, and calls `each` for every frame of which the end has come.
    pub(super) fn read(
        &mut self,
        mut pipe: impl Read,
        mut each: impl FnMut(Frame<'_>),
    ) -> io::Result<()> {
        let length = match pipe.read(&mut self.buffer[self.begun..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            length => length?,
        };
        let end = self.begun + length;
        let mut start = 0;
        while let Some(frame) = first(&self.buffer[start..end])? {
            each(frame);
            start += HEADER + frame.bytes.len();
        }
        self.buffer.copy_within(start..end, 0);
        self.begun = end - start;
        Ok(())
    }
}

/// The first frame, if it is complete.
fn first(bytes: &[u8]) -> io::Result<Option<Frame<'_>>> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let header = u64::from_ne_bytes(*header);
    let [kind, length] = [header >> 16, header].map(|field| usize::from(field as u16));
    let kind = *Kind::ALL.get(kind).ok_or(ErrorKind::InvalidData)?;
    let frame = |bytes| Frame {
        number: (header >> 32) as u32,
        kind,
        bytes,
    };
    Ok(rest.get(..length).map(frame))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out so much at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(buffer.len());
            self.0.read(&mut buffer[..length])
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_however_it_is_read(
            sent in prop::collection::vec((any::<u32>(), 0..3usize, 0..=BYTES_MAX), 1..8),
            step in 1..10_000usize,
        ) {
            let bytes = crate::message(BYTES_MAX);
            let expected: Vec<Frame<'_>> = sent
                .into_iter()
                .map(|(number, kind, length)| (number, Kind::ALL[kind], &bytes[..length]))
                .map(|(number, kind, bytes)| Frame { number, kind, bytes })
                .collect();
            let mut pipe = Vec::new();
            expected.iter().for_each(|frame| frame.write(&mut pipe).unwrap());

            let (mut slow, mut frames, mut seen) = (Slow(&pipe, step), Frames::default(), 0);
            while !slow.0.is_empty() {
                frames.read(&mut slow, |frame| {
                    assert_eq!(frame, expected[seen]);
                    seen += 1;
                }).unwrap();
            }
            prop_assert_eq!(seen, expected.len());
        }
    }

    /// Counts what is written at once.
    struct Writes(Vec<usize>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_frame_is_one_write_that_others_cannot_divide() {
        let mut writes = Writes(Vec::new());
        for bytes in [&[0; BYTES_MAX][..], &[]] {
            let (number, kind) = (1, Kind::Said);
            let frame = Frame {
                number,
                kind,
                bytes,
            };
            frame.write(&mut writes).unwrap();
        }
        assert_eq!(writes.0, [PIPE_BUF, HEADER]);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let read = Frames::default().read(&[0xff; 64][..], |_| ());
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
