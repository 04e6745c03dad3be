//! The figures that a test holds `edgeloop` to, and the toolchain that they belong to.
//!
//! A change that is meant to cost more, or less, writes its figures here.

use std::fmt;

use super::counted::valgrind;
use super::load::Load;
use crate::compare::machine::{first_line, processor_has};

/// The greatest deviation of a figure from its reference.
pub const TOLERANCE: f64 = 0.05;

/// The cost of one load.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// The load.
    pub load: Load,
    /// Instructions in user space, for a message.
    pub instructions: f64,
    /// Reads of the clock in a turn, if their number does not depend on the machine: a turn with much
    /// work looks at the clock now and then, and ends early if it is late.
    pub clock_reads: Option<f64>,
}

/// `edgeloop` in release, with the options of [`Load::server`].
pub const OURS: [Reference; 4] = [
    reference(Load::Echo, 251.0, Some(2.0)),
    reference(Load::Connect, 1_179.0, Some(1.67)),
    reference(Load::Datagram, 419.0, Some(1.0)),
    reference(Load::Chat, 60.0, None),
];

/// The toolchain that the figures above belong to.
pub const TOOLCHAIN: &str =
    "rustc 1.95.0 (59807616e 2026-04-14), glibc 2.36, valgrind-3.19.0, x86_64 with AVX2";

const fn reference(load: Load, instructions: f64, clock_reads: Option<f64>) -> Reference {
    Reference {
        load,
        instructions,
        clock_reads,
    }
}

/// Everything beside the code of this project that decides on the figures. Valgrind shows programs a
/// processor with AVX2 at most, and both compiler and C library have code for processors that have it.
#[derive(Clone, Debug)]
pub struct Toolchain {
    rustc: String,
    libc: String,
    valgrind: String,
    processor: String,
}

impl Toolchain {
    /// The toolchain of this machine.
    #[must_use]
    pub fn here() -> Toolchain {
        let known = |line: Option<String>| line.unwrap_or_else(|| "unknown".into());
        let avx2 = if processor_has("avx2") {
            "with"
        } else {
            "without"
        };
        Toolchain {
            rustc: known(first_line("rustc", &["--version"])),
            libc: known(first_line("getconf", &["GNU_LIBC_VERSION"])),
            valgrind: known(valgrind().ok()),
            processor: format!("{} {avx2} AVX2", std::env::consts::ARCH),
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Toolchain {
            rustc,
            libc,
            valgrind,
            processor,
        } = self;
        write!(formatter, "{rustc}, {libc}, {valgrind}, {processor}")
    }
}
