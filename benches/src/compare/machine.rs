//! The machine of a comparison.

use std::fs;
use std::process::Command;

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

/// A machine, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many cores the comparison may use.
    pub cores: usize,
    /// Whether it is a virtual machine, whose cores other guests may use too.
    pub virtual_machine: bool,
    /// The kernel's policy for the clock frequency, if the kernel tells.
    pub governor: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's name, release and architecture.
    pub kernel: String,
}

impl Machine {
    /// The machine that this program runs on.
    #[must_use]
    pub fn here() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            processor: field(&cpuinfo, "model name")
                .unwrap_or("unknown")
                .to_owned(),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            virtual_machine: has_flag(&cpuinfo, "hypervisor"),
            governor: governor(),
            memory_bytes: memory("MemTotal"),
            kernel: kernel(),
        }
    }

    /// Rows of a table: a name and a value.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let kind = if self.virtual_machine {
            " (a virtual machine)"
        } else {
            ""
        };
        let governor = self.governor.as_deref().unwrap_or("unknown");
        vec![
            ("Processor", format!("{}{kind}", self.processor)),
            ("Cores", self.cores.to_string()),
            ("Frequency governor", governor.to_owned()),
            (
                "Memory",
                format!("{:.1} GiB", self.memory_bytes as f64 / (1_u64 << 30) as f64),
            ),
            ("Kernel", self.kernel.clone()),
        ]
    }
}

/// A line of `/proc/meminfo`, in bytes; 0 if there is none.
#[must_use]
pub fn memory(name: &str) -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field(&meminfo, name).and_then(|value| value.split_whitespace().next()?.parse().ok());
    kib.map_or(0, |kib: u64| kib * 1024)
}

/// Whether the processor has this in its flags.
#[must_use]
pub fn processor_has(flag: &str) -> bool {
    has_flag(
        &fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
        flag,
    )
}

/// The first line of output of a program, if it ends well.
#[must_use]
pub fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

/// The value in the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

fn has_flag(cpuinfo: &str, flag: &str) -> bool {
    let flags = field(cpuinfo, "flags").unwrap_or_default();
    flags.split_whitespace().any(|word| word == flag)
}

fn governor() -> Option<String> {
    let path = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn kernel() -> String {
    let Ok(names) = uname() else {
        return "unknown".into();
    };
    let words = [names.sysname(), names.release(), names.machine()];
    words.map(|word| word.to_string_lossy()).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_among_others() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A B @ 2 GHz\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(cpuinfo, "model name"), Some("A B @ 2 GHz"));
        assert_eq!(field(cpuinfo, "model"), None);
        assert!(has_flag(cpuinfo, "hypervisor"));
        assert!(!has_flag(cpuinfo, "hyper"));
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
    }
}
