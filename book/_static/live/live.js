// "Break its attention": the page round a network that runs in it (network.js).
"use strict";

const COLOURS = ["#0173b2", "#de8f05", "#029e73", "#cc78bc"];
const NAMES = { "eam-rcr": "EAM, four channels", dynamic: "dynamic, all channels", static: "static, one kernel" };
const SIDE = 32, NUMBERS = 3 * SIDE * SIDE;
const folder = document.currentScript.src.replace(/[^/]*$/, "");
const loaded = {}; // networks and images, as their scripts hand them over
window.liveNetwork = about => (loaded[about.name] = unpack(about));
window.liveImages = about => (loaded.images = { ...about, pixels: bytesOf(about.pixels) });

/** Run a script of this folder once: unlike fetch, that works from a file, too. */
const scripts = {};
const load = name => (scripts[name] ??= new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), { src: `${folder}${name}.js`, onload: done, onerror: failed });
    document.head.append(script);
}));

/** `<tag attributes>children</tag>`; a function among the attributes listens to that event. */
function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes))
        if (typeof value === "function") element.addEventListener(name, value);
        else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    element.append(...children);
    return element;
}

/** Draw numbers as grey pixels, darkest at the least; `toGrid(i)` says where number i lies. */
function drawGrey(canvas, width, height, numbers, toGrid) {
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    let [low, high] = [Infinity, -Infinity];
    for (const value of numbers) [low, high] = [Math.min(low, value), Math.max(high, value)];
    numbers.forEach((value, i) => {
        const [x, y] = toGrid(i), grey = high > low ? (255 * (value - low)) / (high - low) : 0;
        image.data.set([grey, grey, grey, 255], 4 * (y * width + x));
    });
    context.putImageData(image, 0, 0);
}

class Live {
    constructor(place) {
        this.place = place;
        this.conv = "eam-rcr";
        this.index = 0;
        this.mode = "own";
        this.layer = 5; // large enough maps to see something in them
        this.frame = 0;
        this.reads = {};
        this.removed = {};
        this.known = {}; // own answers to all images, by network
    }

    async start() {
        this.place.replaceChildren(make("p", { role: "status" }, "Loading the network and 200 images …"));
        try {
            await Promise.all([load(this.conv), load("images")]);
        } catch {
            this.place.replaceChildren(make("p", { role: "alert" }, "The network could not be loaded. Reload the page to try again."));
            return;
        }
        this.images = loaded.images;
        this.count = this.images.labels.length;
        this.build();
        this.choose(0);
        this.picture.focus();
    }

    get network() {
        return loaded[this.conv];
    }

    pixelsOf(index) {
        return this.images.pixels.subarray(index * NUMBERS, (index + 1) * NUMBERS);
    }

    /** What the switches ask for, for the image of this index. */
    change(index) {
        const mixes = {
            own: null,
            mean: layer => this.network.layers[layer].mean,
            another: layer => this.othersMixes(index)[layer],
            uniform: (_, own) => own.map(() => 1 / own.length),
        };
        const only = /^kernel (\d)$/.exec(this.mode);
        const mix = only ? (_, own) => own.map((__, k) => Number(k === only[1] - 1)) : mixes[this.mode];
        return { mix, reads: this.reads, removed: this.removed };
    }

    othersMixes(index) {
        const other = (index + 67) % this.count; // far enough away in a set that has no order
        return run(this.network, this.pixelsOf(other)).mixes;
    }

    // What is on the page ------------------------------------------------------------------------------------------

    build() {
        const button = (text, act, label) => make("button", { type: "button", click: act, ...(label ? { "aria-label": label } : {}) }, text);
        this.picture = make("canvas", {
            width: SIDE, height: SIDE, tabindex: 0, role: "img", class: "live-picture",
            pointerdown: event => this.paint(event), pointermove: event => event.buttons && this.paint(event),
        });
        this.colour = make("input", { type: "color", value: "#ffffff", "aria-label": "Colour of the brush" });
        this.bars = make("ol", { class: "live-bars", "aria-live": "polite" });
        this.chain = make("div", { class: "live-chain", role: "group", "aria-label": "Layers, from the image to the answer" });
        this.about = make("p", { class: "live-about" });
        this.maps = make("canvas", {});
        this.frames = make("div", { class: "live-frames" });
        this.kernels = make("div", { class: "live-kernels" });
        this.drop = button("Remove this channel", () => this.remove());
        const networks = make("select", { change: event => this.take(event.target.value) },
            ...Object.entries(NAMES).map(([value, name]) => make("option", { value }, name)));
        const modes = ["own", "mean", "another", "uniform", "kernel 1", "kernel 2", "kernel 3", "kernel 4"];
        const texts = { own: "its own", mean: "the mean of 2,000 images", another: "another image's", uniform: "uniform, ¼ each" };
        this.modes = make("fieldset", { class: "live-modes", change: event => this.set({ mode: event.target.value }) },
            make("legend", {}, "Its attention is"),
            ...modes.map(mode => make("label", {},
                make("input", { type: "radio", name: "live-mode", value: mode, checked: mode === "own" }), ` ${texts[mode] ?? `${mode} only`}`)));
        this.guess = make("input", { type: "range", min: 0, max: this.count, value: this.count / 2,
            input: event => (this.guessed.value = event.target.value) });
        this.guessed = make("output", {}, String(this.count / 2));
        this.tally = make("p", { class: "live-tally", role: "status" });
        this.counting = button(`Count all ${this.count}`, () => this.countAll());
        this.place.replaceChildren(
            make("div", { class: "live-row" },
                make("div", { class: "live-left" },
                    make("label", {}, "Network ", networks),
                    this.picture,
                    make("div", { class: "live-buttons" },
                        button("◀", () => this.choose(this.index - 1), "Previous image"),
                        button("▶", () => this.choose(this.index + 1), "Next image"),
                        button("⇋", () => this.move((x, y) => [SIDE - 1 - x, y]), "Mirror"),
                        button("←", () => this.move((x, y) => [x + 2, y]), "Shift to the left"),
                        button("→", () => this.move((x, y) => [x - 2, y]), "Shift to the right"),
                        button("↑", () => this.move((x, y) => [x, y + 2]), "Shift up"),
                        button("↓", () => this.move((x, y) => [x, y - 2]), "Shift down"),
                        button("↺", () => this.choose(this.index), "The image as it was")),
                    make("label", {}, "Draw on it with ", this.colour)),
                make("div", { class: "live-right" }, this.bars)),
            this.chain,
            make("div", { class: "live-row" },
                make("div", { class: "live-left" }, this.about, make("div", { class: "live-maps" }, this.maps, this.frames), this.drop),
                make("div", { class: "live-right" }, this.kernels)),
            this.modes,
            make("div", { class: "live-buttons" },
                button("Four other channels, in every layer", () => this.shuffle()),
                button("Undo all", () => this.undo())),
            make("div", { class: "live-guess" },
                make("label", {}, `Guess first: how many of ${this.count} images will it get right? `, this.guess), this.guessed, this.counting),
            this.tally);
    }

    // What the reader does -----------------------------------------------------------------------------------------

    set(values) {
        Object.assign(this, values);
        this.tally.textContent = "";
        this.show();
    }

    choose(index) {
        this.index = (index + this.count) % this.count;
        this.pixels = Uint8Array.from(this.pixelsOf(this.index));
        this.set({ changed: false });
    }

    async take(conv) {
        await load(conv);
        this.set({ conv, reads: {}, removed: {}, frame: 0 });
    }

    /** Take every pixel from elsewhere; beyond the border the last one counts. */
    move(from) {
        const before = this.pixels, inside = n => Math.min(SIDE - 1, Math.max(0, n));
        const moved = before.map((_, i) => {
            const plane = Math.floor(i / SIDE ** 2), [x, y] = from(i % SIDE, Math.floor((i % SIDE ** 2) / SIDE)).map(inside);
            return before[(plane * SIDE + y) * SIDE + x];
        });
        this.set({ pixels: moved, changed: true });
    }

    paint(event) {
        const box = this.picture.getBoundingClientRect();
        const [x, y] = [event.clientX - box.left, event.clientY - box.top].map((n, i) => Math.floor((n / [box.width, box.height][i]) * SIDE));
        const colour = [1, 3, 5].map(start => parseInt(this.colour.value.slice(start, start + 2), 16));
        for (const [i, j] of [[0, 0], [1, 0], [0, 1], [1, 1]])
            if (x + i < SIDE && y + j < SIDE && x + i >= 0 && y + j >= 0)
                colour.forEach((value, plane) => (this.pixels[(plane * SIDE + y + j) * SIDE + x + i] = value));
        event.preventDefault();
        this.set({ changed: true });
    }

    /** Put frame `frame` of the layer on another channel; two frames on one would read it twice. */
    read(frame, channel) {
        const layer = this.network.layers[this.layer], reads = [...(this.reads[this.layer] ?? layer.reads)];
        if (channel < 0 || channel >= layer.inputs || reads.includes(channel)) return;
        reads[frame] = channel;
        this.set({ frame, reads: { ...this.reads, [this.layer]: reads } });
        this.frames.children[frame]?.focus();
    }

    remove() {
        const channel = this.marked(), gone = new Set(this.removed[this.layer]);
        if (!gone.delete(channel)) gone.add(channel);
        this.set({ removed: { ...this.removed, [this.layer]: gone } });
    }

    shuffle() {
        const reads = {};
        this.network.layers.forEach((layer, index) => {
            if (!layer.reads) return;
            const others = Array.from({ length: layer.inputs }, (_, c) => c).filter(c => !layer.reads.includes(c));
            reads[index] = layer.reads.map(() => others.splice(Math.floor(Math.random() * others.length), 1)[0]);
        });
        this.set({ reads });
    }

    undo() {
        this.modes.querySelector("input").checked = true;
        this.set({ mode: "own", reads: {}, removed: {}, frame: 0 });
    }

    // What it shows ------------------------------------------------------------------------------------------------

    /** The channel that the buttons mean: under the chosen frame, or the one that was touched. */
    marked() {
        const reads = this.reads[this.layer] ?? this.network.layers[this.layer].reads;
        return reads ? reads[this.frame] : Math.min(this.frame, this.network.layers[this.layer].inputs - 1);
    }

    show() {
        const result = run(this.network, this.pixels, this.change(this.index));
        this.showPicture(result);
        this.showChain(result);
        this.showLayer(result);
    }

    showPicture({ logits }) {
        const context = this.picture.getContext("2d"), image = context.createImageData(SIDE, SIDE), plane = SIDE * SIDE;
        for (let i = 0; i < plane; i++) image.data.set([this.pixels[i], this.pixels[plane + i], this.pixels[2 * plane + i], 255], 4 * i);
        context.putImageData(image, 0, 0);
        const truth = this.images.labels[this.index], name = this.images.classes[truth];
        this.picture.setAttribute("aria-label", `Test image ${this.index + 1} of ${this.count}, ${name}${this.changed ? ", changed" : ""}`);
        const top = Math.max(...logits), powers = logits.map(logit => Math.exp(logit - top)), sum = powers.reduce((a, b) => a + b);
        const order = powers.map((power, i) => [power / sum, i]).sort(([a], [b]) => b - a).slice(0, 5);
        this.bars.replaceChildren(...order.map(([share, i]) =>
            make("li", i === truth ? { class: "live-true" } : {},
                make("span", { class: "live-bar", style: `--share: ${share}` }),
                `${this.images.classes[i]} ${(100 * share).toFixed(0)} %${i === truth ? " (the truth)" : ""}`)),
            ...(order.some(([, i]) => i === truth) ? [] : [make("li", { class: "live-true" }, `the truth, ${name}: ${((100 * powers[truth]) / sum).toFixed(1)} %`)]));
    }

    showChain({ mixes }) {
        const focused = [...this.chain.children].indexOf(document.activeElement);
        this.chain.replaceChildren(...this.network.layers.map((layer, index) => {
            const mix = mixes[index], said = mix ? mix.map((part, k) => `kernel ${k + 1} ${(100 * part).toFixed(0)} %`).join(", ") : "one kernel";
            const touched = index in this.reads || this.removed[index]?.size ? " live-touched" : "";
            return make("button", {
                type: "button", class: `live-layer${touched}`, "aria-pressed": String(index === this.layer), title: `${layer.name}: ${said}`,
                "aria-label": `${layer.name}: ${said}`, click: () => this.set({ layer: index, frame: 0 }),
            }, ...(mix ?? [1]).map((part, k) => make("span", { style: `flex-grow: ${part}; background: ${mix ? COLOURS[k] : "currentColor"}` })));
        }));
        this.chain.children[focused]?.focus();
    }

    showLayer({ mixes, seen }) {
        const layer = this.network.layers[this.layer], { maps, side } = seen[this.layer], mix = mixes[this.layer];
        const columns = Math.min(16, layer.inputs), rows = Math.ceil(layer.inputs / columns), step = side + 1;
        drawGrey(this.maps, columns * step, rows * step, maps, i => {
            const channel = Math.floor(i / side ** 2), place = i % side ** 2;
            return [(channel % columns) * step + (place % side), Math.floor(channel / columns) * step + Math.floor(place / side)];
        });
        const gone = this.removed[this.layer] ?? new Set(), reads = this.reads[this.layer] ?? layer.reads;
        const at = channel => `left: ${(100 * (channel % columns)) / columns}%; top: ${(100 * Math.floor(channel / columns)) / rows}%; width: ${100 / columns}%; height: ${100 / rows}%`;
        const channelAt = event => {
            const box = this.maps.getBoundingClientRect();
            const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
            return Math.floor(Math.min(0.999, Math.max(0, y)) * rows) * columns + Math.floor(Math.min(0.999, Math.max(0, x)) * columns);
        };
        this.frames.replaceChildren(...(reads ?? [this.marked()]).map((channel, frame) => make("button", {
            type: "button", class: "live-frame", style: at(channel), "aria-pressed": String(frame === this.frame || !reads),
            "aria-label": reads ? `Frame ${frame + 1} reads channel ${channel + 1}; the arrow keys move it` : `Channel ${channel + 1}`,
            click: () => reads && this.set({ frame }),
            pointerup: event => reads && this.read(frame, channelAt(event)),
            pointerdown: event => event.target.setPointerCapture(event.pointerId),
            keydown: event => {
                const move = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
                if (!move) return;
                event.preventDefault();
                if (reads) this.read(frame, channel + move);
                else if (channel + move >= 0 && channel + move < layer.inputs) this.set({ frame: channel + move });
            },
        })), ...[...gone].map(channel => make("span", { class: "live-gone", style: at(channel) })));
        this.maps.onclick = event => (reads ? this.read(this.frame, channelAt(event)) : this.set({ frame: channelAt(event) }));
        this.maps.setAttribute("aria-label", `The ${layer.inputs} maps that ${layer.name} reads`);
        this.maps.setAttribute("role", "img");
        const attends = reads ? "its attention sees the four in frames" : mix ? "its attention sees the mean of each" : "it has no attention";
        this.about.textContent = `${layer.name[0].toUpperCase()}${layer.name.slice(1)} reads ${layer.inputs} maps of ${side} × ${side}; ${attends}.`;
        this.drop.textContent = gone.has(this.marked()) ? `Put channel ${this.marked() + 1} back` : `Remove channel ${this.marked() + 1}`;
        this.showKernels(layer, mix);
    }

    showKernels(layer, mix) {
        const size = layer.outputs * layer.taps, { size: k, taps } = layer;
        // Filters of a depthwise kernel as tiles, a pointwise kernel as its matrix, the first layer's as tiles of colour planes.
        const columns = k === 1 ? taps : Math.ceil(Math.sqrt(layer.outputs * (taps / k ** 2))), step = k === 1 ? 1 : k + 1;
        const toGrid = k === 1
            ? i => [i % taps, Math.floor(i / taps)]
            : i => {
                const tile = Math.floor(i / k ** 2), tap = i % k ** 2;
                return [(tile % columns) * step + (tap % k), Math.floor(tile / columns) * step + Math.floor(tap / k)];
            };
        const width = columns * step, height = k === 1 ? layer.outputs : Math.ceil((layer.outputs * taps) / k ** 2 / columns) * step;
        const drawn = (numbers, label) => {
            const canvas = make("canvas", { role: "img", "aria-label": label });
            drawGrey(canvas, width, height, numbers, toGrid);
            return canvas;
        };
        const parts = mix ? mix.map((part, n) => make("figure", {},
            drawn(layer.weight.subarray(n * size, (n + 1) * size), `Kernel ${n + 1}`),
            make("figcaption", {}, make("span", { class: "live-swatch", style: `background: ${COLOURS[n]}` }), ` ${(100 * part).toFixed(1)} %`))) : [];
        this.kernels.replaceChildren(...parts, make("figure", {}, drawn(mixture(layer, mix), mix ? "Their mixture" : "Its kernel"),
            make("figcaption", {}, mix ? "= their mixture" : "its one kernel")));
    }

    // What it counts -----------------------------------------------------------------------------------------------

    /** Answers to all images, a few at a time, so that the page stays awake. */
    async answers(change) {
        const found = [];
        for (let index = 0; index < this.count; index++) {
            found.push(largest(run(this.network, this.pixelsOf(index), change(index)).logits));
            if (index % 10 === 9) {
                this.tally.textContent = `${index + 1} of ${this.count} …`;
                await new Promise(done => setTimeout(done));
            }
        }
        return found;
    }

    async countAll() {
        this.counting.disabled = true;
        const right = answers => answers.filter((answer, index) => answer === this.images.labels[index]).length;
        const own = (this.known[this.conv] ??= await this.answers(() => ({})));
        const asItWas = this.mode === "own" && !Object.keys(this.reads).length && !Object.keys(this.removed).length;
        const now = asItWas ? own : await this.answers(index => this.change(index));
        const changed = now.filter((answer, index) => answer !== own[index]).length;
        const off = Math.abs(right(now) - Number(this.guess.value));
        this.tally.textContent =
            `${right(now)} of ${this.count} right; with its own attention and all channels ${right(own)}. ` +
            `${changed} answers changed. You guessed ${this.guess.value}: off by ${off}.`;
        this.counting.disabled = false;
    }
}

document.addEventListener("DOMContentLoaded", () => {
    for (const place of document.querySelectorAll(".live"))
        place.querySelector("button").addEventListener("click", () => new Live(place).start());
});
