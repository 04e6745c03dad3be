//! One run: a server, the generator, and its report.

use std::time::{Duration, Instant};

use edgeloop_reactor::Signals;

use super::cores::Cores;
use super::model::Model;
use super::plan::{Plan, Point};
use super::process::{Missing, Process};
use super::programs::Programs;
use super::report::Report;

/// How long a server without clients may take to end before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// The setting of all runs.
#[derive(Debug)]
pub struct Bench {
    /// The programs to start.
    pub programs: Programs,
    /// Their cores.
    pub cores: Cores,
    /// The signals that end the comparison.
    pub signals: Signals,
}

impl Bench {
    /// Starts the server of a model, puts the load of that point on it, and ends both.
    pub fn run(&self, plan: &Plan, point: Point, model: Model) -> Result<Report, Missing> {
        let start = |command, core| Process::start(command, core).map_err(Missing::Failed);
        let mut server = start(
            self.programs.server(model, point.workload),
            self.cores.server,
        )?;
        let address = server.address().map_err(Missing::Failed)?;
        let command = self.programs.generator(plan, point, &address, &server.id());
        let mut generator = start(command, self.cores.generator)?;
        let measured = Duration::from_millis(plan.warm_up_ms + plan.duration_ms);
        let deadline = Instant::now() + measured + plan.patience();
        let output = match generator.output(deadline, &self.signals) {
            Ok(output) => Ok(output),
            Err(Missing::Failed(why)) => Err(why),
            // Dropped, both are killed.
            Err(Missing::Interrupted) => return Err(Missing::Interrupted),
        };
        generator.stop(if output.is_ok() {
            END_PATIENCE
        } else {
            Duration::ZERO
        });
        server.stop(END_PATIENCE);
        judge(output, server.complaint(), generator.complaint()).map_err(Missing::Failed)
    }
}

/// The report, if there is one and every answer came. Of a failure, the server's own complaint
/// comes first: it is the cause, and the generator's the consequence.
fn judge(
    output: Result<String, String>,
    server: Option<String>,
    generator: Option<String>,
) -> Result<Report, String> {
    let symptom = match output.map(|output| Report::parse(&output)) {
        Ok(Ok(report)) => match report.complaint() {
            None => return Ok(report),
            Some(complaint) => complaint,
        },
        Ok(Err(error)) => generator.unwrap_or(error),
        Err(why) => why,
    };
    Err(match server {
        Some(cause) => format!("{cause}; the clients: {symptom}"),
        None => symptom,
    })
}
