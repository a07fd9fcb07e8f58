// Typesets the mathematics, fits every slide into its frame, and starts reveal.js.

const SMALLEST = 0.6, LARGEST = 1.2;  // A slide that needs smaller type holds too much: tests/test_slides.py finds it.

window.MathJax = {
  options: { enableMenu: false },
  chtml: { matchFontHeight: false },  // most slides are hidden while they are typeset
  startup: { typeset: false, pageReady: start },
};

/** Formulas become MathJax's on the slides, and MathML in the notes, which the speaker's window draws by itself. */
async function typeset() {
  for (const math of document.querySelectorAll(".math")) {
    const display = math.tagName === "DIV";
    if (math.closest("aside")) math.innerHTML = await MathJax.tex2mmlPromise(math.textContent, { display });
    else math.replaceChildren(await MathJax.tex2chtmlPromise(math.textContent, { display }));
  }
  MathJax.startup.document.clear();
  MathJax.startup.document.updateDocument();
  await document.fonts.ready;
}

/** By how many pixels a slide's content leaves its frame. */
function overflow(slide) {
  const body = slide.querySelector(".body"), frame = body.getBoundingClientRect();
  const over = [slide.scrollHeight - 720, slide.scrollWidth - 1280];
  for (const part of body.querySelectorAll(".column > *, li, table, figure, mjx-math, .explorer")) {
    const box = part.getBoundingClientRect();
    over.push(frame.left - box.left, frame.top - box.top, box.right - frame.right, box.bottom - frame.bottom);
  }
  for (const pre of body.querySelectorAll("pre")) over.push(pre.scrollWidth - pre.clientWidth);
  return Math.round(Math.max(...over));
}

/** Larger type for a few words, smaller type where it is needed: a table is as long on this machine as it is. */
function fit() {
  document.body.classList.add("fitting");
  for (const slide of document.querySelectorAll(".slide")) {
    const few = !slide.matches(".opening, .question") && !slide.querySelector(".column :is(pre, table, figure)");
    for (let scale = few ? LARGEST : 1; scale >= SMALLEST - 0.001; scale -= 0.05) {
      slide.style.setProperty("--scale", scale);
      slide.dataset.scale = scale.toFixed(2);
      slide.dataset.overflow = overflow(slide);
      if (+slide.dataset.overflow <= 1) break;
    }
  }
  document.body.classList.remove("fitting");
}

async function start() {
  await typeset();
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
  fit();
  await Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, display: "flex",
    hash: true, navigationMode: "linear", slideNumber: "c/t", transition: "none",
    pdfMaxPagesPerSlide: 1, pdfSeparateFragments: false, plugins: [RevealNotes],
  });
  document.documentElement.dataset.ready = "yes";
}
