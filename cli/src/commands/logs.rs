//! `shopctl logs`: what the shop of a data folder has written, of one service or all.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use platform::vocabulary::{Timestamp, clock};
use serde_json::{Map, Value};

use super::duration::Span;
use crate::context::Context;
use crate::failure::{Exit, Failure, nearest};
use crate::output::{Body, Format, Paint, Printer, Report};
use crate::targets::local::lock::{self, Standing};

/// How often `-f` looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The file in the data folder when no shop has said otherwise.
const FILE_NAME: &str = "shop.log";

/// The words of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Only this service: gateway, user, product, order, payment, notification, fakepay
    service: Option<String>,
    /// Keep showing what is written
    #[arg(short, long)]
    follow: bool,
    /// Only what was written since: 10m, or 2026-11-23T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
    /// Folder of the shop's data
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

/// A moment, or how long ago it was.
#[derive(Clone, Copy, Debug)]
enum Since {
    Ago(Span),
    At(Timestamp),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment = || text.parse().map(Self::At);
        text.parse().map(Self::Ago).or_else(|_| moment()).map_err(
            |_: <Timestamp as std::str::FromStr>::Err| {
                "how long ago, as 30s, 10m or 2h, or a moment, as 2026-11-23T12:00:00Z".to_owned()
            },
        )
    }
}

/// Services that write logs.
const SERVICES: [&str; 7] = ["gateway", "user", "product", "order", "payment", "notification", "fakepay"];

/// What is wanted of the log.
struct Wanted<'a> {
    service: Option<&'a str>,
    since: Option<Timestamp>,
}

pub(super) fn run(args: &LogsArgs, context: &Context<'_>) -> anyhow::Result<Exit> {
    if let Some(service) = args.service.as_deref().filter(|service| !SERVICES.contains(service)) {
        let hint = match nearest(service, SERVICES) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("services: {}", SERVICES.join(", ")),
        };
        let message = format!("there is no service `{service}`");
        return Err(Failure::new(Exit::Usage, "E-SERVICE", message).hint(hint).into());
    }
    context.on_this_machine()?;
    let data_dir = context.data_dir(args.data_dir.as_deref())?;
    let path = log_file(&data_dir)?;
    let since = args.since.map(|since| match since {
        Since::At(moment) => moment,
        Since::Ago(span) => before(context.env.now(), span.duration()),
    });
    let wanted = Wanted { service: args.service.as_deref(), since };
    let mut reader = open(&path)?;
    let found = read(&mut reader, &wanted, args.lines)?;
    show(&found, context.printer, !args.follow)?;
    if args.follow {
        context.runtime()?.block_on(follow(reader, &path, &wanted, context.printer))
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

/// A line that is not JSON is kept as its message: nothing is swallowed.
fn parse(line: &[u8]) -> Value {
    serde_json::from_slice(line).ok().filter(Value::is_object).unwrap_or_else(|| {
        let message = String::from_utf8_lossy(line).trim_end().to_owned();
        Value::Object(Map::from_iter([("message".to_owned(), Value::String(message))]))
    })
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
    printer: &Printer,
) -> anyhow::Result<Exit> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
        }
        if was_replaced(&mut reader, path) {
            reader = open(path)?;
        }
        show(&read(&mut reader, wanted, None)?, printer, false)?;
    }
}

/// Whether another file, or a shorter one, stands there now: a shop that started anew.
fn was_replaced(reader: &mut BufReader<File>, path: &Path) -> bool {
    let Ok(now) = std::fs::metadata(path) else { return false };
    let ours = reader.get_ref().metadata();
    let is_another = ours.is_ok_and(|ours| (ours.ino(), ours.dev()) != (now.ino(), now.dev()));
    is_another || reader.stream_position().is_ok_and(|position| position > now.len())
}

fn show(entries: &[Value], printer: &Printer, is_whole: bool) -> anyhow::Result<()> {
    match printer.format() {
        Format::Text => {
            let paint = printer.paint();
            let lines: String = entries.iter().map(|entry| line(entry, paint)).collect();
            printer.data(&lines)?;
        }
        Format::Json | Format::Csv | Format::Md if is_whole => {
            let items = Value::Array(entries.to_vec());
            let text = entries.iter().map(|entry| line(entry, Paint::new(false))).collect();
            printer.report(&Report::new(items, Body::Text(text)))?;
        }
        _ => {
            let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
            printer.data(&lines)?;
        }
    }
    Ok(())
}

/// An entry as a person reads it: when, how bad, who, what, and the rest as `name=value`.
fn line(entry: &Value, paint: Paint) -> String {
    let level = text(entry, &["level"]).unwrap_or("");
    let painted = match level {
        "error" => paint.red(level),
        "warn" => paint.yellow(level),
        _ => paint.faint(level),
    };
    let when = text(entry, TIMES).unwrap_or("");
    let who = service_of(entry).unwrap_or("shop");
    let what = text(entry, &["message"]).or_else(|| entry.pointer("/fields/message")?.as_str()).unwrap_or("");
    let rest: String = rest(entry)
        .iter()
        .map(|(name, value)| format!(" {}", paint.faint(&format!("{name}={value}"))))
        .collect();
    format!("{} {painted:<5} {who:<12} {what}{rest}\n", paint.faint(when))
}

/// Names that a log may call its moment.
const TIMES: &[&str] = &["ts", "timestamp", "time", "at"];

fn rest(entry: &Value) -> Vec<(String, String)> {
    let own = ["level", "message", "service", "target", "fields", "span", "spans"];
    let nested = entry.get("fields").and_then(Value::as_object).into_iter().flatten();
    let all = entry.as_object().into_iter().flatten().chain(nested);
    all.filter(|(name, value)| {
        !own.contains(&name.as_str()) && !TIMES.contains(&name.as_str()) && !value.is_null()
    })
    .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    .collect()
}

fn text<'a>(entry: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| entry.get(*name)?.as_str())
}

fn time_of(entry: &Value) -> Option<Timestamp> {
    text(entry, TIMES)?.parse().ok()
}

/// The service of an entry: as it says, by the process that wrote it, or by the room.
fn service_of(entry: &Value) -> Option<&str> {
    if let Some(service) = text(entry, &["service"]) {
        return Some(service);
    }
    if let Some((role, _)) = text(entry, &["process"]).and_then(|process| process.rsplit_once('-')) {
        return Some(role);
    }
    let room = text(entry, &["target"])?.strip_prefix("platform::")?;
    let mut parts = room.split("::");
    let first = parts.next()?;
    let name = match first {
        "services" => parts.next()?,
        "sandbox" => "fakepay",
        "web" => "gateway",
        other => other,
    };
    SERVICES.into_iter().find(|service| *service == name)
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    clock::Timestamp::from_microsecond(now.as_microsecond().saturating_sub(us)).unwrap_or(Timestamp::MIN)
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
    fn the_service_is_what_it_says_or_the_room_that_wrote() {
        assert_eq!(service_of(&json!({"service": "order"})), Some("order"));
        assert_eq!(service_of(&json!({"target": "platform::services::payment::api"})), Some("payment"));
        assert_eq!(service_of(&json!({"target": "platform::sandbox::fakepay"})), Some("fakepay"));
        assert_eq!(service_of(&json!({"target": "platform::saga"})), None);
        assert_eq!(service_of(&json!({"target": "platform::saga", "process": "order-2"})), Some("order"));
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

    #[test]
    fn the_services_are_those_that_the_platform_can_run() {
        for service in SERVICES {
            assert!(service.parse::<platform::app::Role>().is_ok(), "{service}");
        }
        let known = "nobody".parse::<platform::app::Role>().unwrap_err();
        let (_, names) = known.rsplit_once("there are ").unwrap();
        for name in names.split(", ").filter(|name| *name != "all") {
            assert!(SERVICES.contains(&name), "`logs` does not know {name}");
        }
    }

    #[test]
    fn what_is_not_json_is_shown_as_it_stands() {
        let entry = parse(b"thread panicked\n");
        assert!(line(&entry, Paint::new(false)).contains("thread panicked"));
    }
}
