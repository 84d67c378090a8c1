"use strict";

// The cart, {product: quantity}, and the orders live in this browser's localStorage.
function kept(name, otherwise) {
  return JSON.parse(localStorage.getItem(`shop.${name}`)) ?? otherwise;
}

function keep(name, value) {
  localStorage.setItem(`shop.${name}`, JSON.stringify(value));
}

function euros(cents) {
  return `€${(cents / 100).toFixed(2)}`;
}

function product(id) {
  return PRODUCTS.find((one) => one.id === id);
}

function lines(cart) {
  return Object.entries(cart).map(([id, quantity]) => ({ ...product(id), quantity, sum: product(id).cents * quantity }));
}

function goods(cart) {
  return lines(cart).reduce((sum, line) => sum + line.sum, 0);
}

const DELIVERY = { standard: { name: "Standard", cents: 490 }, express: { name: "Express", cents: 1290 } };

function escaped(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span.innerHTML;
}

function asked(name) {
  return new URLSearchParams(location.search).get(name) ?? "";
}

function header() {
  const count = Object.values(kept("cart", {})).reduce((sum, quantity) => sum + quantity, 0);
  document.querySelector("header").innerHTML = `<a class="brand" href="index.html">Clay &amp; Kiln</a>
    <span class="soft">pottery from our own oven</span>
    <nav><a href="index.html">Catalogue</a><a href="cart.html">Cart (${count})</a></nav>`;
}

function catalogue() {
  const words = asked("q").toLowerCase();
  const kind = asked("kind");
  const form = document.querySelector("form");
  form.q.value = asked("q");
  form.kind.value = kind;
  const found = PRODUCTS.filter(
    (one) => (!kind || one.kind === kind) && `${one.name} ${one.kind} ${one.text}`.toLowerCase().includes(words),
  );
  document.querySelector("#count").textContent =
    found.length === 1 ? "1 product" : found.length ? `${found.length} products` : "Nothing found. Try another word.";
  document.querySelector("#products").innerHTML = found
    .map(
      (one) => `<li class="card product"><a href="product.html?id=${one.id}">${picture(one)}
        <div class="text"><strong>${one.name}</strong><br><span class="price">${euros(one.cents)}</span>
        <span class="soft">${one.stock ? "" : "sold out"}</span></div></a></li>`,
    )
    .join("");
}

function detail() {
  const one = product(asked("id"));
  const main = document.querySelector("main");
  if (!one) {
    main.innerHTML = '<h1>No such product</h1><p><a href="index.html">Back to the catalogue</a></p>';
    return;
  }
  document.title = `${one.name} · Clay & Kiln`;
  main.innerHTML = `<div class="detail">${picture(one)}<div><h1>${one.name}</h1>
    <p class="price total">${euros(one.cents)}</p><p>${one.text}</p>
    <p class="soft">${one.stock ? `${one.stock} in stock` : "Sold out"}</p>
    <form class="buy"><div><label for="quantity">Quantity</label>
    <input id="quantity" name="quantity" type="number" min="1" max="${one.stock}" value="1" required></div>
    <button class="first" ${one.stock ? "" : "disabled"}>Add to cart</button></form>
    <p><a href="index.html?kind=${encodeURIComponent(one.kind)}">More ${one.kind.toLowerCase()}</a></p></div></div>`;
  main.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const cart = kept("cart", {});
    cart[one.id] = (cart[one.id] ?? 0) + Number(event.target.quantity.value);
    keep("cart", cart);
    location.href = "cart.html";
  });
}

function cart() {
  const main = document.querySelector("main");
  const content = kept("cart", {});
  if (!Object.keys(content).length) {
    main.innerHTML = '<h1>Your cart</h1><p>It is empty. <a href="index.html">To the catalogue</a></p>';
    return;
  }
  const rows = lines(content).map(
    (line) => `<tr><td><a href="product.html?id=${line.id}">${line.name}</a></td><td class="number">${euros(line.cents)}</td>
      <td><input type="number" min="1" max="${line.stock}" value="${line.quantity}" data-id="${line.id}"
        aria-label="Quantity of ${line.name}"></td><td class="number">${euros(line.sum)}</td>
      <td><button data-id="${line.id}" aria-label="Remove ${line.name}">Remove</button></td></tr>`,
  );
  main.innerHTML = `<h1>Your cart</h1><div class="card"><table><thead><tr><th>Product</th><th class="number">Price</th>
    <th>Quantity</th><th class="number">Sum</th><th></th></tr></thead><tbody>${rows.join("")}</tbody></table>
    <p class="total">Total: <span class="price">${euros(goods(content))}</span></p>
    <a class="button" href="index.html">Continue shopping</a>
    <a class="button first" href="checkout.html">Go to checkout</a></div>`;
  for (const input of main.querySelectorAll("input")) {
    input.addEventListener("change", () => {
      content[input.dataset.id] = Math.max(1, Number(input.value));
      keep("cart", content);
      header();
      cart();
    });
  }
  for (const button of main.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      delete content[button.dataset.id];
      keep("cart", content);
      header();
      cart();
    });
  }
}

function checkout() {
  const content = kept("cart", {});
  const form = document.querySelector("form");
  const summary = document.querySelector("#summary");
  const button = form.querySelector("button");
  const show = () => {
    const delivery = DELIVERY[form.delivery.value];
    summary.innerHTML = `${lines(content).map((line) => `<p>${line.quantity} × ${line.name}, ${euros(line.sum)}</p>`).join("")}
      <p>${delivery.name} delivery, ${euros(delivery.cents)}</p>
      <p class="total">Total: <span class="price">${euros(goods(content) + delivery.cents)}</span></p>`;
  };
  button.disabled = !Object.keys(content).length;
  form.addEventListener("change", show);
  show();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const orders = kept("orders", []);
    const number = 1001 + orders.length;
    const sent = Object.fromEntries(new FormData(form));
    orders.push({ ...sent, number, cart: content, cents: goods(content) + DELIVERY[sent.delivery].cents });
    keep("orders", orders);
    keep("cart", {});
    location.href = `confirmation.html?order=${number}`;
  });
}

function confirmation() {
  const order = kept("orders", []).find((one) => String(one.number) === asked("order"));
  document.querySelector("main").innerHTML = order
    ? `<h1>Thank you, ${escaped(order.name)}!</h1><div class="card"><p class="notice">Order ${order.number} is placed.</p>
      ${lines(order.cart).map((line) => `<p>${line.quantity} × ${line.name}</p>`).join("")}
      <p>To ${escaped(order.street)}, ${escaped(order.postcode)} ${escaped(order.city)}, ${escaped(order.country)}</p>
      <p class="total">Total: <span class="price">${euros(order.cents)}</span></p></div>
      <p><a href="index.html">Back to the catalogue</a></p>`
    : '<h1>No such order</h1><p><a href="index.html">Back to the catalogue</a></p>';
}

header();
