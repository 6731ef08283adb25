// A shop to walk in: the one that SHOP_READY describes, or one of its own on a free port with empty data.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const READY_WITHIN_MS = 60_000;

export async function startShop() {
  if (process.env.SHOP_READY) return { ...JSON.parse(process.env.SHOP_READY), stop: async () => {} };
  const named = process.env.SHOPCTL_BIN;
  const binary = named ? resolve(named) : new URL("../../target/release/shopctl", import.meta.url).pathname;
  const folder = mkdtempSync(join(tmpdir(), "shop-browser-"));
  const child = spawn(binary, ["up", "--port", "0", "--data-dir", join(folder, "data"), "-o", "ndjson"], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let talk = "";
  child.on("error", (error) => { talk += String(error); });
  child.stderr.on("data", (chunk) => { talk = (talk + chunk).slice(-4000); });
  const ready = await new Promise((done, reject) => {
    const late = setTimeout(() => reject(new Error(`no ready event within ${READY_WITHIN_MS} ms\n${talk}`)), READY_WITHIN_MS);
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = JSON.parse(line);
      if (event.event === "ready") { clearTimeout(late); done(event); }
    });
    child.on("exit", (code) => reject(new Error(`the shop ended with ${code} before it was ready\n${talk}`)));
  });
  const stop = () => new Promise((done) => {
    child.removeAllListeners("exit");
    child.on("exit", () => { rmSync(folder, { recursive: true, force: true }); done(); });
    child.kill("SIGINT");
  });
  return { ...ready, stop };
}
