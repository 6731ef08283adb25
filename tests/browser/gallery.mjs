// Every page that the other walks do not keep a picture of, at both widths, and some in the dark.

export async function lookAtEveryPage(visitor, memory) {
  const page = await visitor.open();
  await visitor.go(page, "/");
  await visitor.picture(page, "home");
  const category = await page.locator(".shelf a").first().getAttribute("href");
  const product = await page.locator(".card h3 a").first().getAttribute("href");
  for (const [path, name] of [
    [category, "category"],
    ["/search?sort=newest", "search"],
    ["/search?q=nothingfitsthis", "search-empty"],
    [product, "product"],
    ["/cart", "cart-empty"],
    ["/sign-in", "sign-in"],
    ["/sign-up", "sign-up"],
    ["/api", "api"],
  ]) {
    await visitor.go(page, path);
    if (name !== "api") await visitor.picture(page, name);
  }
  await visitor.fillCart(page);
  await visitor.picture(page, "cart");
  await visitor.go(page, "/checkout");
  await visitor.picture(page, "checkout");
  const lost = await page.goto("/no-such-page");
  if (lost.status() !== 404) throw new Error(`an unknown page answered ${lost.status()}`);
  await visitor.picture(page, "not-found");

  const desk = await visitor.open();
  await visitor.signIn(desk, visitor.shop.admin, "/admin");
  await visitor.picture(desk, "admin-dashboard");
  for (const path of ["orders", "products", "products/new", "stock", "customers", "promotions"]) {
    await visitor.go(desk, `/admin/${path}`);
    await visitor.picture(desk, `admin-${path.replace("/", "-")}`);
  }
  await visitor.go(desk, "/admin/products");
  await desk.locator("tbody th a").first().click();
  await visitor.picture(desk, "admin-product");
  await visitor.go(desk, "/admin/customers");
  await desk.locator("tbody th a").first().click();
  await visitor.picture(desk, "admin-customer");

  const night = await visitor.open({ colorScheme: "dark" });
  await visitor.signIn(night, visitor.shop.admin, "/");
  await visitor.picture(night, "dark-home");
  await visitor.go(night, product);
  await visitor.picture(night, "dark-product");
  await visitor.go(night, "/operations");
  await visitor.picture(night, "dark-operations");
  if (memory.adminOrder) {
    await visitor.go(night, memory.adminOrder);
    await visitor.picture(night, "dark-admin-order");
  }
}
