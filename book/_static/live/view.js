// How the page of the live network draws: elements and canvases.
"use strict";

const COLOURS = ["#0173b2", "#de8f05", "#029e73", "#cc78bc"]; // of the four kernels, wherever they are shown
const SIDE = 32, PLANE = SIDE * SIDE;

/** `<tag attributes>children</tag>`; a function among the attributes listens to that event. */
function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes))
        if (typeof value === "function") element.addEventListener(name, value);
        else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    element.append(...children);
    return element;
}

const button = (text, click, label) => make("button", { type: "button", click, ...(label && { "aria-label": label }) }, text);
const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`; // no line ends before the sign
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** The least and the largest of numbers. */
function extremes(numbers) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of numbers) {
        if (value < low) low = value;
        if (value > high) high = value;
    }
    return [low, high];
}

/** Draw squares of `side` × `side` numbers, `columns` in a row with a gap between, black at `low` and white at `high`. */
function drawTiles(canvas, side, columns, numbers, [low, high] = extremes(numbers)) {
    const step = side > 1 ? side + 1 : 1, rows = Math.ceil(numbers.length / side ** 2 / columns);
    Object.assign(canvas, { width: columns * step, height: rows * step });
    const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
    const scale = high > low ? 255 / (high - low) : 0;
    for (let i = 0; i < numbers.length; i++) {
        const tile = Math.floor(i / side ** 2), place = i % side ** 2;
        const y = Math.floor(tile / columns) * step + Math.floor(place / side), x = (tile % columns) * step + (place % side);
        const at = 4 * (y * canvas.width + x), grey = scale * (numbers[i] - low);
        image.data[at] = image.data[at + 1] = image.data[at + 2] = grey;
        image.data[at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
}

/** Draw an image of three planes of pixels 0 … 255. */
function drawImage(canvas, pixels, x = 0, y = 0) {
    const context = canvas.getContext("2d"), image = context.createImageData(SIDE, SIDE);
    for (let i = 0; i < PLANE; i++) image.data.set([pixels[i], pixels[PLANE + i], pixels[2 * PLANE + i], 255], 4 * i);
    context.putImageData(image, x, y);
}

/** Where, from 0 to 1 in either direction, a pointer is on an element. */
function placeOn(element, { clientX, clientY }) {
    const box = element.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height].map(n => Math.min(0.999, Math.max(0, n)));
}

/** Act on 0 … count − 1 in slices short enough for the page to answer in between; false if `goes` ends it early. */
async function inSlices(count, act, goes) {
    for (let index = 0, since = performance.now(); index < count; index++) {
        act(index);
        if (performance.now() - since > 16) {
            await new Promise(done => setTimeout(done));
            if (!goes()) return false;
            since = performance.now();
        }
    }
    return true;
}
