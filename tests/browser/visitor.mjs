// Somebody with a browser. Notes everything that a good page never does: console errors, refusals of the content
// security policy, failed requests, and pages that are too heavy or that a screen reader cannot use.

import { join } from "node:path";

const PATIENCE_MS = 15_000;
const PAGE_BYTES_MAX = 60 * 1024;
export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

export class Visitor {
  constructor(browser, shop, screenshots) {
    this.browser = browser;
    this.shop = shop;
    this.screenshots = screenshots;
    this.contexts = [];
    this.complaints = [];
  }

  // A window of its own, with cookies of its own.
  async open(options = {}) {
    const context = await this.browser.newContext({ baseURL: this.shop.url, viewport: DESKTOP, ...options });
    this.contexts.push(context);
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`content security policy refused ${event.violatedDirective} ${event.blockedURI}`));
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const note = (words) => this.complaints.push(`${page.url()}: ${words}`);
    page.on("console", (message) => {
      // The browser says this of every answer of 400 and above; which of them are wrong is decided below.
      const isAnswer = message.text().startsWith("Failed to load resource");
      if (message.type() === "error" && !isAnswer) note(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => note(`script: ${error.message}`));
    page.on("response", (response) => {
      const isPart = !response.request().isNavigationRequest();
      if (response.status() >= 500 || (isPart && response.status() >= 400)) note(`${response.request().method()} ${response.url()} answered ${response.status()}`);
    });
    page.on("dialog", (dialog) => dialog.accept());
    return page;
  }

  // Goes to `path` and looks at what came with a critical eye.
  async go(page, path) {
    const response = await page.goto(path);
    if (!response.ok()) throw new Error(`${path} answered ${response.status()}`);
    await this.look(page);
    return response;
  }

  // What holds for every page.
  async look(page) {
    const found = await page.evaluate(() => {
      const words = [];
      const name = (element) =>
        (element.getAttribute("aria-label") ?? "").trim()
        || [...(element.labels ?? [])].map((label) => label.textContent.trim()).join(" ")
        || element.textContent.trim()
        || element.getAttribute("title");
      if (document.querySelectorAll("h1").length !== 1) words.push("there is not exactly one h1");
      if (!document.title) words.push("the page has no title");
      if (document.documentElement.lang === "") words.push("the page has no language");
      for (const image of document.images) if (!image.hasAttribute("alt")) words.push(`an image has no alt: ${image.src}`);
      for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")) {
        if (!name(field) && !field.querySelector("img[alt]:not([alt=''])")) words.push(`nameless: ${field.outerHTML.slice(0, 120)}`);
      }
      const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      if (wide > 0) words.push(`the page is ${wide} px wider than its window`);
      const ours = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/assets/"));
      const [page] = performance.getEntriesByType("navigation");
      const bytes = [page, ...ours].reduce((sum, entry) => sum + entry.decodedBodySize, 0);
      return { words, bytes };
    });
    for (const words of found.words) this.complaints.push(`${page.url()}: ${words}`);
    if (found.bytes > PAGE_BYTES_MAX) this.complaints.push(`${page.url()}: ${found.bytes} bytes are too much`);
  }

  // Keeps a picture of the page at both widths, when somebody wants to look.
  async picture(page, name) {
    if (!this.screenshots) return;
    for (const [width, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
      await page.setViewportSize(viewport);
      // Pictures further down load when they are near: take the page whole only once they are there.
      await page.evaluate(() => { for (const image of document.images) image.loading = "eager"; });
      await page.waitForFunction(() => [...document.images].every((image) => image.complete));
      await page.screenshot({ path: join(this.screenshots, `${name}-${width}.png`), fullPage: true });
      await this.look(page);
    }
    await page.setViewportSize(DESKTOP);
  }

  async signIn(page, { email, password }, next = "/") {
    await this.go(page, `/sign-in?next=${encodeURIComponent(next)}`);
    await page.getByLabel("E-mail").fill(email);
    await page.getByLabel("Password").fill(password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL((url) => url.pathname === next);
  }

  // Puts something that is in stock into the cart, from the front door.
  async fillCart(page) {
    await this.go(page, "/search?in_stock=true&sort=price");
    await page.locator(".card h3 a").first().click();
    await page.getByRole("button", { name: "Add to cart" }).click();
    await page.waitForURL("**/cart");
    await this.look(page);
  }

  async fillAddress(page) {
    await page.getByLabel("Full name").fill("Ada Lovelace");
    await page.getByLabel("Address", { exact: true }).fill("12 St James's Square");
    await page.getByLabel("Postal code").fill("SW1Y 4JH");
    await page.getByLabel("City").fill("London");
    await page.getByLabel("Country").selectOption("GB");
  }

  // Fails when anything was noted that should not have happened.
  complain() {
    if (this.complaints.length > 0) throw new Error([...new Set(this.complaints)].join("\n"));
  }

  async lastLook(name) {
    if (!this.screenshots) return;
    const page = this.contexts.at(-1)?.pages().at(-1);
    await page?.screenshot({ path: join(this.screenshots, `FAILED-${name.replaceAll(/\W+/g, "-")}.png`) }).catch(() => {});
  }

  async leave() {
    for (const context of this.contexts) await context.close();
  }
}

export function expect(truth, words) {
  if (!truth) throw new Error(words);
}

// Waits until the order's page says `words` by itself: nobody loads it again.
export async function untilTheOrderSays(page, words, timeout = 20_000) {
  await page.locator("[data-stream], .panel").getByText(words, { exact: true }).first().waitFor({ timeout });
}
