// "Break its attention": a trained network that runs in the page (network.js), and all that a reader may do to it.
"use strict";

const NETWORKS = {
    "cifar100-eam-rcr": "photographs: EAM, four channels",
    "cifar100-dynamic": "photographs: DyNet, all channels",
    "cifar100-static": "photographs: static",
    "fashion_mnist-eam-rcr": "garments: EAM, four channels",
};
// What may mix the kernels in the attention's place, and what that means.
const SWITCHES = {
    own: ["its own", "As trained: every image mixes kernels of its own."],
    mean: ["the mean", "Every image gets the same weights, their mean over 2,000 images. The network is static now."],
    another: ["another image’s", "Every image gets the weights of another one, in every layer."],
    uniform: ["uniform, ¼ each", "All four kernels weigh the same, in every layer and for every image."],
    ...Object.fromEntries([1, 2, 3, 4].map(k =>
        [`kernel ${k}`, [`kernel ${k} only`, "One of the four kernels is all that is left, in every layer and for every image."]])),
    others: ["four other channels", "In every layer the attention reads four channels that it was not trained to read, drawn just now."],
};
const FAILED = "The network could not be loaded. Reload the page to try again.";
const STRIDE = 67; // to the image whose weights another one gets: far enough in a set that has no order

// What the scripts of this folder hand over; unlike what is fetched, a script also comes from a file.
const folder = document.currentScript.src.replace(/[^/]*$/, "");
const networks = {}, sets = {}, scripts = {};
window.liveNetwork = about => (networks[about.name] = { ...unpack(about), mixes: [] });
window.liveImages = about => {
    const bytes = bytesOf(about.pixels), size = bytes.length / about.labels.length;
    // A grey image comes as one plane, which is all three colours.
    const at = index => Uint8Array.from({ length: 3 * PLANE }, (_, i) => bytes[index * size + (i % size)]);
    sets[about.name] = { ...about, pixels: null, at };
};
const load = name => (scripts[name] ??= new Promise((done, failed) => {
    const script = make("script", { src: `${folder}${name}.js`, load: done, error: failed });
    document.head.append(script);
}));
const setOf = name => name.split("-")[0];
const loadNetwork = name => Promise.all([load(name), load(`${setOf(name)}-images`)]);

/** One picture, one switch and one guess. */
class Strip {
    constructor(place) {
        this.place = place;
        this.name = "cifar100-eam-rcr";
        this.index = 0; // of the image
        this.mode = "own";
        this.reads = {}; // by layer: the channels under its frames, where they are others than trained
        this.removed = {}; // by layer: the channels that it finds empty
        this.version = 0; // of what is counted
    }

    async start() {
        const status = make("p", { role: "status" }, "Loading the network and 200 images …");
        this.place.replaceChildren(status);
        try {
            await loadNetwork(this.name);
        } catch {
            status.textContent = FAILED;
            return;
        }
        this.place.replaceChildren(...this.build());
        this.alter({ pixels: this.images.at(this.index), changed: false });
        this.place.focus();
    }

    get network() {
        return networks[this.name];
    }

    get images() {
        return sets[setOf(this.name)];
    }

    get count() {
        return this.images.labels.length;
    }

    // What it computes ---------------------------------------------------------------------------------------------

    /** What the switches ask for, for the image of this index. */
    change(index) {
        const [mode, number] = this.mode.split(" ");
        const others = mode === "another" && this.ownMixes(this.donor(index));
        const mix = {
            mean: layer => this.network.layers[layer].mean,
            another: layer => others[layer],
            uniform: (_, own) => own.map(() => 1 / own.length),
            kernel: (_, own) => own.map((__, k) => Number(k === number - 1)),
        }[mode];
        return { mix, reads: this.reads, removed: this.removed };
    }

    donor(index) {
        return (index + STRIDE) % this.count;
    }

    ownMixes(index) {
        return (this.network.mixes[index] ??= run(this.network, this.images.at(index)).mixes);
    }

    isRight(answers) {
        return answers.map((answer, index) => answer === this.images.labels[index]);
    }

    /** What is otherwise than trained, in words; nothing if nothing is. */
    tried() {
        const moved = this.mode === "others" ? 0 : Object.keys(this.reads).length;
        const removed = Object.values(this.removed).reduce((sum, gone) => sum + gone.size, 0);
        return [
            this.mode !== "own" && `attention: ${SWITCHES[this.mode][0]}`,
            moved && `frames moved in ${counted(moved, "layer")}`,
            removed && `${counted(removed, "channel")} removed`,
        ].filter(Boolean).join(", ");
    }

    // What is on the page ------------------------------------------------------------------------------------------

    build() {
        const another = make("input", { type: "checkbox", change: event => this.turn(event.target.checked ? "another" : "own") });
        return [
            make("div", { class: "live-row" }, ...this.buildPicture()),
            make("label", { class: "live-switch" }, another, " Give every image the attention of another image"),
            ...this.buildGuess(),
        ];
    }

    buildPicture(...tools) {
        this.picture = make("canvas", { width: SIDE, height: SIDE, role: "img" });
        this.easel = make("div", { class: "live-picture" }, this.picture);
        this.answer = make("p", { class: "live-answer", "aria-live": "polite" });
        this.bars = make("ol", { class: "live-bars" });
        const walk = make("div", { class: "live-buttons" },
            button("◀", () => this.choose(this.index - 1), "Previous image"),
            button("▶", () => this.choose(this.index + 1), "Next image"));
        return [make("div", {}, this.easel, walk, ...tools), make("div", { class: "live-rest" }, this.answer, this.bars)];
    }

    buildGuess() {
        this.question = make("span");
        this.guess = make("input", { type: "range", min: 0, max: this.count, input: () => this.showGuess(true) });
        this.guessed = make("output");
        this.check = button("Count them", () => this.countAll());
        this.progress = make("progress", { max: this.count, value: 0, "aria-label": "Images counted", hidden: true });
        this.tally = make("p", { class: "live-tally", role: "status" });
        return [
            make("label", {}, this.question, this.guess),
            make("div", { class: "live-buttons" }, "Your guess: ", this.guessed, this.check, this.progress),
            this.tally,
        ];
    }

    // What the reader does -----------------------------------------------------------------------------------------

    /** Change what is shown. */
    set(values) {
        Object.assign(this, values);
        this.show(run(this.network, this.pixels, this.change(this.index)));
    }

    /** Change what is counted: what was counted, or is being counted, and what was guessed, are of something else. */
    alter(values) {
        this.version++;
        this.tally.textContent = "";
        this.progress.hidden = true;
        this.set(values);
        this.place.dataset.network = this.name;
        this.showGuess(false);
    }

    choose(index) {
        this.index = (index + this.count) % this.count;
        this.set({ pixels: this.images.at(this.index), changed: false });
    }

    turn(mode) {
        this.alter({ mode, reads: {} });
    }

    // What it shows ------------------------------------------------------------------------------------------------

    show({ logits }) {
        drawImage(this.picture, this.pixels);
        const { classes, labels } = this.images, truth = labels[this.index], shares = softmax(logits);
        this.picture.setAttribute("aria-label",
            `Test image ${this.index + 1} of ${this.count}, ${classes[truth]}${this.changed ? ", changed" : ""}`);
        const order = shares.map((share, i) => [share, i]).sort(([a], [b]) => b - a);
        const shown = order.slice(0, 5), [[share, first]] = order;
        if (!shown.some(([, i]) => i === truth)) shown[4] = [shares[truth], truth];
        this.answer.replaceChildren("It answers ", make("strong", {}, classes[first]), ` (${percent(share)}); `,
            first === truth ? "that is right." : `it is: ${classes[truth]}.`);
        this.bars.replaceChildren(...shown.map(([part, i]) => make("li", i === truth ? { class: "live-true" } : {},
            `${classes[i]} ${percent(part)}`, make("span", { class: "live-bar", style: `--share: ${part}` }))));
    }

    showGuess(touched) {
        const tried = this.tried(), right = this.isRight(this.network.answers).filter(Boolean).length;
        if (!touched) this.guess.value = this.count / 2;
        this.question.textContent = `As trained, it gets ${right} of these ${this.count} images right. ` +
            (tried ? `Guess first: how many now (${tried})?` : "Touch a switch, and guess what it does.");
        this.guessed.textContent = touched ? this.guess.value : "?";
        this.guess.disabled = !tried;
        this.check.disabled = !tried || !touched;
    }

    async countAll() {
        const { version, network, images } = this, found = [];
        this.guess.disabled = this.check.disabled = true;
        this.progress.hidden = false;
        const isWhole = await inSlices(this.count, index => {
            found.push(largest(run(network, images.at(index), this.change(index)).logits));
            this.progress.value = found.length;
        }, () => version === this.version);
        if (isWhole) this.report(found);
    }

    report(found) {
        const before = this.isRight(this.network.answers), now = this.isRight(found);
        const right = now.filter(Boolean).length, lost = before.filter((was, i) => was && !now[i]).length;
        const gained = now.filter((is, i) => is && !before[i]).length;
        const changed = found.filter((answer, i) => answer !== this.network.answers[i]).length;
        this.guess.disabled = false;
        this.progress.hidden = true;
        this.tally.textContent = `${right} of ${this.count} right: ${lost} lost, ${gained} gained, ${counted(changed, "answer")} changed. ` +
            `You guessed ${this.guess.value}: off by ${Math.abs(right - this.guess.value)}.`;
    }
}

/** The whole network to look into, and every switch. */
class Bench extends Strip {
    constructor(place) {
        super(place);
        this.layer = 5; // its maps are large enough to see something in them, and more than a few
        this.pin = 0; // the channel that may be removed
        this.held = 4; // the marker that a touch of the maps moves: one of four frames, or behind them the pin
        this.brush = [16, 16];
    }

    // What is on the page ------------------------------------------------------------------------------------------

    build() {
        return [
            this.buildNetworks(),
            make("div", { class: "live-columns" },
                make("div", { class: "live-row" }, ...this.buildPicture(this.buildTools())),
                make("div", {}, this.buildChain(), this.buildMaps())),
            this.buildKernels(),
            this.buildSwitches(),
            ...this.buildGuess(),
            ...this.buildGallery(),
        ];
    }

    buildNetworks() {
        const offered = Object.entries(NETWORKS).map(([value, name]) => make("option", { value }, name));
        return make("label", { class: "live-network" }, "Network ",
            make("select", { change: event => this.take(event.target.value) }, ...offered));
    }

    buildTools() {
        this.colour = make("input", { type: "color", value: "#ffffff" });
        return make("div", { class: "live-buttons" },
            button("⇋", () => this.move((x, y) => [SIDE - 1 - x, y]), "Mirror"),
            button("←", () => this.move((x, y) => [x + 2, y]), "Shift to the left"),
            button("→", () => this.move((x, y) => [x - 2, y]), "Shift to the right"),
            button("↑", () => this.move((x, y) => [x, y + 2]), "Shift up"),
            button("↓", () => this.move((x, y) => [x, y - 2]), "Shift down"),
            button("↺", () => this.choose(this.index), "The image as it was"),
            make("label", {}, "Brush ", this.colour));
    }

    buildPicture(...tools) {
        const parts = super.buildPicture(...tools);
        const paint = event => event.buttons && this.paint(placeOn(this.picture, event).map(n => Math.floor(n * SIDE)));
        this.tip = make("button", {
            type: "button", class: "live-brush", "aria-label": "Brush: the arrow keys move it, the space bar paints",
            click: () => this.paint(this.brush),
            keydown: event => this.steer(event, { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }, ([x, y]) =>
                this.set({ brush: [this.brush[0] + x, this.brush[1] + y].map(n => Math.min(SIDE - 2, Math.max(0, n))) })),
        });
        this.easel.append(this.tip);
        for (const kind of ["pointerdown", "pointermove"]) this.picture.addEventListener(kind, paint);
        return parts;
    }

    buildChain() {
        this.links = this.network.layers.map((_, layer) => make("button", { type: "button", class: "live-link", click: () => this.set({ layer }) },
            ...COLOURS.map(() => make("span"))));
        const blocks = [this.links.slice(0, 1)];
        for (let i = 1; i < this.links.length; i += 2) blocks.push(this.links.slice(i, i + 2));
        return make("div", { class: "live-chain", role: "group", "aria-label": "Layers, from the image to the answer" },
            ...blocks.map((links, block) => make("div", {}, make("small", {}, block ? String(block) : "first"), ...links)));
    }

    buildMaps() {
        this.about = make("p");
        this.maps = make("canvas", { role: "img", click: event => this.put(this.held, this.channelAt(event)) });
        this.markers = [0, 1, 2, 3, 4].map(marker => make("button", {
            type: "button", class: marker < 4 ? "live-marker" : "live-marker live-pin",
            click: () => this.set({ held: marker }),
            pointerdown: event => event.target.setPointerCapture(event.pointerId),
            pointermove: event => event.target.hasPointerCapture(event.pointerId) && this.put(marker, this.channelAt(event)),
            keydown: event => this.steer(event, { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns }, step =>
                this.put(marker, this.under(marker) + step)),
        }));
        this.gone = make("div");
        this.readings = make("canvas", { role: "img", "aria-label": "What the attention reads: 5 by 5 means of each of the four channels" });
        this.reading = make("figure", { class: "live-reading" }, this.readings,
            make("figcaption", {}, "What the attention reads: four channels, 5 × 5 means of each"));
        this.remove = button("", () => this.toggle(this.pin));
        return make("div", {}, this.about,
            make("div", { class: "live-maps" }, this.maps, this.gone, ...this.markers), this.remove, this.reading);
    }

    buildKernels() {
        this.mix = make("div", { class: "live-mix", role: "img" }, ...COLOURS.map(colour => make("span", { style: `background: ${colour}` })));
        this.kernels = [...COLOURS, null].map(colour => make("figure", {},
            make("canvas", { role: "img" }),
            make("figcaption", {}, ...(colour ? [make("span", { class: "live-swatch", style: `background: ${colour}` })] : []), make("span"))));
        return make("div", {}, this.mix, make("div", { class: "live-kernels" }, ...this.kernels));
    }

    buildSwitches() {
        this.switches = Object.keys(SWITCHES).map(value => make("input",
            { type: "radio", name: "live-switch", value, change: () => this.turn(value) }));
        this.note = make("p");
        return make("div", {},
            make("fieldset", { class: "live-switches" }, make("legend", {}, "Its attention is"),
                ...this.switches.map(input => make("label", {}, input, ` ${SWITCHES[input.value][0]}`))),
            this.note, button("Undo all", () => this.undo()));
    }

    buildGallery() {
        this.gallery = make("canvas", {
            class: "live-gallery", width: 25 * SIDE, height: 8 * SIDE, role: "img", "aria-label": "All 200 test images, small",
            click: event => {
                const [x, y] = placeOn(this.gallery, event);
                this.choose(Math.floor(y * 8) * 25 + Math.floor(x * 25));
            },
        });
        this.legend = make("p", { class: "live-legend" });
        this.history = make("ol", { class: "live-history", reversed: true });
        return [this.gallery, this.legend, this.history];
    }

    // What the reader does -----------------------------------------------------------------------------------------

    async take(name) {
        try {
            await loadNetwork(name);
        } catch {
            this.tally.textContent = FAILED;
            return;
        }
        this.name = name;
        this.alter({ mode: "own", reads: {}, removed: {}, pixels: this.images.at(this.index), changed: false });
    }

    alter(values) {
        super.alter(values);
        this.showGallery(null);
    }

    turn(mode) {
        this.alter({ mode, reads: mode === "others" ? this.otherReads() : {} });
    }

    otherReads() {
        return Object.fromEntries(this.network.layers.flatMap((layer, index) => {
            if (!layer.reads) return [];
            const others = Array.from({ length: layer.inputs }, (_, c) => c).filter(c => !layer.reads.includes(c));
            return [[index, layer.reads.map(() => others.splice(Math.floor(Math.random() * others.length), 1)[0])]];
        }));
    }

    undo() {
        this.alter({ mode: "own", reads: {}, removed: {} });
    }

    /** Call `go` with what the key of an event means, if it means anything. */
    steer(event, meanings, go) {
        if (!(event.key in meanings)) return;
        event.preventDefault();
        go(meanings[event.key]);
    }

    /** Take every pixel from elsewhere; beyond the border the last one counts. */
    move(from) {
        const before = this.pixels, inside = n => Math.min(SIDE - 1, Math.max(0, n));
        const pixels = before.map((_, i) => {
            const [x, y] = from(i % SIDE, Math.floor((i % PLANE) / SIDE)).map(inside);
            return before[i - (i % PLANE) + y * SIDE + x];
        });
        this.set({ pixels, changed: true });
    }

    /** Four pixels in the brush's colour. */
    paint([x, y]) {
        const colour = [1, 3, 5].map(start => parseInt(this.colour.value.slice(start, start + 2), 16));
        for (const [i, j] of [[x, y], [x + 1, y], [x, y + 1], [x + 1, y + 1]])
            if (i < SIDE && j < SIDE) colour.forEach((value, plane) => (this.pixels[plane * PLANE + j * SIDE + i] = value));
        this.set({ brush: [x, y].map(n => Math.min(SIDE - 2, n)), changed: true });
    }

    /** The channels under the frames; none where an attention reads all, or is not there. */
    get frames() {
        return this.reads[this.layer] ?? this.network.layers[this.layer].reads;
    }

    under(marker) {
        return marker < 4 ? this.frames[marker] : this.pin;
    }

    channelAt(event) {
        const [x, y] = placeOn(this.maps, event);
        return Math.floor(y * this.rows) * this.columns + Math.floor(x * this.columns);
    }

    /** Put a marker on a channel. Two frames on one channel would read it twice. */
    put(marker, channel) {
        const frames = this.frames && [...this.frames];
        if (channel < 0 || channel >= this.network.layers[this.layer].inputs || channel === this.under(marker)) return;
        if (marker === 4) this.set({ held: marker, pin: channel });
        else if (!frames.includes(channel)) {
            frames[marker] = channel;
            // Frames say something only where the attention is the image's own.
            const mode = this.mode === "others" ? "others" : "own";
            this.alter({ held: marker, mode, reads: { ...this.reads, [this.layer]: frames } });
        }
    }

    /** Remove a channel, or put it back. */
    toggle(channel) {
        const gone = new Set(this.removed[this.layer]);
        if (!gone.delete(channel)) gone.add(channel);
        this.alter({ removed: { ...this.removed, [this.layer]: gone } });
    }

    // What it shows ------------------------------------------------------------------------------------------------

    show(result) {
        super.show(result);
        this.tip.style.cssText = `left: ${(100 * this.brush[0]) / SIDE}%; top: ${(100 * this.brush[1]) / SIDE}%`;
        this.showChain(result.mixes);
        this.showMaps(result.seen[this.layer]);
        this.showKernels(result.mixes[this.layer]);
        this.showSwitches();
    }

    /** What a mixture is, in words. */
    worded(mix) {
        return mix ? mix.map((part, k) => `kernel ${k + 1} ${percent(part)}`).join(", ") : "one kernel";
    }

    showChain(mixes) {
        this.links.forEach((link, index) => {
            const mix = mixes[index], said = `${this.network.layers[index].name}: ${this.worded(mix)}`;
            link.ariaPressed = String(index === this.layer);
            link.ariaLabel = link.title = said;
            link.classList.toggle("live-touched", index in this.reads || Boolean(this.removed[index]?.size));
            [...link.children].forEach((part, k) => {
                part.style.flexGrow = mix ? mix[k] : Number(k === 0);
                part.style.background = mix ? COLOURS[k] : "currentColor";
            });
        });
    }

    showMaps({ maps, side, read }) {
        const layer = this.network.layers[this.layer], { frames } = this, gone = this.removed[this.layer] ?? new Set();
        this.columns = Math.min(layer.inputs, layer.inputs > 64 ? 16 : 8);
        this.rows = Math.ceil(layer.inputs / this.columns);
        this.pin = Math.min(this.pin, layer.inputs - 1);
        if (!frames) this.held = 4;
        const [low, high] = extremes(maps);
        drawTiles(this.maps, side, this.columns, maps, [low, (low + high) / 2]); // few pixels are brighter, and those are white
        const name = layer.name[0].toUpperCase() + layer.name.slice(1);
        const attends = frames ? "Its attention sees the four in frames." : layer.kernels > 1 ? "Its attention sees the mean of each." : "It has no attention.";
        this.about.textContent = `${name} reads ${layer.inputs} maps of ${side} × ${side}. ${attends}`;
        this.maps.ariaLabel = `The ${layer.inputs} maps that ${layer.name} reads`;
        const at = channel => `left: ${(100 * (channel % this.columns)) / this.columns}%; top: ${(100 * Math.floor(channel / this.columns)) / this.rows}%; ` +
            `width: ${100 / this.columns}%; height: ${100 / this.rows}%`;
        this.markers.forEach((marker, i) => {
            marker.hidden = i < 4 && !frames;
            if (marker.hidden) return;
            marker.style.cssText = at(this.under(i));
            marker.ariaPressed = String(i === this.held);
            marker.ariaLabel = `${i < 4 ? `Frame ${i + 1} reads` : "The pin is on"} channel ${this.under(i) + 1} of ${layer.inputs}; the arrow keys move it`;
        });
        this.gone.replaceChildren(...[...gone].map(channel => make("span", { class: "live-gone", style: at(channel) })));
        this.remove.textContent = `${gone.has(this.pin) ? "Put back" : "Remove"} channel ${this.pin + 1}`;
        this.reading.hidden = !frames;
        if (frames) drawTiles(this.readings, 5, 4, read);
    }

    showKernels(mix) {
        const layer = this.network.layers[this.layer], size = layer.outputs * layer.taps, range = extremes(layer.weight);
        // A pointwise kernel is a matrix; of another one, the filters lie side by side.
        const columns = layer.size === 1 ? layer.taps : Math.ceil(Math.sqrt(size / layer.size ** 2));
        this.mix.hidden = !mix;
        this.mix.ariaLabel = `Mixture: ${this.worded(mix)}`;
        this.kernels.forEach((figure, k) => {
            const canvas = figure.querySelector("canvas"), caption = figure.querySelector("figcaption > :last-child"), isMixture = k === 4;
            figure.hidden = !mix && !isMixture;
            if (figure.hidden) return;
            drawTiles(canvas, layer.size, columns, isMixture ? mixture(layer, mix) : layer.weight.subarray(k * size, (k + 1) * size), range);
            canvas.ariaLabel = isMixture ? "The kernel that convolves this image" : `Kernel ${k + 1}`;
            caption.textContent = isMixture ? (mix ? "= their mixture" : "its one kernel") : ` ${percent(mix[k], 1)}`;
            if (!isMixture) this.mix.children[k].style.flexGrow = mix[k];
        });
    }

    showSwitches() {
        const dynamic = this.network.layers.some(layer => layer.kernels > 1), eam = this.network.layers.some(layer => layer.reads);
        for (const input of this.switches) {
            input.checked = input.value === this.mode;
            input.disabled = !dynamic || (input.value === "others" && !eam);
        }
        const donor = this.donor(this.index), whose = `This one gets those of image ${donor + 1}: ${this.images.classes[this.images.labels[donor]]}.`;
        this.note.textContent = !dynamic ? "This network has one kernel per layer, and no attention. Channels can be removed."
            : `${SWITCHES[this.mode][1]} ${this.mode === "another" ? whose : ""}`;
    }

    report(found) {
        super.report(found);
        this.showGallery(found);
        const right = this.isRight(found).filter(Boolean).length;
        this.history.prepend(make("li", {}, `${NETWORKS[this.name]}; ${this.tried()}: ${right} right, you guessed ${this.guess.value}.`));
    }

    /** All images; where they have been counted, those whose answer changed stand out. */
    showGallery(found) {
        if (!found && this.drawn === setOf(this.name)) return;
        this.drawn = found ? null : setOf(this.name);
        const context = this.gallery.getContext("2d"), was = this.isRight(this.network.answers), is = found && this.isRight(found);
        for (let index = 0; index < this.count; index++) {
            const x = (index % 25) * SIDE, y = Math.floor(index / 25) * SIDE;
            drawImage(this.gallery, this.images.at(index), x, y);
            if (!found) continue;
            if (found[index] === this.network.answers[index]) {
                context.fillStyle = "rgb(128 128 128 / 80%)";
                context.fillRect(x, y, SIDE, SIDE);
            } else {
                context.lineWidth = 4;
                context.strokeStyle = was[index] ? "#d55e00" : is[index] ? "#56b4e9" : "#ffffff";
                context.strokeRect(x + 2, y + 2, SIDE - 4, SIDE - 4);
            }
        }
        this.legend.textContent = found
            ? "Grey: the answer stayed. Framed in red: right before, wrong now; in blue: right now; in white: wrong before and now, in another way. Touch one."
            : "The 200 test images. Touch one to choose it.";
    }
}

document.addEventListener("DOMContentLoaded", () => {
    for (const place of document.querySelectorAll(".live")) {
        const live = new (place.classList.contains("live-strip") ? Strip : Bench)(place);
        place.setAttribute("role", "region");
        place.setAttribute("aria-label", "A network that runs in this page");
        place.tabIndex = -1;
        place.replaceChildren(button("Run the network in this page", () => live.start()), " It is 2 MB, comes with the book and needs no network.");
    }
});
