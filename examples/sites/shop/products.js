"use strict";

// Everything the shop sells. Prices are in cents, so that sums are exact.
const PRODUCTS = [
  { id: "harbour-mug", name: "Harbour mug", kind: "Mugs", shape: "mug", glaze: "#2f6f8f", cents: 1800, stock: 14,
    text: "A mug for large hands. Holds 350 ml, and keeps them warm." },
  { id: "meadow-mug", name: "Meadow mug", kind: "Mugs", shape: "mug", glaze: "#7a9a54", cents: 1650, stock: 9,
    text: "Small and light, with a thin rim. Holds 250 ml." },
  { id: "ember-espresso-cup", name: "Ember espresso cup", kind: "Mugs", shape: "cup", glaze: "#c8643c", cents: 1200, stock: 22,
    text: "For a short coffee. Holds 80 ml and stands on every machine." },
  { id: "tide-bowl", name: "Tide bowl", kind: "Bowls", shape: "bowl", glaze: "#3c8c86", cents: 2400, stock: 7,
    text: "For soup or porridge. 16 cm across, stackable." },
  { id: "oat-bowl", name: "Oat bowl", kind: "Bowls", shape: "bowl", glaze: "#d2b48c", cents: 2250, stock: 11,
    text: "The everyday bowl, unglazed outside. 14 cm across." },
  { id: "salad-bowl", name: "Large salad bowl", kind: "Bowls", shape: "bowl", glaze: "#6b8e4e", cents: 4900, stock: 3,
    text: "Feeds six. 30 cm across; wash it by hand." },
  { id: "slate-plate", name: "Slate plate", kind: "Plates", shape: "plate", glaze: "#55606b", cents: 2100, stock: 18,
    text: "A dinner plate with a low rim. 27 cm across." },
  { id: "cream-plate", name: "Cream plate", kind: "Plates", shape: "plate", glaze: "#e6d9bd", cents: 1900, stock: 16,
    text: "A dessert plate. 20 cm across." },
  { id: "river-jug", name: "River jug", kind: "Jugs and pots", shape: "jug", glaze: "#4a7fa5", cents: 3800, stock: 5,
    text: "Pours without a drop beside the glass. Holds 1.2 l." },
  { id: "copper-teapot", name: "Copper teapot", kind: "Jugs and pots", shape: "teapot", glaze: "#a8623e", cents: 5600, stock: 4,
    text: "Four cups of tea, with a strainer of steel." },
  { id: "moss-vase", name: "Moss vase", kind: "Vases", shape: "vase", glaze: "#5f7d4a", cents: 3200, stock: 8,
    text: "For three or four long stems. 24 cm high." },
  { id: "dawn-vase", name: "Dawn vase", kind: "Vases", shape: "vase", glaze: "#d99a7c", cents: 2900, stock: 0,
    text: "For a single branch. 18 cm high." },
];

const SHAPES = {
  mug: '<path d="M120 90h120v100a30 30 0 0 1-30 30h-60a30 30 0 0 1-30-30z"/><path d="M240 112h18a32 32 0 0 1 0 64h-18" fill="none" stroke-width="14" stroke="currentColor"/>',
  cup: '<path d="M138 120h86v56a28 28 0 0 1-28 28h-30a28 28 0 0 1-28-28z"/><path d="M224 136h12a18 18 0 0 1 0 36h-12" fill="none" stroke-width="10" stroke="currentColor"/><ellipse cx="181" cy="218" rx="66" ry="9"/>',
  bowl: '<path d="M90 120h180a90 90 0 0 1-66 88v12h-48v-12a90 90 0 0 1-66-88z"/>',
  plate: '<ellipse cx="180" cy="160" rx="118" ry="46"/><ellipse cx="180" cy="155" rx="76" ry="27" fill="#ffffff" opacity="0.22"/>',
  jug: '<path d="M132 70l20 8h66l14-8-6 40c18 22 24 44 24 62 0 34-24 52-70 52s-68-18-68-52c0-20 8-42 26-62z"/><path d="M238 104c44-6 44 66 8 70" fill="none" stroke-width="12" stroke="currentColor"/>',
  teapot: '<path d="M120 122c10-22 100-22 112 0 18 16 22 34 20 50-4 34-32 48-76 48s-70-14-74-48c-2-18 2-34 18-50z"/><path d="M250 150l44-34 10 12-50 56z"/><path d="M104 140c-48-12-48 60 4 56" fill="none" stroke-width="11" stroke="currentColor"/><circle cx="176" cy="96" r="9"/>',
  vase: '<path d="M152 60h56l-10 44c34 26 44 54 36 84-6 22-26 32-54 32s-48-10-54-32c-8-30 2-58 36-84z"/>',
};

function picture(product) {
  return `<svg class="picture" viewBox="0 0 360 270" aria-hidden="true">
    <rect width="360" height="270" fill="${product.glaze}" opacity="0.14"/>
    <ellipse cx="180" cy="224" rx="120" ry="10" fill="#22302f" opacity="0.10"/>
    <g fill="${product.glaze}" color="${product.glaze}">${SHAPES[product.shape]}</g></svg>`;
}
