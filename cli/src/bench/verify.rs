//! What it takes to verify a shop with many orders: time from start to verdict, and the most memory.
//!
//! The orders are placed as any others: a whole saga each, with a journal of what was promised. Then the shop is
//! stopped, and `shopctl verify` looks at what it left behind, in a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use platform::verify::journal::{Head, JournalWriter};
use platform::vocabulary::Env;
use serde_json::{Value, json};

use super::Ground;
use super::buyer::Buyer;
use super::figures::to_hundredth;
use super::ground::Shop;
use super::memory;
use crate::failure::Exit;
use crate::output::{Printer, Progress, Report};
use crate::process;

/// How often the memory of the look is read.
const READ_EVERY: Duration = Duration::from_millis(2);

/// What a look took.
struct Looked {
    took: Duration,
    peak_kib: Option<u64>,
    exit: i32,
    document: Value,
}

/// Places `orders` by `buyers` at once, stops the shop, and measures one look at all promises.
///
/// # Errors
/// When the shop does not start, an order is not taken, or the look does not come to a verdict.
pub fn run(
    ground: &Ground,
    orders: u32,
    buyers: u32,
    env: &Env,
    printer: &Printer,
) -> anyhow::Result<Report> {
    let folder = ground.folder("verify");
    let mut progress = Progress::new(printer);
    progress.step(&format!("starting a shop on {}", ground.engine), 0, 0);
    let shop = ground.start(&folder, &["--reset-admin"])?;
    let journal = folder.path().join("journal.ndjson");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        place(&shop, orders, buyers.min(orders), &journal, env, &mut progress).await?;
        progress.step("waiting until it is idle", 0, 0);
        memory::rest(&shop).await
    })?;
    shop.stop()?;
    progress.step("verifying", 0, 0);
    let looked = look(ground, folder.path(), &journal)?;
    let data_kib = size_kib(folder.path());
    progress.clear();
    report(ground, orders, data_kib, &looked)
}

async fn place(
    shop: &Shop,
    orders: u32,
    buyers: u32,
    journal: &Path,
    env: &Env,
    progress: &mut Progress<'_>,
) -> anyhow::Result<()> {
    let skus = Buyer::at(&shop.url(), env).await?.skus().await?;
    let each = u64::from(orders) / u64::try_from(skus.len())? + u64::from(buyers) + 1;
    shop.receive_stock(&skus, each).await?;
    let writer = JournalWriter::create(journal, &Head::new("bench", shop.url()))?;
    let done = std::cell::Cell::new(0u32);
    let buyer = |number: u32| {
        let (mut writer, mut skus, done) = (writer.another(), skus.clone(), &done);
        async move {
            let mut buyer = Buyer::at(&shop.url(), env).await?;
            let first = usize::try_from(number)? * 7 % skus.len();
            skus.rotate_left(first);
            let share = orders / buyers + u32::from(number < orders % buyers);
            for sku in skus.iter().cycle().take(usize::try_from(share)?) {
                let basket = buyer.fill_basket(sku).await?;
                let promised = buyer.order(&basket).await?;
                writer.as_mut().map_err(|error| anyhow::anyhow!("{error}"))?.append(&promised)?;
                done.set(done.get() + 1);
            }
            anyhow::Ok(())
        }
    };
    let buying = try_join_all((0..buyers).map(buyer));
    tokio::pin!(buying);
    loop {
        tokio::select! {
            bought = &mut buying => return bought.map(drop),
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                progress.step("placing orders", done.get().into(), orders.into());
            }
        }
    }
}

/// Runs `shopctl verify` on what lies in `folder`. Its memory is read while it runs: the most that ever was only grows.
fn look(ground: &Ground, folder: &Path, journal: &Path) -> anyhow::Result<Looked> {
    let program = std::env::current_exe().context("could not tell where shopctl is")?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["verify", "-o", "json", "--engine", &ground.engine.to_string(), "--data-dir"])
        .arg(folder)
        .arg("--journal")
        .arg(journal)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start `shopctl verify`")?;
    let mut output = child.stdout.take().context("no way to read what it says")?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut text).map(|_| text)
    });
    let mut peak_kib = None;
    let status = loop {
        peak_kib = process::memory(child.id()).map(|memory| memory.peak_kib).or(peak_kib);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(READ_EVERY);
    };
    let took = began.elapsed();
    let text = reader.join().map_err(|_| anyhow::anyhow!("a thread of the measurement panicked"))??;
    let document = serde_json::from_slice(&text).unwrap_or_default();
    Ok(Looked { took, peak_kib, exit: status.code().unwrap_or(-1), document })
}

/// What the files of a folder take, those of its folders included.
fn size_kib(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => size_kib(&entry.path()),
        Ok(about) => about.len() / 1024,
        Err(_) => 0,
    });
    sizes.sum()
}

fn report(ground: &Ground, orders: u32, data_kib: u64, looked: &Looked) -> anyhow::Result<Report> {
    let found = &looked.document["data"];
    let verdict = found["verdict"].as_str().context("`shopctl verify` came to no verdict")?;
    let seconds = to_hundredth(looked.took.as_secs_f64());
    let peak_mib = looked.peak_kib.map(memory::to_mib);
    let slowest = |found: &Value| {
        let outcomes = found["outcomes"].as_array().cloned().unwrap_or_default();
        let slowest = outcomes.into_iter().max_by_key(|outcome| outcome["took_ms"].as_u64());
        slowest.map_or_else(String::new, |one| {
            format!("{} {} ms", one["id"].as_str().unwrap_or_default(), one["took_ms"])
        })
    };
    let data = json!({
        "engine": ground.engine,
        "orders": orders,
        "data_mib": memory::to_mib(data_kib),
        "took_s": seconds,
        "peak_mib": peak_mib,
        "verdict": verdict,
        "outcomes": found["outcomes"],
    });
    let peak = peak_mib.map_or_else(|| "not told by the system".to_owned(), |mib| format!("{mib:.1} MiB"));
    let report = Report::facts(
        data,
        [
            ("orders", orders.to_string()),
            ("data", format!("{:.1} MiB", memory::to_mib(data_kib))),
            ("time to the verdict", format!("{seconds:.2} s")),
            ("most memory", peak),
            ("longest check", slowest(found)),
            ("verdict", verdict.to_owned()),
        ],
    );
    let last = format!("all promises over {orders} orders on {}", ground.engine);
    Ok(match u64::try_from(looked.exit).ok().and_then(Exit::from_code) {
        Some(Exit::Ok) => report.last_line(last),
        Some(exit) => report.exit(exit).last_line(format!("{last}: not all are kept, or known")),
        None => report.exit(Exit::Internal).last_line(last),
    })
}
