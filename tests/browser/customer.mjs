// A customer: makes an account, brings the guest's cart along, buys, and finds the order again.

import { expect, untilTheOrderSays } from "./visitor.mjs";

export async function buyAsCustomer(visitor, memory) {
  const page = await visitor.open();
  const customer = { email: `ada-${Date.now()}@example.com`, password: "correct horse battery" };
  await visitor.fillCart(page);
  await visitor.go(page, "/sign-up?next=/cart");
  await page.getByLabel("Name").fill("Ada");
  await page.getByLabel("E-mail").fill(customer.email);
  await page.getByLabel("Password").fill(customer.password);
  await page.getByRole("button", { name: "Make the account" }).click();
  await page.waitForURL("**/cart");
  expect((await page.locator(".lines > li").count()) === 1, "the guest's cart did not come along");
  await visitor.go(page, "/account");
  await page.getByText("Add an address").click();
  await visitor.fillAddress(page);
  await page.getByRole("button", { name: "Keep this address" }).click();
  await page.getByText("The address is kept.").waitFor();
  await visitor.picture(page, "account");
  await visitor.go(page, "/checkout");
  expect((await page.getByLabel("City").inputValue()) === "London", "the address was not filled in");
  await page.getByRole("button", { name: /^Pay / }).click();
  await page.waitForURL("**/orders/*");
  await untilTheOrderSays(page, "Confirmed");
  memory.orderUrl = page.url();
  memory.customer = customer;
  memory.number = (await page.locator("h1").textContent()).replace("Order ", "").trim();
  await visitor.go(page, "/orders");
  await page.getByRole("link", { name: memory.number }).waitFor();
  await visitor.picture(page, "orders");
  await visitor.go(page, "/account");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out.").waitFor();
}
