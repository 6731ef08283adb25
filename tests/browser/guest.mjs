// Guests: buying without an account, without JavaScript, and with a nervous finger.

import { expect, untilTheOrderSays } from "./visitor.mjs";

export async function buyAsGuest(visitor) {
  const page = await visitor.open();
  await visitor.go(page, "/");
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement.className === "skip"), "the first Tab does not offer to skip");
  await visitor.fillCart(page);
  await page.getByRole("link", { name: "Go to checkout" }).click();
  // Sent half empty, the form says what is missing, and keeps what was typed.
  await page.evaluate(() => { document.querySelector("form.columns").noValidate = true; });
  await page.getByLabel("Full name").fill("Ada Lovelace");
  await page.getByRole("button", { name: /^Pay / }).click();
  await page.getByRole("alert").getByText("Enter the city.").waitFor();
  expect((await page.getByLabel("Full name").inputValue()) === "Ada Lovelace", "the form forgot the name");
  await visitor.look(page);
  await visitor.picture(page, "checkout-mistakes");
  await page.getByLabel("E-mail").fill("guest@example.com");
  await visitor.fillAddress(page);
  await page.getByLabel("Visa ending 4242").check();
  await page.getByRole("button", { name: /^Pay / }).click();
  await page.waitForURL("**/orders/*");
  await untilTheOrderSays(page, "Confirmed");
  await visitor.look(page);
  await visitor.picture(page, "order-confirmed");
  // The order is the guest's alone: another browser is told that nothing is there.
  const stranger = await visitor.open();
  const answer = await stranger.goto(page.url());
  expect(answer.status() === 404 || answer.url().includes("/sign-in"), `a stranger was answered ${answer.status()}`);
}

export async function buyWithoutScript(visitor) {
  const page = await visitor.open({ javaScriptEnabled: false });
  await page.goto("/search?in_stock=true&sort=price");
  await page.locator(".card h3 a").first().click();
  await page.getByRole("button", { name: "Add to cart" }).click();
  await page.getByRole("link", { name: "Go to checkout" }).click();
  await page.getByLabel("E-mail").fill("plain@example.com");
  await visitor.fillAddress(page);
  await page.getByRole("button", { name: /^Pay / }).click();
  await page.waitForURL("**/orders/*");
  for (const end = Date.now() + 20_000; ;) {
    if (await page.getByText("Confirmed", { exact: true }).count()) break;
    expect(Date.now() < end, "the order was not confirmed");
    await page.reload();
  }
}

export async function buyTwiceAtOnce(visitor) {
  const page = await visitor.open();
  await visitor.fillCart(page);
  await page.getByRole("link", { name: "Go to checkout" }).click();
  await page.getByLabel("E-mail").fill("twice@example.com");
  await visitor.fillAddress(page);
  // The same form, sent twice at the same time past the script that would keep the button still.
  const sent = await page.evaluate(async () => {
    const form = document.querySelector("form.columns");
    const body = new URLSearchParams(new FormData(form));
    const send = () => fetch(form.action, { method: "POST", body });
    const answers = await Promise.all([send(), send()]);
    return answers.map((answer) => new URL(answer.url).pathname);
  });
  expect(sent[0].startsWith("/orders/"), `the form led to ${sent[0]}`);
  expect(sent[0] === sent[1], `two orders: ${sent.join(" and ")}`);
}
