//! The binary: parse, run, exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    platform::app::prefer_small_pages();
    ExitCode::from(shopctl::run(std::env::args_os()).code())
}
