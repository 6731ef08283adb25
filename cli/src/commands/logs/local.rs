//! The log of a shop on this machine: a file in its data folder.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use platform::vocabulary::Timestamp;
use serde_json::Value;

use super::LogsArgs;
use super::entry::{parse, service_of, show, time_of};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::targets::local::lock::{self, Standing};

/// How often `-f` looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The file in the data folder when no shop has said otherwise.
const FILE_NAME: &str = "shop.log";

/// What is wanted of the log.
struct Wanted<'a> {
    service: Option<&'a str>,
    since: Option<Timestamp>,
}

pub(super) fn run(args: &LogsArgs, since: Option<Timestamp>, context: &Context<'_>) -> anyhow::Result<Exit> {
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let path = log_file(&data_dir)?;
    let wanted = Wanted { service: args.service.as_deref(), since };
    let mut reader = open(&path)?;
    let found = read(&mut reader, &wanted, args.lines)?;
    show(&found, context.printer, !args.follow)?;
    if args.follow {
        context.runtime()?.block_on(follow(reader, &path, &wanted, context))
    } else {
        Ok(Exit::Ok)
    }
}

/// The log of the shop that lives in the folder, or of the last one that did.
fn log_file(data_dir: &Path) -> Result<PathBuf, Failure> {
    Ok(match lock::standing(data_dir)? {
        Standing::Held(Some(holder)) | Standing::Ended(holder) => holder.log,
        Standing::Held(None) | Standing::Never => data_dir.join(FILE_NAME),
    })
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|error| {
        Failure::new(Exit::Unreachable, "E-NO-LOG", format!("there is no log in {}", path.display()))
            .object(path.display())
            .hint("start a shop with `shopctl up`, or name its folder with --data-dir")
            .because(error)
            .into()
    })
}

/// The lines that are wanted, the last `count` of them.
fn read(
    reader: &mut BufReader<File>,
    wanted: &Wanted<'_>,
    count: Option<usize>,
) -> anyhow::Result<Vec<Value>> {
    let mut found = VecDeque::new();
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).context("could not read the log")? > 0 {
        if line.last() != Some(&b'\n') {
            // Half a line is still being written: leave it for the next look.
            let length = i64::try_from(line.len()).unwrap_or(0);
            reader.seek_relative(-length).context("could not read the log")?;
            break;
        }
        let entry = parse(&line);
        line.clear();
        if !wanted.has(&entry) {
            continue;
        }
        found.push_back(entry);
        if count.is_some_and(|count| found.len() > count) {
            found.pop_front();
        }
    }
    Ok(found.into())
}

impl Wanted<'_> {
    fn has(&self, entry: &Value) -> bool {
        let is_its = self.service.is_none_or(|service| service_of(entry) == Some(service));
        is_its && self.since.is_none_or(|since| time_of(entry).is_some_and(|at| at >= since))
    }
}

async fn follow(
    mut reader: BufReader<File>,
    path: &Path,
    wanted: &Wanted<'_>,
    context: &Context<'_>,
) -> anyhow::Result<Exit> {
    let mut interrupted = context.interrupts()?;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = interrupted.recv() => return Ok(Exit::Interrupted),
        }
        if was_replaced(&mut reader, path) {
            reader = open(path)?;
        }
        show(&read(&mut reader, wanted, None)?, context.printer, false)?;
    }
}

/// Whether another file, or a shorter one, stands there now: a shop that started anew.
fn was_replaced(reader: &mut BufReader<File>, path: &Path) -> bool {
    let Ok(now) = std::fs::metadata(path) else { return false };
    let ours = reader.get_ref().metadata();
    let is_another = ours.is_ok_and(|ours| (ours.ino(), ours.dev()) != (now.ino(), now.dev()));
    is_another || reader.stream_position().is_ok_and(|position| position > now.len())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn log(text: &str) -> (tempfile::NamedTempFile, BufReader<File>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let reader = BufReader::new(file.reopen().unwrap());
        (file, reader)
    }

    const ALL: Wanted<'static> = Wanted { service: None, since: None };

    #[test]
    fn half_a_line_waits_until_it_is_whole() {
        let (mut file, mut reader) = log("{\"message\":\"one\"}\n{\"mess");
        assert_eq!(read(&mut reader, &ALL, None).unwrap(), [json!({"message": "one"})]);
        file.write_all(b"age\":\"two\"}\n").unwrap();
        assert_eq!(read(&mut reader, &ALL, None).unwrap(), [json!({"message": "two"})]);
    }

    #[test]
    fn since_and_service_narrow_and_lines_keeps_the_last() {
        let (_file, mut reader) = log("\
{\"timestamp\":\"2026-11-23T12:00:00Z\",\"service\":\"order\",\"message\":\"old\"}
{\"timestamp\":\"2026-11-23T12:00:02Z\",\"service\":\"user\",\"message\":\"other\"}
{\"timestamp\":\"2026-11-23T12:00:03Z\",\"service\":\"order\",\"message\":\"new\"}
{\"timestamp\":\"2026-11-23T12:00:04Z\",\"service\":\"order\",\"message\":\"newest\"}
");
        let since = Some("2026-11-23T12:00:01Z".parse().unwrap());
        let wanted = Wanted { service: Some("order"), since };
        let found = read(&mut reader, &wanted, Some(1)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["message"], "newest");
    }
}
