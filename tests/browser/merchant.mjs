// The merchant: looks around the desk, keeps stock, and sends the customer's order on its way while the customer looks.

import { expect, untilTheOrderSays } from "./visitor.mjs";

export async function runTheDesk(visitor, memory) {
  expect(memory.number, "there is no order to send");
  const customer = await visitor.open();
  await visitor.signIn(customer, memory.customer);
  await visitor.go(customer, memory.orderUrl);

  const desk = await visitor.open();
  await visitor.signIn(desk, visitor.shop.admin, "/admin");
  await visitor.go(desk, `/admin/orders?q=${memory.number}`);
  await desk.getByRole("link", { name: memory.number }).click();
  await desk.getByRole("button", { name: "Mark as packed" }).click();
  await desk.getByText("Done: fulfilling.").waitFor();
  await desk.getByLabel("Tracking number (optional)").fill("1Z999AA10123456784");
  await desk.getByRole("button", { name: "Mark as shipped" }).click();
  await desk.getByText("Done: shipped.").waitFor();
  await visitor.picture(desk, "admin-order");
  memory.adminOrder = new URL(desk.url()).pathname;
  // An order at rest is looked after every half minute.
  await untilTheOrderSays(customer, "On its way", 60_000);
  await customer.getByText("1Z999AA10123456784").first().waitFor();

  await visitor.go(desk, "/admin/stock");
  await desk.locator("tbody th a").first().click();
  await desk.getByLabel("Units").fill("25");
  await desk.getByLabel("Why").first().fill("Delivery note 4711");
  await desk.getByRole("button", { name: "Receive" }).click();
  await desk.getByText(/on the shelf, \d+ available\./).waitFor();
  await visitor.picture(desk, "admin-ledger");

  await visitor.go(desk, "/admin/promotions");
  const code = `WALK${Date.now() % 100000}`;
  await desk.getByLabel("Code").fill(code);
  await desk.getByLabel("What it is").fill("A tenth off");
  await desk.getByLabel("How much").fill("10");
  await desk.getByRole("button", { name: "Offer it" }).click();
  await desk.getByText(`${code} works from now on.`).waitFor();
  await visitor.picture(desk, "admin-promotions");
}
