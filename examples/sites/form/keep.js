"use strict";

const form = document.querySelector("form");
for (const field of form.elements) sessionStorage.removeItem(field.name);
sessionStorage.removeItem("wheel");
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", (event) => sessionStorage.setItem(event.target.name, event.target.value));
