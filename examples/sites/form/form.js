"use strict";

// The frames write what is entered into sessionStorage, which all frames of one tab share.
const NAMES = { name: "Name", course: "Course", date: "Day", time: "Time", meal: "Lunch", allergies: "Allergies", wheel: "Wheel" };

// Places that nothing outside can look into: the root is closed, and each place is a mere div with a listener.
customElements.define(
  "wheel-picker",
  class extends HTMLElement {
    connectedCallback() {
      const root = this.attachShadow({ mode: "closed" });
      root.innerHTML = `<style>
        .room { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px; }
        .room div { padding: 14px 0; border: 2px solid #1d6b64; border-radius: 50%; text-align: center; }
        .room .taken { border-color: #ccc; color: #aaa; }
        .room .chosen { background: #1d6b64; color: #fff; }
      </style><div class="room"></div>`;
      const room = root.querySelector(".room");
      for (let number = 1; number <= 8; number++) {
        const place = document.createElement("div");
        place.textContent = `W${number}`;
        if ([2, 5].includes(number)) place.className = "taken";
        else {
          place.addEventListener("click", () => {
            room.querySelector(".chosen")?.classList.remove("chosen");
            place.classList.add("chosen");
            sessionStorage.setItem("wheel", place.textContent);
          });
        }
        room.append(place);
      }
    }
  },
);

const dialog = document.querySelector("dialog");
const done = document.querySelector("#done");

document.querySelector("#review").addEventListener("click", () => {
  const list = dialog.querySelector("dl");
  list.replaceChildren();
  for (const [key, name] of Object.entries(NAMES)) {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name;
    value.textContent = sessionStorage.getItem(key) || "not given";
    list.append(term, value);
  }
  dialog.showModal();
});

document.querySelector("#change").addEventListener("click", () => dialog.close());

document.querySelector("#confirm").addEventListener("click", () => {
  dialog.close();
  const said = (key) => sessionStorage.getItem(key) || "?";
  done.textContent = `Reserved: ${said("course")} on ${said("date")} (${said("time")}), wheel ${said("wheel")}, for ${said("name")}.`;
  done.hidden = false;
  location.hash = "reserved";
});
