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

  const drawing = (tag, attributes = {}, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

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
      values: (number) => values.subarray(number * width * height, (number + 1) * width * height),
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

  // One of several, chosen like a radio button, with what is in it as its face.
  const option = (kind, name, value, said, ...face) =>
    element("label", { class: kind }, element("input", { type: "radio", name, value, "aria-label": said }), ...face);

  const mark = (tile, state, badge, said) => {
    tile.dataset.state = state;
    tile.querySelector(".rank").textContent = badge;
    tile.querySelector("input")?.setAttribute("aria-label", said);
  };

  const SHOWN = 12; // neighbours beside the grid

  const percent = (share) => `${Math.round(100 * share)} %`;
  const correlated = ({ r }) => `r = ${r < 0 ? "−" : ""}${Math.abs(r).toFixed(3)}`;
  const signed = (value, digits) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;

  // The share of channels with a duplicate, against the layers: a line for each network.
  const curve = (layers, here, t) => {
    const left = 42, right = 312, top = 8, bottom = 132;
    const x = (place) => layers.length > 1 ? left + 8 + (place * (right - left - 16)) / (layers.length - 1) : (left + right) / 2;
    const y = (share) => bottom - share * (bottom - top);
    const text = (content, attributes) => drawing("text", attributes, content);
    const shares = Object.fromEntries(Object.keys(layers[0].nearest).map((network) => [
      network,
      layers.map(({ nearest }) => {
        const near = new Int16Array(bytes(nearest[network]).buffer);
        return near.length ? near.filter((r) => r >= 100 * t).length / near.length : 0;
      }),
    ]));
    const at = layers.findIndex(({ layer }) => layer === here);
    const every = layers.length > 16 ? 2 : 1;
    const picture = drawing("svg", { viewBox: "0 0 320 160", ...HIDDEN },
      ...[0, 0.5, 1].flatMap((share) => [
        drawing("path", { class: "rule", d: `M${left} ${y(share)}H${right}` }),
        text(percent(share), { x: left - 4, y: y(share) + 4, "text-anchor": "end" }),
      ]),
      ...(at < 0 ? [] : [drawing("path", { class: "here", d: `M${x(at)} ${top}V${bottom}` })]),
      ...layers.flatMap(({ layer }, place) => place % every ? [] : [
        text(layer.replace(/^block (\d+), .*/, "$1"), { x: x(place), y: bottom + 16, "text-anchor": "middle" }),
      ]),
      ...Object.entries(shares).flatMap(([network, of]) => [
        drawing("path", { class: `line ${network}`, d: `M${of.map((share, place) => `${x(place)} ${y(share)}`).join("L")}` }),
        ...of.map((share, place) =>
          drawing("circle", { class: `dot ${network}`, cx: x(place), cy: y(share), r: place === at ? 5 : 3 })),
      ]));
    const said = Object.entries(shares).map(([network, of]) =>
      element("span", { class: `key ${network}`, "data-share": at < 0 ? "" : of[at] },
        `${network}${at < 0 ? "" : ` ${percent(of[at])}`}`));
    return element("div", { class: "chart" }, picture,
      element("div", { class: "text" }, `${at < 0 ? "Layers" : `Here, ${here}`}: `, ...said));
  };

  // One channel against another: a dot is a pixel of this image, or an image's mean.
  const scatter = (points, a, b, marked) => {
    const at = (of, place) => 8 + (184 * of[place]) / 255, y = (place) => 200 - at(points[1], place);
    const all = Array.from(points[0], (_, place) => `M${at(points[0], place)} ${y(place)}h0`).join("");
    return drawing("svg", { viewBox: "0 0 216 222", ...HIDDEN },
      drawing("path", { class: "rule", d: "M4 4V204H204" }),
      drawing("path", { class: "cloud", d: all, "stroke-width": points[0].length > 100 ? 3.5 : 6 }),
      ...(marked < points[0].length
        ? [drawing("circle", { class: "here", cx: at(points[0], marked), cy: y(marked), r: 6 })]
        : []),
      drawing("text", { x: 204, y: 218, "text-anchor": "end" }, `channel ${a} →`),
      drawing("text", { x: 8, y: 14 }, `↑ channel ${b}`));
  };

  const channels = (area, { data, texts, state, memory, keep, number }) => {
    const maps = unpack(data.drawn), count = data.statistics.channels;
    const means = state.view === "means" && unpack(data.dots);
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
    memory.removed ??= false;
    // What is remembered may be of another network.
    if (!(memory.channel[texts.layer] < count)) memory.channel[texts.layer] = closest();

    const { tiles, box } = grid(maps, `The ${count} channels`, (channel) =>
      option("tile", `explorer-${number}-channel`, channel, "",
        maps.map(channel, HIDDEN),
        element("span", { class: "number" }, String(channel)),
        element("span", { class: "rank" })));
    box.setAttribute("role", "radiogroup");
    box.removeAttribute("tabindex"); // its radio buttons are reached, and scroll it
    const slider = element("input", { type: "range", min: 50, max: 100, step: 1, value: memory.threshold });
    const output = element("output");
    const summary = element("p", { class: "summary", "aria-live": "polite" });
    const neighbours = element("div", { class: "neighbours", "aria-live": "polite" });
    const byLayer = element("div"), pair = element("div", { class: "pair", "aria-live": "polite" });
    const remove = element("button", { type: "button" }, "Remove this channel");
    const lost = element("p", { class: "lost", "aria-live": "polite" });

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

      const face = (channel, text, attributes = HIDDEN) => [
        maps.map(channel, attributes),
        element("span", { class: "text" }, element("b", {}, `channel ${channel}`), text),
      ];
      const word = dead.has(chosen)
        ? "It is dead: the same value everywhere, in all images. It has no duplicate."
        : above.length === 0
        ? `No other channel reaches ${text}.${all.length ? " The nearest one:" : ""}`
        : `${one(above.length, "duplicate")}${above.length > SHOWN ? `, the first ${SHOWN} of them` : ""}:`;
      const shown = dead.has(chosen) ? [] : above.length ? above.slice(0, SHOWN) : all.slice(0, 1);
      const compare = (near) => {
        const of = means || maps, [x, y] = [chosen, near.other].map((channel) => of.values(channel));
        const r = correlated(near);
        pair.replaceChildren(
          title(`Channel ${near.other} against channel ${chosen}`),
          element("div", { class: "chart square" }, scatter([x, y], chosen, near.other, means ? state.image : Infinity)),
          element("p", { class: "text" }, means
            ? `A dot is an image's mean, for ${x.length} of the images; ${r} over all. ${state.image < x.length ? "The ring is this image." : ""}`
            : `A dot is a pixel of this image; ${r} over all images.`));
      };
      neighbours.replaceChildren(
        element("div", { class: "maps" }, element("div", { class: "drawn" }, ...face(chosen, "chosen", described(`The map of channel ${chosen}`)))),
        element("p", {}, word),
        element("div", { role: "radiogroup", "aria-label": "Compared with the chosen channel" },
          element("ol", { class: "maps" }, ...shown.map((near, place) => {
            const r = correlated(near);
            const choice = option("drawn", `explorer-${number}-pair`, near.other, `channel ${near.other}, ${r}`,
              ...face(near.other, r));
            choice.firstChild.checked = place === 0;
            choice.addEventListener("change", () => compare(near));
            return element("li", { "data-channel": near.other, "data-state": above.length ? "duplicate" : "alone" }, choice);
          }))),
      );
      if (shown.length) compare(shown[0]);
      else pair.replaceChildren();

      byLayer.replaceChildren(
        title(`Channels with a duplicate, |r| ≥ ${text}, layer by layer`),
        curve(data.curve, texts.layer, t));
      if (data.removal) {
        const { images, right, without } = data.removal, left = without[chosen], difference = left - right;
        const possible = state.network === "trained", away = possible && memory.removed;
        remove.hidden = lost.hidden = !possible;
        remove.setAttribute("aria-pressed", away);
        tiles.forEach((tile, channel) => tile.toggleAttribute("data-removed", away && channel === chosen));
        lost.replaceChildren(...(away
          ? [`Without channel ${chosen}, its mean in its place: `, element("strong", { "data-right": left }, `${left} of ${images}`),
            ` images right, ${difference === 0 ? "as many as with it" : `${one(Math.abs(difference), "image")} ${difference < 0 ? "fewer" : "more"} than with it`}.`]
          : ["The network gets ", element("strong", { "data-right": right }, `${right} of ${images}`), " images right."]));
      }
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
    remove.addEventListener("click", () => {
      memory.removed = !memory.removed;
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
          box,
          byLayer),
        element("section", {}, ...(data.removal ? [remove, lost] : []), neighbours, pair)),
      element("p", { class: "note" },
        `r is Pearson's, over ${means ? "the maps' means" : "every pixel"} of ${one(data.statistics.images, "image")}. `,
        "Each map is drawn in its own range, from dark (least) to bright (largest)."),
    );
    show();
    // The chosen one may lie far down in the grid; the page itself must not move.
    const tile = tiles[memory.channel[texts.layer]];
    box.scrollTop = tile.offsetTop - box.offsetTop - box.clientHeight / 2;
  };

  // How far a weight is above (to the right) or below its average, in hundredths.
  const bar = (kind, weight, mean, largest) => {
    const departure = weight - mean, share = largest ? Math.max(-1, Math.min(1, departure / largest)) : 0;
    const style = `left: ${50 + 50 * Math.min(0, share)}%; width: ${50 * Math.abs(share)}%`;
    return element("div", { class: `bar ${kind}`, "data-weight": weight },
      element("span", {}, kind),
      element("span", { class: "track", ...HIDDEN }, element("span", { style })),
      element("b", {}, signed(100 * departure, 2)));
  };

  const inPercent = (weight) => `${(100 * weight).toFixed(1)} %`;

  // The mixture itself: a bar of K parts.
  const mixture = (weights) =>
    element("div", { class: "mixture", ...described(weights.map((weight, k) => `kernel ${k + 1}: ${inPercent(weight)}`).join(", ")) },
      ...weights.map((weight, k) =>
        element("span", { style: `flex-basis: ${100 * weight}%` }, element("b", {}, String(k + 1)), ` ${inPercent(weight)}`)));

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
    const points = (share) => (100 * share).toPrecision(2);
    rest.push(
      mixture(data.attention),
      element("p", {}, "How far this image's weights lie from their averages over all images, in hundredths of the mixture; a half bar is ",
        `${points(largest)}, the farthest that any image goes. The standard deviation over the images is `,
        element("strong", {}, points(spread)), ".",
        spread < 0.01 ? " So nearly every image gets the same kernel in this layer." : ""),
      ...mean.map((middle, kernel) =>
        element("div", { class: "kernel" },
          element("p", { class: "text" }, element("strong", {}, `kernel ${kernel + 1}`), ` ${inPercent(middle)} on average`),
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

  const short = (value) => {
    const [unit, size] = [["G", 1e9], ["M", 1e6], ["k", 1e3], ["", 1]].find(([, size]) => value >= size) ?? ["", 1];
    return `${value / size >= 100 ? Math.round(value / size) : Number((value / size).toPrecision(3))}${unit && ` ${unit}`}`;
  };

  const times = (ratio, digits) =>
    Number(ratio.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 6 });

  // One quantity of every row. The scale is logarithmic: a line stands for ten times as much as the line before it.
  const logBars = (name, rows, names) => {
    const values = rows.filter((row) => !row.message).map((row) => row[name]);
    const low = Math.ceil(Math.log10(Math.min(...values)) - 1e-9) - 1, high = Math.ceil(Math.log10(Math.max(...values)) - 1e-9);
    const reference = rows[0][name];
    const line = (row, place) => {
      const value = row[name], width = (100 * (Math.log10(value) - low)) / (high - low);
      return element("div", { class: "logbar", "data-row": names[place], "data-quantity": name },
        element("span", {}, names[place]),
        element("span", { class: "track", style: `--decades: ${high - low}`, ...HIDDEN },
          ...(row.message ? [] : [element("span", { style: `width: ${width}%` })])),
        element("b", {}, row.message ? "–" : short(value)),
        element("small", {}, row.message || !reference || place === 0 ? "" : `× ${times(value / reference, 2)}`));
    };
    return element("section", {}, title(UNITS[name]), ...rows.map(line),
      ...(values.length
        ? [element("div", { class: "logbar axis", ...HIDDEN }, element("span"),
          element("span", {}, element("span", {}, short(10 ** low)), element("span", {}, short(10 ** high))))]
        : []));
  };

  const cost = (area, { data, fixed, memory, keep }) => {
    memory.open ??= {};
    memory.numbers ??= false;
    const reference = data.rows[0];
    const quantity = (name, row) => {
      const value = row[name];
      const text = name === "intensity" ? value.toFixed(2) : value.toLocaleString("en");
      const against = reference[name] && row !== reference ? ` × ${times(value / reference[name], 3)}` : "";
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
    const exact = element("button", { type: "button", class: "exact", "aria-expanded": memory.numbers }, "exact numbers and formulas");
    const table = element("div", {},
      element("table", {},
        element("thead", {}, element("tr", {},
          element("th", { scope: "col" }, "convolution"),
          ...Object.values(UNITS).map((unit) => element("th", { scope: "col" }, unit)))),
        body));
    table.hidden = !memory.numbers;
    exact.addEventListener("click", () => {
      memory.numbers = table.hidden;
      table.hidden = !memory.numbers;
      exact.setAttribute("aria-expanded", memory.numbers);
      keep();
    });
    const names = fixed.rows.map((row) => row.name);
    const messages = new Map();
    data.rows.forEach(({ message }, place) => message && messages.set(message, [...(messages.get(message) ?? []), names[place]]));
    area.replaceChildren(
      element("div", { role: "status" },
        ...[...messages].map(([message, of]) => element("p", { class: "message" }, `${of.join(", ")}: ${message}`))),
      element("div", { class: "bars" }, ...Object.keys(UNITS).map((name) => logBars(name, data.rows, names))),
      element("p", { class: "note" }, "The scales are logarithmic: each line stands for ten times as much as the one before. × is against the standard convolution."),
      exact,
      table,
      element("p", { class: "note" },
        "Stride 1, one image, no biases in the convolutions. MACs as fvcore counts them: "
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

  const asSelect = ({ values, texts, start }, changed) => {
    const input = element("select", {}, ...texts.map((text, place) => element("option", { value: place }, text)));
    input.value = start;
    const read = () => changed(values[input.value], texts[input.value]);
    return { input, read };
  };

  // A field for any number, and a slider that stops at usual ones.
  const asNumber = ({ name, label, start, stops, least, most }, changed, output) => {
    const slider = element("input", { type: "range", min: 0, max: stops.length - 1, step: 1, "aria-label": label, "data-slider": name });
    const input = element("input", { type: "number", min: least, max: most, step: 1, value: start, required: "" });
    const read = () => {
      const fits = input.checkValidity();
      input.setAttribute("aria-invalid", !fits);
      output.textContent = fits ? "" : `an integer from ${least} to ${most.toLocaleString("en")}`;
      if (!fits) return;
      const above = stops.findIndex((stop) => stop >= input.valueAsNumber);
      slider.value = above < 0 ? stops.length - 1 : above;
      slider.setAttribute("aria-valuetext", input.value);
      changed(input.valueAsNumber);
    };
    slider.addEventListener("input", () => {
      input.value = stops[slider.value];
      read();
    });
    return { input, read, slider };
  };

  const native = (control, changed) => {
    const output = element("output");
    const { input, read, slider } = (control.values ? asSelect : asNumber)(control, changed, output);
    input.dataset.control = control.name;
    input.addEventListener(control.values ? "change" : "input", read);
    const label = element("label", {}, element("span", {}, control.label), input);
    const box = element("div", { class: `control ${slider ? "sized" : ""}` }, label, ...(slider ? [slider] : []), output);
    box.hidden = control.values?.length === 1;
    const set = (value) => {
      input.value = control.values ? control.values.indexOf(value) : value;
      read();
    };
    return { input, read, set, box };
  };

  // Where to begin: a select which says, too, whether the controls still stand so.
  const presetsOf = (presets, chosen) => {
    const names = Object.keys(presets);
    const input = element("select", {}, ...["", ...names].map((name) => element("option", { value: name }, name || "your own")));
    input.addEventListener("change", () => chosen(presets[input.value] ?? {}));
    const says = (state) =>
      input.value = names.find((name) => Object.entries(presets[name]).every(([control, value]) => state[control] === value)) ?? "";
    const box = element("div", { class: "control preset" }, element("label", {}, element("span", {}, "A real layer"), input));
    box.hidden = !names.length;
    return { box, says };
  };

  const startStatic = (root, name, { controls, presets, parts, store, fixed }, draw) => {
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
      preset.says(state);
      draw(area, { data, state, texts });
    };
    const inputs = Object.fromEntries(controls.map((control) => [
      control.name,
      native(control, (value, text) => {
        [state[control.name], texts[control.name]] = [value, text];
        update();
      }),
    ]));
    const preset = presetsOf(presets, (values) => {
      ready = false;
      for (const [control, value] of Object.entries(values)) inputs[control].set(value);
      ready = true;
      update();
    });
    root.append(element("div", { class: "controls" }, preset.box, ...Object.values(inputs).map(({ box }) => box)), area);
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
