//! Asks the shop of a data folder to stop, and waits until it has.

use std::time::{Duration, Instant};

use serde_json::json;

use super::DownArgs;
use crate::commands::duration::Span;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Progress, Report};
use crate::targets::local::lock::{self, Standing};
use crate::targets::local::signals::ask_to_end;

/// How long it may take, unless somebody says otherwise.
const TIMEOUT: Span = Span::seconds(30);
/// How often to look whether it has gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Requests in flight end and leases are given back before the process is gone.
pub(super) fn run(args: &DownArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let timeout = args.timeout.unwrap_or(TIMEOUT);
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let holder = match lock::standing(&data_dir)? {
        Standing::Held(Some(holder)) => holder,
        Standing::Held(None) => lock::running(&data_dir)?,
        Standing::Ended(_) | Standing::Never => {
            let data = json!({"stopped": false, "data_dir": data_dir});
            return Ok(Report::new(data, Default::default())
                .last_line(format!("nothing to stop: no shop is running on {}", data_dir.display())));
        }
    };
    let mut progress = Progress::new(context.printer);
    progress.step(&format!("stopping process {}", holder.pid), 0, 0);
    let pid = holder.pid;
    ask_to_end(pid).map_err(|error| {
        Failure::new(Exit::Auth, "E-DOWN", format!("could not stop process {pid}"))
            .object(pid)
            .hint("it belongs to somebody else; ask them, or use their account")
            .because(error)
    })?;
    let began = Instant::now();
    while matches!(lock::standing(&data_dir)?, Standing::Held(_)) {
        if began.elapsed() >= timeout.duration() {
            let message = format!("process {} is still stopping after {timeout}", holder.pid);
            return Err(Failure::new(Exit::Timeout, "E-DOWN-LATE", message)
                .object(holder.pid)
                .hint("run `shopctl down` again to stop it at once, or give it longer with --timeout")
                .into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    progress.clear();
    let data = json!({
        "stopped": true,
        "pid": holder.pid,
        "data_dir": data_dir,
        "took_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    Ok(Report::new(data, Default::default())
        .last_line(format!("stopped; the data is kept in {}, `shopctl up` continues", data_dir.display())))
}
