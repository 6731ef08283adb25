// Walks the whole shop in a real browser, as a guest, a customer, a merchant and an operator would, and fails on the
// first page that is not as it should be.
//
//   node tests/browser/run.mjs [--screenshots DIR]
//
// SHOPCTL_BIN names the binary to run (default: target/release/shopctl). SHOP_READY, when set, is the JSON of the
// `ready` event of a shop that runs already; nothing is started then. CHROMIUM names the browser.

import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { startShop } from "./shop.mjs";
import { Visitor } from "./visitor.mjs";
import { buyAsGuest, buyWithoutScript, buyTwiceAtOnce } from "./guest.mjs";
import { buyAsCustomer } from "./customer.mjs";
import { runTheDesk } from "./merchant.mjs";
import { watchTheShop, payWhileTheProviderIsDown } from "./operator.mjs";
import { lookAtEveryPage } from "./gallery.mjs";

const at = process.argv.indexOf("--screenshots");
const screenshots = at > 0 ? process.argv[at + 1] : null;
if (screenshots) mkdirSync(screenshots, { recursive: true });

const shop = await startShop();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

const walks = [
  ["a guest buys and sees the order confirmed", buyAsGuest],
  ["a guest buys without JavaScript", buyWithoutScript],
  ["pressing twice buys once", buyTwiceAtOnce],
  ["a customer signs up, buys, and finds the order again", buyAsCustomer],
  ["a merchant sends the order and the customer sees it", runTheDesk],
  ["an operator opens every page", watchTheShop],
  ["an order waits for a provider that is down, and confirms itself", payWhileTheProviderIsDown],
  ["every page at desktop and phone width", lookAtEveryPage],
];

// What one walk leaves for the next: the customer whose order the merchant sends.
const memory = {};
let failed = 0;
for (const [name, walk] of walks) {
  const visitor = new Visitor(browser, shop, screenshots);
  const began = Date.now();
  try {
    await walk(visitor, memory);
    visitor.complain();
    console.log(`ok   ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failed += 1;
    console.error(`FAIL ${name}\n     ${String(error.stack ?? error).replaceAll("\n", "\n     ")}`);
    await visitor.lastLook(name);
  } finally {
    await visitor.leave();
  }
}
await browser.close();
await shop.stop();
console.log(failed === 0 ? "all walks went well" : `${failed} of ${walks.length} walks failed`);
process.exit(failed === 0 ? 0 : 1);
