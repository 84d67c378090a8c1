"use strict";

// Where letters are, which were read, and what was sent lives in localStorage; what is shown, in the URL's hash.
function kept(name, otherwise) {
  return JSON.parse(localStorage.getItem(`mail.${name}`)) ?? otherwise;
}

function keep(name, value) {
  localStorage.setItem(`mail.${name}`, JSON.stringify(value));
}

function escaped(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span.innerHTML;
}

const view = document.querySelector("#view");
let notice = "";

function folder(name) {
  if (name === "sent") return kept("sent", []);
  const binned = kept("bin", []);
  return LETTERS.filter((letter) => binned.includes(letter.id) === (name === "bin"));
}

function list(name, words) {
  const read = kept("read", []);
  const found = folder(name).filter((letter) =>
    `${letter.from} ${letter.subject} ${letter.text}`.toLowerCase().includes(words.toLowerCase()),
  );
  const rows = found.map(
    (letter) => `<li><a href="#${name === "sent" ? "sent-" : "letter-"}${letter.id}"
      class="${name === "inbox" && !read.includes(letter.id) ? "new" : ""}">
      <span>${escaped(name === "sent" ? letter.to : letter.from)}</span><span>${escaped(letter.subject)}</span>
      <span class="soft">${letter.date}</span></a></li>`,
  );
  const title = { inbox: "Inbox", sent: "Sent", bin: "Bin" }[name];
  view.innerHTML = `<h1>${title}</h1><ul class="card letters">${rows.join("") || "<li>Nothing here.</li>"}</ul>`;
}

function letter(id) {
  const one = LETTERS.find((each) => each.id === id);
  const binned = kept("bin", []);
  keep("read", [...new Set([...kept("read", []), id])]);
  view.innerHTML = `<article class="card letter"><h1>${escaped(one.subject)}</h1>
    <p><strong>${escaped(one.from)}</strong> <span class="soft">&lt;${one.address}&gt;, ${one.date}</span></p>
    <div class="body">${escaped(one.text)}</div>
    <div class="buttons"><a class="button first" href="#reply-${id}">Reply</a>
    ${binned.includes(id) ? "<button>Move to inbox</button>" : "<button>Delete</button>"}</div></article>`;
  view.querySelector("button").addEventListener("click", () => {
    const inside = binned.includes(id);
    keep("bin", inside ? binned.filter((each) => each !== id) : [...binned, id]);
    notice = inside ? "The letter is in the inbox again." : "The letter is in the bin.";
    location.hash = "inbox";
  });
}

function sent(id) {
  const one = kept("sent", []).find((each) => each.id === id);
  view.innerHTML = `<article class="card letter"><h1>${escaped(one.subject)}</h1>
    <p class="soft">To ${escaped(one.to)}</p><div class="body">${escaped(one.text)}</div></article>`;
}

function write(answered) {
  view.innerHTML = `<form class="card" action="#sent"><h1>${answered ? "Reply" : "New letter"}</h1>
    <label for="to">To</label><input id="to" name="to" type="email" required>
    <label for="subject">Subject</label><input id="subject" name="subject" required>
    <label for="text">Message</label><textarea id="text" name="text" rows="8" required></textarea>
    <p><button class="first">Send</button> <a class="button" href="#inbox">Cancel</a></p></form>`;
  const form = view.querySelector("form");
  if (answered) {
    form.to.value = answered.address;
    form.subject.value = `Re: ${answered.subject}`;
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const letters = kept("sent", []);
    const { to, subject, text } = Object.fromEntries(new FormData(form));
    keep("sent", [...letters, { id: letters.length + 1, from: ME, to, subject, text, date: "today" }]);
    notice = `Sent to ${to}.`;
    location.hash = "sent";
  });
}

function show() {
  const [place, id] = (location.hash.slice(1) || "inbox").split("-");
  const number = Number(id);
  if (place === "letter") letter(number);
  else if (place === "reply") write(LETTERS.find((each) => each.id === number));
  else if (place === "write") write(null);
  else if (place === "sent" && id) sent(number);
  else list(place, document.querySelector("#search").value);
  if (notice) {
    view.insertAdjacentHTML("afterbegin", `<p class="notice" role="status">${escaped(notice)}</p>`);
    notice = "";
  }
  const unread = folder("inbox").filter((each) => !kept("read", []).includes(each.id)).length;
  document.querySelector("#inbox").textContent = unread ? `Inbox (${unread})` : "Inbox";
  for (const link of document.querySelectorAll(".mail nav a[id]")) {
    if (link.id === place) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

document.querySelector("#search").addEventListener("input", () => {
  if (!["", "#inbox", "#sent", "#bin"].includes(location.hash)) location.hash = "inbox";
  else show();
});
addEventListener("hashchange", show);
show();
