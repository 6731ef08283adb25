//! Drivers of one page, each in a process of its own: our engine, and wrk. What a driver used is read from the system
//! once it has ended, before it is reaped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::process;

/// How long a driver may take beyond the time it was told.
const PATIENCE: Duration = Duration::from_secs(30);

/// One page, asked for as fast as it is answered.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    /// Where the server answers.
    pub(super) url: String,
    /// The page.
    pub(super) path: String,
    /// Connections at once.
    pub(super) connections: u32,
    /// How long.
    pub(super) seconds: u32,
}

/// What a driver did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driven {
    /// Requests that were answered as they should be.
    pub(super) requests: u64,
    /// Processor time of the driver, user and system.
    pub(super) cpu: Duration,
}

impl Driven {
    /// Microseconds of the driver's processor time a request.
    pub(super) fn cpu_us_per_request(&self) -> f64 {
        per_request_us(self.cpu, self.requests)
    }
}

/// Microseconds of `cpu` a request.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn per_request_us(cpu: Duration, requests: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / requests.max(1) as f64
}

impl Drive {
    /// Our engine, on one thread, with every histogram on; what it writes goes into `folder`.
    pub(super) fn ours(&self, folder: &Path) -> anyhow::Result<Driven> {
        std::fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
        let file = folder.join("page.toml");
        let scenario = format!(
            "schema = 1\nabout = \"one page as fast as it is answered\"\nobjectives = [\"errors<=0%\"]\n[load]\nusers = {}\nduration = \"{}s\"\n\
             [mix]\nprobe = 1\n[probe]\npath = \"{}\"\n",
            self.connections, self.seconds, self.path
        );
        std::fs::write(&file, scenario).with_context(|| format!("could not write {}", file.display()))?;
        let binary = std::env::current_exe().context("could not tell where shopctl is")?;
        let mut command = Command::new(binary);
        command
            .args(["load", "run", "--workers", "1", "--quiet", "--output", "json", "--url", &self.url])
            .arg("--file")
            .arg(&file)
            .arg("--data-dir")
            .arg(folder);
        let (said, cpu) = self.end(command)?;
        let document: Value =
            serde_json::from_str(&said).context("our engine did not say what it measured")?;
        let good = document["data"]["outcomes"]["ok"].as_u64().unwrap_or(0);
        let all: u64 = document["data"]["outcomes"]
            .as_object()
            .map_or(0, |outcomes| outcomes.values().filter_map(Value::as_u64).sum());
        anyhow::ensure!(good > 0 && good == all, "our engine saw errors: {}", document["data"]["outcomes"]);
        Ok(Driven { requests: good, cpu })
    }

    /// wrk, on one thread, with its latency statistics.
    pub(super) fn wrk(&self) -> anyhow::Result<Driven> {
        let mut command = Command::new("wrk");
        command
            .args(["-t", "1", "-c", &self.connections.to_string(), "-d", &format!("{}s", self.seconds)])
            .args(["--latency", &format!("{}{}", self.url, self.path)]);
        let (said, cpu) = self.end(command)?;
        let requests = parse_wrk(&said).with_context(|| format!("wrk said something else:\n{said}"))?;
        Ok(Driven { requests, cpu })
    }

    /// Runs a driver to its end: what it said on stdout, and the processor time that it used.
    fn end(&self, mut command: Command) -> anyhow::Result<(String, Duration)> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| absent(&name, error))?;
        let stdout = child.stdout.take().context("a driver without stdout")?;
        let reader = std::thread::spawn(move || std::io::read_to_string(stdout));
        let cpu = self.wait(&mut child).inspect_err(|_| {
            child.kill().ok();
            child.wait().ok();
        })?;
        child.wait().with_context(|| format!("could not wait for {name}"))?;
        let said = reader.join().map_err(|_| anyhow::anyhow!("the reader of {name} panicked"))?;
        Ok((said.with_context(|| format!("could not read what {name} said"))?, cpu))
    }

    /// Waits until the driver has ended, and reads what it used while the system still knows.
    fn wait(&self, child: &mut Child) -> anyhow::Result<Duration> {
        let deadline = Instant::now() + Duration::from_secs(self.seconds.into()) + PATIENCE;
        while !process::has_ended(child.id()) {
            anyhow::ensure!(Instant::now() < deadline, "a driver did not end in time");
            std::thread::sleep(Duration::from_millis(20));
        }
        process::cpu_time(child.id())
            .context("the system does not say how much processor time a process used")
    }
}

/// `name` could not be started, and how it comes to be there.
pub(super) fn absent(name: &str, error: std::io::Error) -> Failure {
    let failure =
        Failure::new(Exit::Preflight, "E-NO-DRIVER", format!("could not start {name}")).object(name);
    let hint = match name {
        "wrk" => "install it: it is the package `wrk` of Debian and Ubuntu",
        "pgbench" => "install it: it comes with PostgreSQL's server, Debian's package `postgresql`",
        _ => "look whether it can be executed",
    };
    failure.hint(hint).because(error)
}

/// `1234 requests in 5.00s, 1.00MB read`; absent also when some were answered with an error.
fn parse_wrk(said: &str) -> Option<u64> {
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return None;
    }
    let line = said.lines().map(str::trim).find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_understood() {
        let said = "Running 5s test @ http://x\n  1 threads and 64 connections\n  305221 requests in 5.10s, 44.54MB read\nRequests/sec:  59851.29\n";
        assert_eq!(parse_wrk(said), Some(305_221));
        assert_eq!(parse_wrk("  10 requests in 5.10s\n  Non-2xx or 3xx responses: 3\n"), None);
        assert_eq!(parse_wrk("nothing"), None);
    }

    #[test]
    fn a_driver_that_is_not_there_is_named_with_its_package() {
        let failure = absent("wrk", std::io::Error::from(std::io::ErrorKind::NotFound));
        assert_eq!(
            (failure.exit(), failure.to_string()),
            (Exit::Preflight, "could not start wrk".to_owned())
        );
    }
}
