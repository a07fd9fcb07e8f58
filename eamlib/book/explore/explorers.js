// Draws the explorers of one page, static or live, from the JSON data that each of them carries.
(() => {
  "use strict";

  // ---- elements and pictures

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  const ANCHORS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"];
  const VIRIDIS = Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (ANCHORS.length - 1), left = Math.min(Math.floor(place), ANCHORS.length - 2);
    return [0, 2, 4].map((digit) => {
      const [a, b] = [left, left + 1].map((anchor) => parseInt(ANCHORS[anchor].slice(digit, digit + 2), 16));
      return Math.round(a + (place - left) * (b - a));
    });
  });

  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  // Planes [C, H, W] of bytes; its `draw` makes a canvas of one of them, in viridis.
  const unpack = ({ size: [count, height, width], bytes: text }) => {
    const values = bytes(text);
    const paint = (color, attributes) => {
      const canvas = element("canvas", { width, height, ...attributes });
      const image = new ImageData(width, height);
      for (let pixel = 0; pixel < width * height; pixel++) image.data.set([...color(pixel), 255], 4 * pixel);
      canvas.getContext("2d").putImageData(image, 0, 0);
      return canvas;
    };
    const plane = (number, pixel) => values[number * width * height + pixel];
    return {
      count,
      height,
      width,
      map: (number, attributes) => paint((pixel) => VIRIDIS[plane(number, pixel)], attributes),
      photograph: (attributes) =>
        paint((pixel) => [0, 1, 2].map((color) => plane(count === 3 ? color : 0, pixel)), attributes),
    };
  };

  const described = (text) => ({ role: "img", "aria-label": text });
  const HIDDEN = { "aria-hidden": "true" };

  // Neither <figure> nor a heading: a theme has its own ideas of these.
  const figure = (canvas, ...text) => element("div", { class: "drawn" }, canvas, element("div", { class: "text" }, ...text));
  const title = (text) => element("p", { class: "title" }, text);

  const photograph = ({ picture }, text) =>
    figure(unpack(picture).photograph({ class: "picture", ...described(`The image, ${text}`) }), text);

  const one = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
  const list = (items) => items.map((item) => element("li", {}, ...[item].flat()));

  // ---- the drawings: each fills `area` with one state, and keeps in `memory` what its own controls say

  // The grid of all channels of a layer. `mark` gives one of them its state.
  const grid = (maps, label, tile) => {
    const tiles = Array.from({ length: maps.count }, (_, channel) => tile(channel));
    return { tiles, box: element("div", { class: "grid", role: "group", tabindex: 0, "aria-label": label }, ...tiles) };
  };

  const mark = (tile, state, badge, said) => {
    tile.dataset.state = state;
    tile.querySelector(".rank").textContent = badge;
    tile.querySelector("input")?.setAttribute("aria-label", said);
  };

  const SHOWN = 12; // neighbours beside the grid

  const channels = (area, { data, texts, memory, keep, number }) => {
    const maps = unpack(data.drawn), count = data.statistics.channels;
    const dead = new Set(data.statistics.dead), live = count - dead.size;
    const triangle = new Int16Array(bytes(data.statistics.r).buffer);
    const r = (a, b) => {
      const [i, j] = a < b ? [a, b] : [b, a];
      return triangle[(i * (2 * count - i - 1)) / 2 + j - i - 1] / 10000;
    };
    const nearest = (channel) =>
      Array.from({ length: count }, (_, other) => other)
        .filter((other) => other !== channel && !dead.has(other))
        .map((other) => ({ other, r: dead.has(channel) ? 0 : r(channel, other) }))
        .sort((a, b) => Math.abs(b.r) - Math.abs(a.r) || a.other - b.other);
    // First comes one of the closest pair.
    const closest = () => {
      let best = 0, row = 0;
      for (let i = 0, place = 0; i < count; i++)
        for (let j = i + 1; j < count; j++, place++)
          if (Math.abs(triangle[place]) > best) [best, row] = [Math.abs(triangle[place]), i];
      return row;
    };
    memory.threshold ??= 90;
    memory.channel ??= {};
    // What is remembered may be of another network.
    if (!(memory.channel[texts.layer] < count)) memory.channel[texts.layer] = closest();

    const { tiles, box } = grid(maps, `The ${count} channels`, (channel) =>
      element(
        "label",
        { class: "tile" },
        element("input", { type: "radio", name: `explorer-${number}-channel`, value: channel }),
        maps.map(channel, HIDDEN),
        element("span", { class: "number" }, String(channel)),
        element("span", { class: "rank" }),
      ));
    box.setAttribute("role", "radiogroup");
    box.removeAttribute("tabindex"); // its radio buttons are reached, and scroll it
    const slider = element("input", { type: "range", min: 50, max: 100, step: 1, value: memory.threshold });
    const output = element("output");
    const summary = element("p", { class: "summary", "aria-live": "polite" });
    const neighbours = element("div", { class: "neighbours", "aria-live": "polite" });

    const show = () => {
      const t = memory.threshold, chosen = memory.channel[texts.layer], text = (t / 100).toFixed(2);
      slider.setAttribute("aria-valuetext", text);
      output.textContent = text;
      const paired = new Set();
      let pairs = 0;
      for (let i = 0, place = 0; i < count; i++)
        for (let j = i + 1; j < count; j++, place++)
          if (Math.abs(triangle[place]) >= 100 * t) {
            pairs++;
            paired.add(i).add(j);
          }
      const share = live ? ` (${Math.round((100 * paired.size) / live)} %)` : "";
      summary.replaceChildren(
        element("strong", { "data-count": "pairs" }, pairs.toLocaleString("en")),
        ` of ${one((live * (live - 1)) / 2, "pair")} reach |r| ≥ ${text}: `,
        element("strong", { "data-count": "channels" }, paired.size.toLocaleString("en")),
        ` of ${one(live, "live channel")}${share} ${paired.size === 1 ? "has" : "have"} a duplicate.`,
        dead.size ? ` ${one(dead.size, "channel")} ${dead.size === 1 ? "is" : "are"} dead.` : "",
      );

      const all = nearest(chosen), above = all.filter((near) => Math.abs(near.r) >= t / 100);
      const rank = new Map(above.map((near, place) => [near.other, place + 1]));
      tiles.forEach((tile, channel) => {
        const said = `channel ${channel}`;
        if (channel === chosen) mark(tile, "chosen", "◆", said);
        else if (dead.has(channel)) mark(tile, "dead", "dead", `${said}, dead`);
        else if (rank.has(channel)) mark(tile, "duplicate", rank.get(channel), `${said}, duplicate ${rank.get(channel)}`);
        else mark(tile, paired.has(channel) ? "paired" : "alone", "", said);
      });
      tiles[chosen].querySelector("input").checked = true;

      const drawn = (channel, text) =>
        figure(maps.map(channel, described(`The map of channel ${channel}`)), element("b", {}, `channel ${channel}`), text);
      const word = dead.has(chosen)
        ? "It is dead: the same value everywhere, in all images. It has no duplicate."
        : above.length === 0
        ? `No other channel reaches ${text}.${all.length ? " The nearest one:" : ""}`
        : `${one(above.length, "duplicate")}${above.length > SHOWN ? `, the first ${SHOWN} of them` : ""}:`;
      const shown = dead.has(chosen) ? [] : above.length ? above.slice(0, SHOWN) : all.slice(0, 1);
      neighbours.replaceChildren(
        element("div", { class: "maps" }, drawn(chosen, "chosen")),
        element("p", {}, word),
        element("ol", { class: "maps" }, ...shown.map((near) =>
          element("li", { "data-channel": near.other, "data-state": above.length ? "duplicate" : "alone" },
            drawn(near.other, `r = ${near.r < 0 ? "−" : ""}${Math.abs(near.r).toFixed(3)}`)))),
      );
      keep();
    };

    slider.addEventListener("input", () => {
      memory.threshold = slider.valueAsNumber;
      show();
    });
    box.addEventListener("change", (event) => {
      memory.channel[texts.layer] = Number(event.target.value);
      show();
    });
    const [, height, width] = data.drawn.full;
    area.replaceChildren(
      element("div", { class: "head" },
        photograph(data, texts.image),
        element("div", {},
          element("label", { class: "control" }, element("span", {}, "Threshold |r|"), slider, output),
          summary)),
      element("div", { class: "sides" },
        element("section", {},
          element("p", {}, `The ${count} channels, ${height} × ${width} pixels each. Choose one: `,
            "◆ marks it, numbers and dashed frames its duplicates, dotted frames those that have another."),
          box),
        element("section", {}, neighbours)),
      element("p", { class: "note" },
        `r is Pearson's, over every pixel of ${one(data.statistics.images, "image")}. Each map is drawn in its own range, `,
        "from dark (least) to bright (largest)."),
    );
    show();
    // The chosen one may lie far down in the grid; the page itself must not move.
    const tile = tiles[memory.channel[texts.layer]];
    box.scrollTop = tile.offsetTop - box.offsetTop - box.clientHeight / 2;
  };

  // A weight from 0 to 1, and beside it what it is above (to the right) or below the average.
  const bar = (kind, weight, mean, largest) => {
    const departure = weight - mean, share = largest ? Math.max(-1, Math.min(1, departure / largest)) : 0;
    const track = (name, left, width) =>
      element("span", { class: `track ${name}`, ...HIDDEN }, element("span", { style: `left: ${left}%; width: ${width}%` }));
    return element("div", { class: `bar ${kind}` },
      element("span", {}, kind),
      track("weight", 0, 100 * weight),
      element("b", {}, weight.toFixed(3)),
      track("departure", 50 + 50 * Math.min(0, share), 50 * Math.abs(share)),
      element("b", {}, `${departure < 0 ? "−" : "+"}${Math.abs(departure).toFixed(4)}`));
  };

  const eam = (area, { data, texts, state }) => {
    const maps = unpack(data.drawn), [, height, width] = data.drawn.full;
    const group = new Map(data.chosen.flatMap((members, place) => members.map((channel) => [channel, place + 1])));
    const { tiles, box } = grid(maps, `The ${maps.count} channels; those that are read are numbered`, (channel) =>
      element("div", { class: "tile", ...described(`channel ${channel}`) },
        maps.map(channel, HIDDEN),
        element("span", { class: "number" }, String(channel)),
        element("span", { class: "rank" })));
    tiles.forEach((tile, channel) => {
      const read = group.get(channel);
      mark(tile, read ? (read % 2 ? "read" : "read-even") : "alone", read ?? "");
      tile.setAttribute("aria-label", read ? `channel ${channel}, read as ${read}` : `channel ${channel}`);
    });
    const head = element("div", { class: "head" },
      photograph(data, texts.image),
      element("div", {},
        element("p", {}, `This layer's input: ${one(maps.count, "channel")} of ${height} × ${width} pixels. `,
          data.chosen.some((members) => members.length > 1)
            ? `Each belongs to one of ${data.chosen.length} groups, whose number it bears.`
            : `The ${data.chosen.length} that are read are framed and numbered.`),
        box));
    const rest = [];
    if (data.picked) {
      const picked = unpack(data.picked), pooled = data.pooled && unpack(data.pooled);
      const name = (members) => members.length > 1 ? `${members[0]}–${members.at(-1)}` : `${members[0]}`;
      rest.push(
        title(`${pooled ? "Read" : "Chosen"}: ${one(picked.count, "map")}${pooled ? `, pooled to ${state.p} × ${state.p}` : ""}`),
        element("ol", { class: "maps pairs" }, ...list(data.chosen.map((members, place) => [
          element("span", { class: "rank" }, String(place + 1)),
          picked.map(place, described(`Map ${place + 1}, of channel ${name(members)}`)),
          ...(pooled ? [
            element("span", { class: "arrow", ...HIDDEN }, "↓"),
            pooled.map(place, described(`Map ${place + 1}, pooled to ${state.p} × ${state.p}`)),
          ] : []),
          element("span", { class: "text" }, name(members)),
        ]))));
    }
    rest.push(title("Attention over the kernels for this image"));
    if (data.told.message) rest.push(element("p", { class: "message", role: "status" }, data.told.message));
    const { mean, spread, largest } = data.average;
    const kinds = { trained: data.attention, ...(data.imitated ? { imitated: data.imitated } : {}) };
    rest.push(
      element("p", {}, `First the weight, then how far it departs from its average over all images, a full half being ${largest}. `
        + `In this layer the trained weights depart by ${spread} on the whole (standard deviation).`),
      ...mean.map((middle, kernel) =>
        element("div", { class: "kernel" },
          element("strong", {}, `kernel ${kernel + 1}`),
          ...Object.entries(kinds).map(([kind, weights]) => bar(kind, weights[kernel], middle, largest)))));
    if (data.imitated) {
      const { features, images, attention_r2, mean_r2 } = data.told;
      rest.push(element("p", { "aria-live": "polite" },
        "“Trained” is the network's own attention, which reads what it was trained to read; “imitated” is a linear one "
          + `that gets these ${one(features, "number")} alone and was fitted to imitate it on ${one(images, "image")}. On images held out `,
        "it explains ", element("strong", { "data-r2": "attention" }, attention_r2.toFixed(2)),
        " of how the trained attention varies (R² of the log weights), and the same numbers predict ",
        element("strong", { "data-r2": "mean" }, mean_r2.toFixed(2)), " of how the channels' means vary: 1 is all, 0 nothing."));
    } else rest.push(element("p", {}, "“Trained” is the network's own attention, which reads what it was trained to read."));
    rest.push(element("p", { class: "note" },
      "Each map is drawn in its own range, from dark (least) to bright (largest), and pooled in that same range."));
    area.replaceChildren(head, ...rest);
  };

  // A formula as it is read: k² · (C // g) · O.
  const pretty = (formula) => formula.replaceAll("**2", "²").replaceAll(" * ", " · ").replace("macs", "MACs");

  const UNITS = { parameters: "parameters", macs: "MACs", bytes: "bytes", intensity: "MAC/byte" };

  const cost = (area, { data, fixed, memory, keep }) => {
    memory.open ??= {};
    const reference = data.rows[0];
    const quantity = (name, row) => {
      const value = row[name];
      const text = name === "intensity" ? value.toFixed(2) : value.toLocaleString("en");
      const against = reference[name] && row !== reference ? ` × ${(value / reference[name]).toPrecision(3)}` : "";
      return element("td", { "data-quantity": name, "data-value": value },
        element("span", { class: "unit" }, UNITS[name]),
        element("span", {}, text),
        element("small", {}, name === "intensity" ? "" : against));
    };
    const body = element("tbody");
    fixed.rows.forEach((row, place) => {
      const found = data.rows[place];
      const button = element("button", { type: "button", "aria-expanded": Boolean(memory.open[row.name]) }, "formulas");
      const formulas = element("tr", { class: "formulas" },
        element("td", { colspan: 5 }, element("dl", {}, ...Object.entries(row.formulas).flatMap(([name, formula]) => [
          element("dt", {}, UNITS[name]),
          element("dd", {}, element("code", {}, pretty(formula))),
        ]))));
      formulas.hidden = !memory.open[row.name];
      button.addEventListener("click", () => {
        formulas.hidden = !formulas.hidden;
        memory.open[row.name] = !formulas.hidden;
        button.setAttribute("aria-expanded", !formulas.hidden);
        keep();
      });
      body.append(
        element("tr", { "data-row": row.name },
          element("th", { scope: "row" }, element("span", {}, row.name), element("small", {}, row.about), button),
          ...(found.message
            ? [element("td", { colspan: 4 }, element("p", { class: "message" }, found.message))]
            : Object.keys(UNITS).map((name) => quantity(name, found)))),
        formulas);
    });
    area.replaceChildren(
      element("div", { "aria-live": "polite" },
        element("table", {},
          element("thead", {}, element("tr", {},
            element("th", { scope: "col" }, "convolution"),
            ...Object.values(UNITS).map((unit) => element("th", { scope: "col" }, unit)))),
          body)),
      element("p", { class: "note" },
        "Stride 1, one image, no biases in the convolutions; × is against the standard one. MACs as fvcore counts them: "
          + "pooling counts one per value read, softmax nothing. Bytes are the least that must move, in float32: weights, input and "
          + "output once each, and what lies between the two layers of the separable pair written once and read once. EAM "
          + `reads n = ${fixed.constants.n} channels, pooled to p = ${fixed.constants.p}; its hidden layer has h = ${fixed.constants.h} units. `
          + "In formulas, // divides and rounds down."),
    );
  };

  // ---- the formulas of formulas.py: Python's arithmetic is JavaScript's but for // and max

  const evaluate = (formula, values) => {
    const translated = formula.replace(/(\w+) \/\/ (\w+)/g, "Math.floor($1 / $2)").replaceAll("max(", "Math.max(");
    return new Function(...Object.keys(values), `return ${translated};`)(...Object.values(values));
  };

  const rows = (state, { rows, constants }) =>
    rows.map(({ needs, formulas }) => {
      const values = { ...state, ...constants };
      for (const [expression, message] of needs)
        if (evaluate(expression, values) !== 0) return { message: message.replace(/\{(\w+)\}/g, (_, name) => values[name]) };
      const found = {};
      for (const [name, formula] of Object.entries(formulas)) found[name] = evaluate(formula, { ...values, ...found });
      return found;
    });

  const DRAWINGS = { channels, eam, cost };
  const TWINS = { cost: { rows } }; // of the parts that cannot be computed in advance

  // ---- the static form: native controls, and the state that they choose

  const asSelect = ({ values, texts }, changed) => {
    const input = element("select", {}, ...texts.map((text, place) => element("option", { value: place }, text)));
    const read = () => changed(values[input.value], texts[input.value]);
    return { input, read };
  };

  const asNumber = ({ start, least, most }, changed, output) => {
    const input = element("input", { type: "number", min: least, max: most, step: 1, value: start, required: "" });
    const read = () => {
      const fits = input.checkValidity();
      input.setAttribute("aria-invalid", !fits);
      output.textContent = fits ? "" : `an integer from ${least} to ${most.toLocaleString("en")}`;
      if (fits) changed(input.valueAsNumber);
    };
    return { input, read };
  };

  const native = (control, changed) => {
    const output = element("output");
    const { input, read } = (control.values ? asSelect : asNumber)(control, changed, output);
    input.dataset.control = control.name;
    input.addEventListener(control.values ? "change" : "input", read);
    return { input, read, box: element("label", { class: "control" }, element("span", {}, control.label), input, output) };
  };

  const startStatic = (root, name, { controls, parts, store, fixed }, draw) => {
    const state = {}, texts = {}, area = element("div", { class: "drawing" });
    const lookUp = ({ reads, index }) => {
      let place = 0;
      for (const name of reads) {
        const { values } = controls.find((control) => control.name === name);
        place = place * values.length + values.indexOf(state[name]);
      }
      return store[index[place]];
    };
    let ready = false;
    const update = () => {
      if (!ready) return;
      for (const { name, only } of controls) if (only) inputs[name].input.disabled = !only[1].includes(state[only[0]]);
      const data = Object.fromEntries(Object.entries(parts).map(([part, table]) => [part, lookUp(table)]));
      for (const [part, twin] of Object.entries(TWINS[name] ?? {})) data[part] = twin(state, fixed);
      draw(area, { data, state, texts });
    };
    const inputs = Object.fromEntries(controls.map((control) => [
      control.name,
      native(control, (value, text) => {
        [state[control.name], texts[control.name]] = [value, text];
        update();
      }),
    ]));
    root.append(element("div", { class: "controls" }, ...Object.values(inputs).map(({ box }) => box)), area);
    for (const { read } of Object.values(inputs)) read();
    ready = true;
    update();
  };

  // ---- the live form: one state in a frame, which is made anew when a widget changes

  const startLive = (root, name, { state, texts, data }, draw, memory) => {
    const area = element("div", { class: "drawing" });
    root.append(area);
    draw(area, { data, state, texts });
    const frame = window.frameElement;
    if (frame) new ResizeObserver(() => (frame.style.height = `${root.offsetHeight + 1}px`)).observe(root);
  };

  // Where a notebook has its own dark theme, follow it; a page with the book's theme does so by its style.
  const scheme = () => {
    try {
      const { body, documentElement } = window.parent.document;
      if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "true" ? "light" : "dark";
      return documentElement.getAttribute("theme");
    } catch {
      return null; // a frame of another origin
    }
  };

  document.querySelectorAll(".explorer:not([data-number])").forEach((root) => {
    const number = document.querySelectorAll(".explorer[data-number]").length;
    root.dataset.number = number;
    const shown = scheme();
    if (shown) root.dataset.scheme = shown;
    const name = root.dataset.explorer, content = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    // What the drawing's own controls say outlives the frame, where the browser lets it.
    const key = `eamlib.explore.${name}`;
    let memory = {};
    let keep = () => {};
    if (content.data) {
      try {
        memory = JSON.parse(sessionStorage.getItem(key)) ?? {};
        keep = () => sessionStorage.setItem(key, JSON.stringify(memory));
      } catch {
        // A frame without storage starts afresh.
      }
    }
    const draw = (area, view) => DRAWINGS[name](area, { ...view, fixed: content.fixed, memory, keep, number });
    (content.data ? startLive : startStatic)(root, name, content, draw);
  });
})();
