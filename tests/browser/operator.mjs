// The operator: opens every page of the console, throws a switch, and sees the shop hold.

import { expect, untilTheOrderSays } from "./visitor.mjs";

const PAGES = ["", "/topology", "/sagas", "/queues", "/breakers", "/promises", "/traces", "/logs", "/faults"];

export async function watchTheShop(visitor, memory) {
  const desk = await visitor.open();
  await visitor.signIn(desk, visitor.shop.admin, "/operations");
  for (const path of PAGES) {
    await visitor.go(desk, `/operations${path}`);
    await visitor.picture(desk, `operations${path.replace("/", "-") || "-live"}`);
  }
  // The live page draws itself again, without being loaded again.
  await visitor.go(desk, "/operations");
  await desk.getByText("Live", { exact: true }).last().waitFor();
  await desk.waitForFunction(() => document.querySelector("[data-live-state]").dataset.state === "on");
  await visitor.go(desk, "/operations/sagas");
  await desk.locator("tbody th a").first().click();
  await desk.getByRole("heading", { name: "Sagas of an order" }).waitFor();
  await visitor.look(desk);
  await visitor.picture(desk, "operations-saga");
  await visitor.go(desk, "/operations/traces?slowest=true");
  await desk.locator("tbody th a").first().click();
  await desk.getByRole("columnheader", { name: "Span" }).waitFor();
  await visitor.look(desk);
  await visitor.picture(desk, "operations-trace");
}

export async function payWhileTheProviderIsDown(visitor) {
  const desk = await visitor.open();
  await visitor.signIn(desk, visitor.shop.admin, "/operations");
  await visitor.go(desk, "/operations/faults");
  await desk.getByLabel("Down").check();
  await desk.getByRole("button", { name: "Throw the switch" }).first().click();
  await desk.getByText("The provider's switch is thrown.").waitFor();
  await turnBreakers(visitor, desk, "Hold open", "a walk through the shop");
  const page = await visitor.open();
  try {
    await visitor.fillCart(page);
    await visitor.go(page, "/checkout");
    await page.getByLabel("E-mail").fill("patient@example.com");
    await visitor.fillAddress(page);
    await page.getByRole("button", { name: /^Pay / }).click();
    await page.waitForURL("**/orders/*");
    await untilTheOrderSays(page, "The payment provider is down");
    expect(await page.getByText(/We hold your items until \d\d:\d\d UTC/).count(), "it is not said until when the items are held");
    await visitor.picture(page, "order-payment-queued");
    await visitor.go(desk, "/operations");
    await desk.getByText(/Breaker .* is open\./).first().waitFor();
    await visitor.picture(desk, "operations-attention");
  } finally {
    await visitor.go(desk, "/operations/faults");
    await desk.getByRole("button", { name: "All well again" }).first().click();
    await desk.getByText("The provider is well again.").waitFor();
    await turnBreakers(visitor, desk, "Close", "the walk is over");
  }
  // Nobody touches the buyer's page: the order confirms itself.
  await untilTheOrderSays(page, "Confirmed", 60_000);
}

// Turns every breaker, one form after the other.
async function turnBreakers(visitor, desk, handle, reason) {
  await visitor.go(desk, "/operations/breakers");
  const breakers = await desk.locator("section.panel").count();
  for (let at = 0; at < breakers; at += 1) {
    const panel = desk.locator("section.panel").nth(at);
    await panel.getByLabel("Why").fill(reason);
    await panel.getByRole("button", { name: handle }).click();
    await desk.getByRole("status").filter({ hasText: handle === "Close" ? "is closed." : "is open." }).waitFor();
    await visitor.look(desk);
  }
  await visitor.picture(desk, `operations-breakers-${handle === "Close" ? "closed" : "open"}`);
}
